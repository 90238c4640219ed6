//! Rules from a URL, over real sockets: every way in which a server answers, does not, or lies.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![cfg(feature = "http")]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tower_flags::Context;
use tower_flags::engine::Query;
use tower_flags::source::{Freshness, Live, Source};
use tower_flags::store::{Error, ErrorKind, Feed, FeedContent, HttpFeed, HttpFeedBuilder};

const ON: &str = r#"{"flags": {"search": true}}"#;
const OFF: &str = r#"{"flags": {"search": false}}"#;
const SECRETS: [&str; 4] = ["hunter2", "tok3n", "s1gnature", "us3r"];

/// What the server does with one request.
#[derive(Clone, Debug)]
enum Act {
    /// Writes this, and closes.
    Say(Vec<u8>),
    /// Writes this, and then the other again and again, so long apart.
    Repeat(Vec<u8>, Vec<u8>, Duration),
    /// Reads the request and does nothing.
    Freeze,
}

/// A server that does what it is told for each request in turn, and the last of it from then on.
struct Server {
    address: String,
    told: Arc<Mutex<VecDeque<Act>>>,
    requests: Arc<Mutex<Vec<String>>>,
    _task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self._task.abort();
    }
}

async fn serve(
    mut socket: impl AsyncRead + AsyncWrite + Unpin,
    told: &Mutex<VecDeque<Act>>,
    seen: &Mutex<Vec<String>>,
) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        match socket.read_u8().await {
            Ok(byte) => request.push(byte),
            Err(_) => return,
        }
    }
    seen.lock().unwrap().push(String::from_utf8(request).unwrap());
    let act = {
        let mut told = told.lock().unwrap();
        if told.len() > 1 { told.pop_front().unwrap() } else { told[0].clone() }
    };
    match act {
        Act::Say(answer) => drop(socket.write_all(&answer).await),
        Act::Repeat(first, again, apart) => {
            let _ = socket.write_all(&first).await;
            while socket.write_all(&again).await.is_ok() {
                tokio::time::sleep(apart).await;
            }
        }
        Act::Freeze => std::future::pending().await,
    }
    let _ = socket.shutdown().await;
}

impl Server {
    async fn new(acts: impl IntoIterator<Item = Act>) -> Self {
        Self::with(acts, None).await
    }

    async fn with(acts: impl IntoIterator<Item = Act>, tls: Option<tokio_rustls::TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let told: Arc<Mutex<VecDeque<Act>>> = Arc::new(Mutex::new(acts.into_iter().collect()));
        let requests: Arc<Mutex<Vec<String>>> = Arc::default();
        let (tell, seen) = (Arc::clone(&told), Arc::clone(&requests));
        let task = tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let (tell, seen, tls) = (Arc::clone(&tell), Arc::clone(&seen), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        Some(tls) => {
                            if let Ok(socket) = tls.accept(socket).await {
                                serve(socket, &tell, &seen).await;
                            }
                        }
                        None => serve(socket, &tell, &seen).await,
                    }
                });
            }
        });
        Self { address, told, requests, _task: task }
    }

    fn tell(&self, acts: impl IntoIterator<Item = Act>) {
        *self.told.lock().unwrap() = acts.into_iter().collect();
    }

    fn url(&self) -> String {
        format!("http://us3r:hunter2@{}/flags.json?sig=s1gnature", self.address)
    }

    fn builder(&self) -> HttpFeedBuilder {
        HttpFeed::builder(&self.url()).header("X-Key", "tok3n")
    }

    fn feed(&self) -> HttpFeed {
        self.builder().within(Duration::from_millis(1500)).build().unwrap()
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

fn answer(status: u16, headers: &[&str], body: &str) -> Act {
    let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    let length = body.len();
    let head = format!("HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n");
    Act::Say((head + body).into_bytes())
}

fn ok(body: &str) -> Act {
    answer(200, &[], body)
}

/// An error with all its causes, which has none of the secrets.
fn said(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    for shown in [text.clone(), format!("{error:?}")] {
        assert!(!SECRETS.iter().any(|secret| shown.contains(secret)), "{shown}");
    }
    text
}

async fn failure(feed: &HttpFeed) -> (ErrorKind, String) {
    let error = feed.load(None).await.unwrap_err();
    (error.kind(), said(&error))
}

async fn loaded(feed: &HttpFeed) -> FeedContent {
    feed.load(None).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_document_is_loaded_once_as_long_as_its_tag_is_the_same() {
    for (given, asked) in [
        ("etag: \"1\"", "if-none-match: \"1\""),
        ("etag: W/\"1\"", "if-none-match: W/\"1\""),
        ("last-modified: Sun, 06 Nov 1994 08:49:37 GMT", "if-modified-since: Sun, 06 Nov 1994 08:49:37 GMT"),
    ] {
        let server = Server::new([answer(200, &[given], ON), answer(304, &[], ""), answer(200, &[given], ON)]).await;
        let feed = server.feed();
        let first = loaded(&feed).await;
        assert_eq!(first.document.flags().count(), 1);
        assert!(feed.load(Some(&first.revision)).await.unwrap().is_none());
        // Somebody who has nothing, or something else, gets the whole.
        assert_eq!(loaded(&feed).await.revision, first.revision);
        assert!(feed.load(Some("else")).await.unwrap().is_some());
        // The same bytes are the same document, whatever the server says of them.
        assert!(feed.load(Some(&first.revision)).await.unwrap().is_none());
        let has_asked: Vec<bool> = server.requests().iter().map(|request| request.contains(asked)).collect();
        assert_eq!(has_asked, [false, true, false, false, true], "{given}");
        for request in server.requests() {
            assert!(
                request.contains("accept: application/json\r\n") && request.contains("accept-encoding: identity\r\n")
            );
            assert!(request.contains("x-key: tok3n\r\n") && request.contains("authorization: Basic "), "{request}");
        }
    }
}

#[tokio::test]
async fn every_status_says_what_it_means() {
    for (status, kind, what) in [
        (401, ErrorKind::Denied, "401 Unauthorized: it wants other credentials"),
        (403, ErrorKind::Denied, "403 Forbidden: it wants other credentials"),
        (404, ErrorKind::Unavailable, "404 Not Found: there is no document at this URL"),
        (410, ErrorKind::Unavailable, "410 Gone: there is no document at this URL"),
        (204, ErrorKind::Unavailable, "204 No Content"),
        (206, ErrorKind::Unavailable, "206 Partial Content"),
        (304, ErrorKind::Unavailable, "304 Not Modified"),
        (400, ErrorKind::Unavailable, "400 Bad Request"),
        (408, ErrorKind::Unavailable, "408 Request Timeout"),
        (429, ErrorKind::Unavailable, "429 Too Many Requests"),
        (500, ErrorKind::Unavailable, "500 Internal Server Error"),
        (503, ErrorKind::Unavailable, "503 Service Unavailable"),
        (302, ErrorKind::Unavailable, "302 Found"),
    ] {
        let server = Server::new([answer(status, &[], "")]).await;
        let expected = format!("http://{}/flags.json: the server answered {what}", server.address);
        assert_eq!(failure(&server.feed()).await, (kind, expected));
    }
}

#[tokio::test]
async fn a_server_that_asks_for_rest_is_left_alone_until_then() {
    let date = |seconds: u64| {
        // An HTTP date is cut to the second: one more, so that it is not over already.
        let at = tower_flags::Timestamp::from(SystemTime::now() + Duration::from_secs(seconds)).to_string();
        let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        let month = months[at[5..7].parse::<usize>().unwrap() - 1];
        format!("retry-after: Mon, {} {month} {} {} GMT", &at[8..10], &at[..4], &at[11..19])
    };
    for status in [429, 503] {
        let header = if status == 429 { "retry-after: 1".to_owned() } else { date(2) };
        let server = Server::new([answer(status, &[&header], ""), ok(ON)]).await;
        let feed = server.feed();
        let start = Instant::now();
        let (kind, message) = failure(&feed).await;
        assert_eq!(kind, ErrorKind::Unavailable);
        assert!(message.contains(", and is not asked before 20"), "{message}");
        let mut tries = 0;
        while server.requests().len() == 1 {
            if let Err(error) = feed.load(None).await {
                assert_eq!(said(&error), message, "it is said once");
            }
            tries += 1;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(tries > 10 && start.elapsed() > Duration::from_millis(900), "{tries} {:?}", start.elapsed());
        assert_eq!(loaded(&feed).await.document.flags().count(), 1);
    }
}

#[tokio::test]
async fn a_body_is_cut_off_where_it_gets_too_large() {
    const MAX: usize = 4 * 1024 * 1024;
    let of_length = |length: usize| ON.to_owned() + &" ".repeat(length - ON.len());
    let server = Server::new([ok(&of_length(MAX))]).await;
    assert_eq!(loaded(&server.feed()).await.document.flags().count(), 1);

    let chunked = |body: &str| {
        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        Act::Say(format!("{head}{:x}\r\n{body}\r\n0\r\n\r\n", body.len()).into_bytes())
    };
    let endless = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000)).into_bytes();
    let until_closed = [b"HTTP/1.1 200 OK\r\n\r\n".as_slice(), of_length(MAX + 1).as_bytes()].concat();
    for (act, found) in [
        (ok(&of_length(MAX + 1)), "found one of 4194305"),
        (chunked(&of_length(MAX + 1)), "found a larger one"),
        (Act::Say(until_closed), "found a larger one"),
        (Act::Repeat(endless, chunk, Duration::ZERO), "found a larger one"),
        (Act::Say(b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n".to_vec()), "found one of 99999999999"),
    ] {
        let server = Server::new([act]).await;
        let feed = server.builder().build().unwrap();
        let (kind, message) = failure(&feed).await;
        let expected =
            format!("http://{}/flags.json: expected a document of at most 4194304 bytes, {found}", server.address);
        assert_eq!((kind, message), (ErrorKind::Refused, expected));
    }
}

#[tokio::test]
async fn a_server_that_hangs_drips_or_breaks_off_fails_in_time() {
    let head = |length: usize| format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n").into_bytes();
    let drip = Duration::from_millis(50);
    let cut = [head(ON.len()), ON.as_bytes()[..20].to_vec()].concat();
    let chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{\"fla\r\n".to_vec();
    for (act, what) in [
        (Act::Freeze, "gave no answer within 1.5s"),
        (Act::Repeat(b"HTTP/1.1 200 OK\r\n".to_vec(), b"x: y\r\n".to_vec(), drip), "gave no answer"),
        (Act::Repeat(head(1_000_000), b" ".to_vec(), drip), "the answer took longer than 1.5s"),
        (Act::Repeat([head(100), b"{".to_vec()].concat(), Vec::new(), drip), "1.5s"),
        (Act::Say(cut), "the answer broke off after 20 bytes"),
        (Act::Say(chunked), "the answer broke off after 5 bytes"),
        (Act::Say(Vec::new()), "it gave no answer"),
        (Act::Say(b"SSH-2.0-OpenSSH\r\n".to_vec()), "it gave no answer"),
    ] {
        let server = Server::new([act.clone(), ok(ON)]).await;
        let feed = server.feed();
        let start = Instant::now();
        let (kind, message) = failure(&feed).await;
        assert!(start.elapsed() < Duration::from_secs(4), "{act:?}");
        assert_eq!(kind, ErrorKind::Unavailable);
        assert!(message.contains(what), "{message}, expected {what}");
        assert_eq!(loaded(&feed).await.document.flags().count(), 1, "and then it is well again");
    }
    let closed = {
        let server = Server::new([ok(ON)]).await;
        HttpFeed::new(&server.url()).unwrap()
    };
    tokio::task::yield_now().await;
    let (kind, message) = failure(&closed).await;
    assert_eq!(kind, ErrorKind::Unavailable);
    assert!(message.contains("it cannot be connected to"), "{message}");
}

#[tokio::test]
async fn what_is_no_document_is_refused_and_stays_reported_while_nothing_is_new() {
    let tag = "etag: \"bad\"";
    for (bad, what) in [
        (answer(200, &[tag], ""), "found nothing"),
        (answer(200, &[tag], "{\"flags\": {"), "it looks cut off"),
        (answer(200, &[tag, "content-type: text/html"], "<html>"), "a page of HTML or XML (text/html)"),
        (answer(200, &[tag, "content-encoding: gzip"], OFF), "not compressed, found \"gzip\""),
        (answer(200, &[tag], &" ".repeat(4 * 1024 * 1024 + 1)), "found one of 4194305"),
    ] {
        let good = answer(200, &["etag: \"good\""], ON);
        let server = Server::new([good.clone(), bad, answer(304, &[], ""), good]).await;
        let feed = server.feed();
        let revision = loaded(&feed).await.revision;
        for _ in 0..2 {
            let error = feed.load(Some(&revision)).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Refused);
            assert!(said(&error).contains(what), "{}", said(&error));
            assert_eq!(error.problem().unwrap().source.as_deref(), Some(feed.name()));
        }
        assert!(feed.load(Some(&revision)).await.unwrap().is_none(), "the good one is back, which was known");
        let asked = server.requests();
        assert!(asked[2].contains("if-none-match: \"bad\"") && asked[3].contains("if-none-match: \"bad\""));
    }
    let server = Server::new([ok(r#"{"flags": {"good": true, "bad": {"enabled": true, "percentge": 1}}}"#)]).await;
    let found = loaded(&server.feed()).await.document;
    assert_eq!((found.flags().count(), found.problems().len()), (1, 1));
    assert_eq!(found.problems()[0].source.as_deref(), Some(server.feed().name()));
}

#[tokio::test]
async fn redirects_are_followed_and_headers_stay_with_the_server_they_are_for() {
    let other = Server::new([ok(OFF)]).await;
    let elsewhere = format!("location: http://{}/there", other.address);
    let server = Server::new([answer(302, &["location: moved?x"], ""), answer(307, &[&elsewhere], "")]).await;
    assert!(!loaded(&server.feed()).await.document.flag("search").unwrap().is_enabled());
    for request in server.requests() {
        assert!(request.contains("x-key: tok3n") && request.contains("authorization: Basic"), "{request}");
    }
    assert!(server.requests()[1].starts_with("GET /moved?x HTTP/1.1"));
    let request = other.requests().pop().unwrap().to_lowercase();
    assert!(request.starts_with("get /there http/1.1"));
    for leak in ["tok3n", "authorization", "referer", "cookie"] {
        assert!(!request.contains(leak), "{request}");
    }

    let server = Server::new([answer(302, &["location: /moved"], "")]).await;
    let feed =
        HttpFeed::builder(&format!("http://{}/flags.json", server.address)).follow_redirects(false).build().unwrap();
    let (kind, message) = failure(&feed).await;
    assert_eq!((kind, server.requests().len()), (ErrorKind::Unavailable, 1));
    assert!(message.ends_with("the server answers with a redirect, and `follow_redirects(false)` is set"), "{message}");

    let server = Server::new([answer(301, &["location: /again"], "")]).await;
    let (kind, message) = failure(&server.feed()).await;
    assert_eq!(kind, ErrorKind::Unavailable);
    assert!(message.ends_with("the server redirects more than 5 times"), "{message}");
    assert_eq!(server.requests().len(), 6);
    for bad in ["location: ftp://x/y", "location: http://", "location: file:///etc/passwd"] {
        let server = Server::new([answer(301, &[bad], "")]).await;
        let (_, message) = failure(&server.feed()).await;
        assert!(message.ends_with("redirects to what is no URL of http or https"), "{message}");
    }
}

#[tokio::test]
async fn what_is_set_up_wrongly_is_said_without_secrets() {
    let error = |builder: HttpFeedBuilder| {
        assert!(!SECRETS.iter().any(|secret| format!("{builder:?}").contains(secret)), "{builder:?}");
        let error = builder.build().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        said(&error)
    };
    let url = "http://us3r:hunter2@localhost/f?sig=s1gnature";
    assert_eq!(error(HttpFeed::builder("hunter2")), "expected a URL: relative URL without a base");
    assert_eq!(error(HttpFeed::builder("ftp://us3r:hunter2@x/")), "expected a URL of http or https, found one of ftp");
    assert_eq!(
        error(HttpFeed::builder(url).header("X-Key", "tok3n\n")),
        "the header \"X-Key\" has a name or a value that HTTP does not allow"
    );
    assert_eq!(
        error(HttpFeed::builder(url).every(Duration::from_millis(999))),
        "expected an interval of 1 s to 1 day, found 999ms"
    );
    assert!(error(HttpFeed::builder(url).root_certificate("tok3n")).ends_with("a root certificate is no PEM"));
    let feed = HttpFeed::builder(url).header("X-Key", "tok3n").build().unwrap();
    assert_eq!(feed.name(), "http://localhost/f");
    assert!(!SECRETS.iter().any(|secret| format!("{feed:?}").contains(secret)), "{feed:?}");
    assert_eq!(feed.resync_every(), Duration::from_secs(30));
}

async fn until(source: &Live, is_so: impl Fn(&Live) -> bool) {
    let start = Instant::now();
    while !is_so(source) {
        assert!(start.elapsed() < Duration::from_secs(20), "{:?}", source.status());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn a_source_over_it_keeps_the_last_good_rules_through_everything() {
    let server = Server::new([answer(200, &["etag: \"1\""], ON)]).await;
    let feed = server.builder().every(Duration::from_secs(1)).within(Duration::from_secs(1)).build().unwrap();
    let source = Live::connect(feed).await.unwrap();
    let is_on = || source.answer(&Query::new(&Context::anonymous(), tower_flags::Timestamp::MIN)).is_enabled("search");
    assert!(is_on());
    for (act, what) in [
        (answer(500, &[], ""), "500"),
        (Act::Freeze, "within 1s"),
        (Act::Repeat(Vec::new(), b" ".to_vec(), Duration::from_millis(100)), "no answer"),
        (ok("<html>"), "HTML"),
        (ok("{\"flags\""), "cut off"),
    ] {
        server.tell([act]);
        until(&source, |source| source.status().last_error.is_some_and(|error| error.contains(what))).await;
        let status = source.status();
        assert!(is_on() && matches!(status.freshness, Freshness::StaleSince(_)), "{what}");
        assert!(!SECRETS.iter().any(|secret| format!("{status:?}").contains(secret)), "{status:?}");
    }
    server.tell([answer(200, &["etag: \"2\""], OFF), answer(304, &[], "")]);
    until(&source, |_| !is_on()).await;
    until(&source, |source| source.status().freshness == Freshness::Fresh).await;
}

fn acceptor() -> tokio_rustls::TlsAcceptor {
    use tokio_rustls::rustls::ServerConfig;
    use tokio_rustls::rustls::pki_types::pem::PemObject;
    use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let certificate = CertificateDer::from_pem_slice(CERTIFICATE).unwrap();
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("data/tls/key.pem")).unwrap();
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    Arc::new(config.with_no_client_auth().with_single_cert(vec![certificate], key).unwrap()).into()
}

/// For localhost, until the year 2126; its key is beside it and worth nothing.
const CERTIFICATE: &[u8] = include_bytes!("data/tls/certificate.pem");

#[tokio::test]
async fn https_works_without_a_provider_for_the_process_and_is_not_left() {
    let plain = Server::new([ok(OFF)]).await;
    let elsewhere = format!("location: http://{}/", plain.address);
    let server = Server::with([ok(ON), answer(302, &[&elsewhere], "")], Some(acceptor())).await;
    let port = server.address.rsplit(':').next().unwrap();
    let builder = HttpFeed::builder(&format!("https://localhost:{port}/flags.json"));
    let feed = builder.root_certificate(CERTIFICATE).build().unwrap();
    assert!(rustls::crypto::CryptoProvider::get_default().is_none());
    assert!(loaded(&feed).await.document.flag("search").unwrap().is_enabled());
    let (kind, message) = failure(&feed).await;
    assert_eq!(kind, ErrorKind::Unavailable);
    assert!(message.ends_with("the server redirects from https to http, which is not followed"), "{message}");
    assert_eq!(plain.requests(), [""; 0]);

    let stranger = HttpFeed::builder(&format!("https://localhost:{port}/flags.json")).build();
    // A machine may trust nobody at all.
    if let Ok(stranger) = stranger {
        let (kind, message) = failure(&stranger).await;
        assert_eq!(kind, ErrorKind::Unavailable);
        assert!(message.contains("it cannot be connected to") && message.contains("certificate"), "{message}");
    }
    assert_eq!(server.requests().len(), 2);
}
