//! Asking a server, within bounds of time and size.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::{HeaderMap, HeaderValue, StatusCode, header};
use reqwest::{Client, Response, Url};
use rustls::ClientConfig;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls_platform_verifier::Verifier;
use tokio::time::timeout;

use super::answer;
use super::redirects::{NoLocal, has_local_host};
use crate::document::{MAX_DOCUMENT, Problem};
use crate::error::{Error, ErrorKind};

/// A server on the next continent connects in less.
const CONNECTED: Duration = Duration::from_secs(2);
/// How long nothing may come, while an answer is waited for or read.
const PROGRESS: Duration = Duration::from_secs(5);
/// Redirects that are followed one after another.
const MAX_REDIRECTS: usize = 5;

/// What a server has answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// The body of a 200; the problem where it is too large.
    pub(super) body: Result<Vec<u8>, Problem>,
}

/// A client for one URL.
#[derive(Debug)]
pub(super) struct UrlClient {
    pub(super) name: String,
    url: Url,
    client: Client,
    /// For redirects to other hosts: it finds no local address.
    elsewhere: Client,
    follows_redirects: bool,
    /// For the server of the URL alone.
    headers: HeaderMap,
    progress: Duration,
}

impl UrlClient {
    pub(super) fn new(
        url: &str,
        headers: HeaderMap,
        roots: &[Vec<u8>],
        within: Duration,
        follows_redirects: bool,
    ) -> Result<Self, Error> {
        // The text is not repeated: it may have a password in it.
        let no_url = |message: String| Error::new(ErrorKind::Configuration, message);
        let url = Url::parse(url).map_err(|error| no_url(format!("expected a URL: {error}")))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(no_url(format!("expected a URL of http or https, found one of {}", url.scheme())));
        }
        let name = shown(&url);
        let wrong = |what: String| Error::new(ErrorKind::Configuration, format!("{name}: {what}"));
        let tls = tls(roots, url.scheme() == "https").map_err(|error| wrong(error.to_string()))?;
        // Redirects are followed here, since only this knows which headers are meant for which server.
        let builder = || {
            Client::builder()
                .tls_backend_preconfigured(tls.clone())
                .redirect(reqwest::redirect::Policy::none())
                .connect_timeout(CONNECTED)
                .user_agent(concat!("tower-flags/", env!("CARGO_PKG_VERSION")))
        };
        let no_client =
            |error: reqwest::Error| wrong("no client can be made for it".to_owned()).caused_by(error.without_url());
        let client = builder().build().map_err(no_client)?;
        let elsewhere = builder().dns_resolver(Arc::new(NoLocal)).build().map_err(no_client)?;
        Ok(Self { name, url, client, elsewhere, follows_redirects, headers, progress: PROGRESS.min(within) })
    }

    fn failed(&self, what: &str) -> Error {
        Error::new(ErrorKind::Unavailable, format!("{}: {what}", self.name))
    }

    /// Asks for the document, if it is another one than the server's `validators` say. `has_begun` becomes true with the
    /// head of the answer.
    pub(super) async fn ask(&self, validators: &HeaderMap, has_begun: &AtomicBool) -> Result<Answer, Error> {
        let mut url = self.url.clone();
        // What is local itself may redirect to what is; not once another machine has been asked.
        let mut is_local = has_local_host(&url);
        for _ in 0..=MAX_REDIRECTS {
            let response = self.send(&url, validators, is_local).await?;
            let status = response.status();
            let target = answer::text(response.headers(), header::LOCATION);
            let Some(target) = target.filter(|_| matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)) else {
                has_begun.store(true, Ordering::Relaxed);
                return self.read(response).await;
            };
            url = self.next(&url, target, is_local)?;
            is_local &= has_local_host(&url);
        }
        Err(self.failed(&format!("the server redirects more than {MAX_REDIRECTS} times")))
    }

    /// Where a redirect leads.
    fn next(&self, url: &Url, target: &str, is_local: bool) -> Result<Url, Error> {
        let refused = |what: &str| Err(self.failed(&format!("the server redirects {what}")));
        if !self.follows_redirects {
            return Err(self.failed("the server answers with a redirect, and `follow_redirects(false)` is set"));
        }
        let next = url.join(target).ok().filter(|next| matches!(next.scheme(), "http" | "https"));
        let Some(next) = next else { return refused("to what is no URL of http or https") };
        if url.scheme() == "https" && next.scheme() == "http" {
            return refused("from https to http, which is not followed");
        }
        if !is_local && self.is_elsewhere(&next) && has_local_host(&next) {
            return refused("to an address of this machine or its link, which is not followed");
        }
        Ok(next)
    }

    /// Whether a URL is of another host or port than the one that was configured.
    fn is_elsewhere(&self, url: &Url) -> bool {
        url.host() != self.url.host() || url.port() != self.url.port()
    }

    async fn send(&self, url: &Url, validators: &HeaderMap, is_local: bool) -> Result<Response, Error> {
        let client = if !is_local && self.is_elsewhere(url) { &self.elsewhere } else { &self.client };
        let mut request = client.get(url.clone()).headers(validators.clone());
        request = request.header(header::ACCEPT, HeaderValue::from_static("application/json"));
        request = request.header(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if url.origin() == self.url.origin() {
            request = request.headers(self.headers.clone());
        }
        match timeout(self.progress, request.send()).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => {
                let what = if error.is_connect() { "it cannot be connected to" } else { "it gave no answer" };
                Err(self.failed(what).caused_by(error.without_url()))
            }
            Err(_) => Err(self.failed(&format!("it gave no answer within {:?}", self.progress))),
        }
    }

    async fn read(&self, mut response: Response) -> Result<Answer, Error> {
        let (status, headers) = (response.status(), response.headers().clone());
        if status != StatusCode::OK {
            return Ok(Answer { status, headers, body: Ok(Vec::new()) });
        }
        let announced = response.content_length().filter(|length| *length > MAX_DOCUMENT as u64);
        if let Some(length) = announced {
            return Ok(Answer { status, headers, body: Err(answer::too_large(&format!("one of {length}"))) });
        }
        let mut body = Vec::new();
        loop {
            match timeout(self.progress, response.chunk()).await {
                Ok(Ok(Some(chunk))) if body.len() + chunk.len() <= MAX_DOCUMENT => body.extend_from_slice(&chunk),
                Ok(Ok(Some(_))) => {
                    let body = Err(answer::too_large("a larger one"));
                    return Ok(Answer { status, headers, body });
                }
                Ok(Ok(None)) => return Ok(Answer { status, headers, body: Ok(body) }),
                Ok(Err(error)) => {
                    let what = format!("the answer broke off after {} bytes", body.len());
                    return Err(self.failed(&what).caused_by(error.without_url()));
                }
                Err(_) => {
                    let what = format!("nothing came for {:?} after {} bytes", self.progress, body.len());
                    return Err(self.failed(&what));
                }
            }
        }
    }
}

/// A URL without what may be secret: user, password, query, and fragment.
fn shown(url: &Url) -> String {
    let mut url = url.clone();
    // Both fail only for URLs without a host, which were refused before.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.set_fragment(None);
    url.into()
}

/// TLS by ring, whatever the process has chosen, trusting whom the machine trusts and `roots`, in PEM.
fn tls(roots: &[Vec<u8>], is_needed: bool) -> Result<ClientConfig, rustls::Error> {
    let mut extra = Vec::new();
    for pem in roots {
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        match certificates {
            Ok(certificates) if !certificates.is_empty() => extra.extend(certificates),
            _ => return Err(rustls::Error::General("a root certificate is no PEM".to_owned())),
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    match Verifier::new_with_extra_roots(extra, provider) {
        Ok(verifier) => {
            Ok(config.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth())
        }
        // Of a machine without certificates plain HTTP can be asked all the same.
        Err(_) if !is_needed => Ok(config.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn a_host_elsewhere_redirects_to_nothing_local() {
        let next = |url: &str, target: &str| {
            let asker = UrlClient::new(url, HeaderMap::new(), &[], PROGRESS, true).unwrap();
            asker.next(&asker.url, target, has_local_host(&asker.url)).map_err(|error| error.to_string())
        };
        let elsewhere = "http://flags.example.com/flags.json";
        assert_eq!(next(elsewhere, "/moved").unwrap().as_str(), "http://flags.example.com/moved");
        assert_eq!(next(elsewhere, "http://cdn.example.com/").unwrap().as_str(), "http://cdn.example.com/");
        for local in
            ["http://127.0.0.1:8500/v1/kv", "//localhost/", "http://169.254.169.254/latest/meta-data/", "http://[::1]/"]
        {
            let said = next(elsewhere, local).unwrap_err();
            assert!(
                said.ends_with("redirects to an address of this machine or its link, which is not followed"),
                "{said}"
            );
        }
        // What is asked on this machine itself may lead to something else here.
        assert!(next("http://127.0.0.1:8080/", "http://localhost:8081/").is_ok());
    }

    /// Answers each request with a redirect to this place, or with an empty document. Returns its address.
    async fn server(location: Option<String>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let answer = match location {
            Some(location) => format!("HTTP/1.1 302 Found\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n"),
            None => "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}".to_owned(),
        };
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let mut request = [0; 4096];
                let Ok(1..) = socket.read(&mut request).await else { continue };
                let _ = socket.write_all(answer.as_bytes()).await;
            }
        });
        address
    }

    #[tokio::test]
    async fn a_redirect_that_left_this_machine_does_not_lead_back_to_it() {
        let local = server(None).await;
        let far = server(Some(format!("http://{local}/"))).await;
        let near = server(Some(format!("http://far.example:{}/", far.port()))).await;
        let mut asker = UrlClient::new(&format!("http://{near}/"), HeaderMap::new(), &[], PROGRESS, true).unwrap();
        // In place of a name server: another machine that this test can have.
        let client = Client::builder().tls_backend_preconfigured(tls(&[], false).unwrap()).no_proxy();
        let client = client.redirect(reqwest::redirect::Policy::none());
        let client = client.resolve("far.example", far).build().unwrap();
        (asker.client, asker.elsewhere) = (client.clone(), client);
        let error = asker.ask(&HeaderMap::new(), &AtomicBool::new(false)).await.unwrap_err().to_string();
        let expected = "redirects to an address of this machine or its link, which is not followed";
        assert!(error.ends_with(expected), "{error}");
    }

    #[tokio::test]
    async fn a_redirect_from_another_machine_does_not_lead_here_by_a_name() {
        let local = server(None).await;
        let asker = UrlClient::new("http://flags.example.com/", HeaderMap::new(), &[], PROGRESS, true).unwrap();
        // Stands for a name that is not known to be local until it is resolved.
        let url = Url::parse(&format!("http://localhost:{}/", local.port())).unwrap();
        let error = asker.send(&url, &HeaderMap::new(), false).await.unwrap_err();
        let said = error.chain();
        assert!(said.contains("localhost has no address that a redirect from another host may lead to"), "{said}");
        assert!(asker.send(&url, &HeaderMap::new(), true).await.is_ok(), "the control");
    }

    #[test]
    fn what_may_be_secret_is_not_shown() {
        let url = Url::parse("https://me:secret@cdn.example.com:8443/a/flags.json?sig=secret#secret").unwrap();
        assert_eq!(shown(&url), "https://cdn.example.com:8443/a/flags.json");
    }
}
