//! What the tests of the request path share: a server on a free port, a client that sees every byte
//! of an answer, and a log that can be read.
#![allow(dead_code, reason = "each test program uses its own part")]

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use axum::Router;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tower_flags::{Document, Flag, Memory};
use tracing::Dispatch;

/// Far longer than anything here takes: a test that hangs fails instead.
const PATIENCE: Duration = Duration::from_secs(60);

/// Serves a router on a free port of 127.0.0.1 for as long as the test's runtime lives.
pub(crate) async fn serve(router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    address
}

/// One connection to a server, kept alive between requests.
pub(crate) struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    pub(crate) async fn open(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).await.unwrap())
    }

    pub(crate) fn over(stream: TcpStream) -> Self {
        // A body that is written after its head does not wait for the head's acknowledgement.
        stream.set_nodelay(true).unwrap();
        Self { stream: BufReader::new(stream) }
    }

    /// Sends these bytes and nothing else.
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        timeout(PATIENCE, self.stream.write_all(bytes)).await.expect("the server reads").unwrap();
    }

    /// Sends a request without a body; header values are any bytes.
    pub(crate) async fn ask(&mut self, method: &str, path: &str, headers: &[(&str, &[u8])]) {
        let mut request = format!("{method} {path} HTTP/1.1\r\nhost: test\r\n").into_bytes();
        for (name, value) in headers {
            request.extend_from_slice(name.as_bytes());
            request.extend_from_slice(b": ");
            request.extend_from_slice(value);
            request.extend_from_slice(b"\r\n");
        }
        request.extend_from_slice(b"\r\n");
        self.send(&request).await;
    }

    /// Status and headers; the body is read after it.
    pub(crate) async fn head(&mut self) -> Reply {
        let status_line = self.line().await;
        let status = status_line.split(' ').nth(1).unwrap_or_else(|| panic!("no status: {status_line:?}"));
        let mut reply = Reply { status: status.parse().unwrap(), ..Reply::default() };
        reply.headers = self.fields().await;
        reply
    }

    /// A whole answer to a method other than `HEAD`.
    pub(crate) async fn reply(&mut self) -> Reply {
        let mut reply = self.head().await;
        if reply.status < 200 || matches!(reply.status, 204 | 304) {
            return reply;
        }
        if reply.is_chunked() {
            while let Some(frame) = self.frame().await {
                reply.body.extend_from_slice(&frame);
            }
            reply.trailers = self.fields().await;
        } else if let Some(length) = reply.header("content-length") {
            let mut body = vec![0; length.parse().unwrap()];
            timeout(PATIENCE, self.stream.read_exact(&mut body)).await.expect("the server writes").unwrap();
            reply.body = body;
        } else {
            panic!("neither length nor chunks: {reply:?}");
        }
        reply
    }

    pub(crate) async fn get(&mut self, path: &str, headers: &[(&str, &str)]) -> Reply {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
        self.ask("GET", path, &headers).await;
        self.reply().await
    }

    /// The next chunk of a chunked body; `None` at its end, before the trailers.
    pub(crate) async fn frame(&mut self) -> Option<Vec<u8>> {
        let size = self.line().await;
        let size = usize::from_str_radix(&size, 16).unwrap_or_else(|_| panic!("no size of a chunk: {size:?}"));
        if size == 0 {
            return None;
        }
        let mut frame = vec![0; size + 2];
        timeout(PATIENCE, self.stream.read_exact(&mut frame)).await.expect("the server writes").unwrap();
        assert!(frame.ends_with(b"\r\n"));
        frame.truncate(size);
        Some(frame)
    }

    /// Waits until the server closes the connection, and gives back what it sent before.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        match timeout(PATIENCE, self.stream.read_to_end(&mut rest)).await.expect("the server closes") {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset),
        }
        rest
    }

    async fn line(&mut self) -> String {
        let mut line = Vec::new();
        timeout(PATIENCE, self.stream.read_until(b'\n', &mut line)).await.expect("the server writes").unwrap();
        assert!(line.ends_with(b"\r\n"), "the connection ended within a line: {line:?}");
        line.truncate(line.len() - 2);
        String::from_utf8_lossy(&line).into_owned()
    }

    async fn fields(&mut self) -> Vec<(String, String)> {
        let mut fields = Vec::new();
        loop {
            let line = self.line().await;
            if line.is_empty() {
                return fields;
            }
            let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("no header: {line:?}"));
            fields.push((name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_owned()));
        }
    }
}

/// Asks once, over a connection of its own.
pub(crate) async fn ask(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Reply {
    Client::open(address).await.get(path, headers).await
}

/// Asks once as this user.
pub(crate) async fn get_as(address: SocketAddr, path: &str, user: &str) -> Reply {
    ask(address, path, &[("X-User-ID", user)]).await
}

/// An answer as it came over the wire.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    /// In the order of arrival, names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<(String, String)>,
}

impl Reply {
    /// The values of all lines with this name.
    pub(crate) fn lines(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(found, _)| found == name).map(|(_, value)| value.as_str()).collect()
    }

    /// The value of the only line with this name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.lines(name);
        assert!(lines.len() <= 1, "{name} stands more than once: {self:?}");
        lines.first().copied()
    }

    pub(crate) fn active(&self) -> Option<&str> {
        self.header("x-active-flags")
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    fn is_chunked(&self) -> bool {
        self.header("transfer-encoding") == Some("chunked")
    }
}

/// A text with each of its bits flipped once, with the place and the bit; but for those that end the line, or
/// the request: no parser lets them through.
pub(crate) fn flips(text: &str) -> impl Iterator<Item = (usize, u32, Vec<u8>)> {
    let places = (0..text.len()).flat_map(|place| (0..8).map(move |bit| (place, bit)));
    let flipped = places.map(move |(place, bit)| {
        let mut bytes = text.as_bytes().to_vec();
        bytes[place] ^= 1 << bit;
        (place, bit, bytes)
    });
    flipped.filter(|(place, _, bytes)| !matches!(bytes[*place], b'\r' | b'\n'))
}

/// Small numbers, the same at every run.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, end: usize) -> usize {
        // Xorshift (Marsaglia 2003).
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as usize % end
    }

    pub(crate) fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == 0
    }

    pub(crate) fn of<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len())]
    }
}

/// Memory with the flags of a JSON object.
pub(crate) fn memory(flags: &str) -> Memory {
    Memory::from(document(flags))
}

/// The document with the flags of a JSON object, which is without problems.
pub(crate) fn document(flags: &str) -> Document {
    let document = Document::from_json(&format!(r#"{{"flags": {flags}}}"#)).unwrap();
    assert_eq!(document.problems(), []);
    document
}

/// Memory in which the one flag `mine` is on for one user alone, so that an answer shows whose it is.
pub(crate) fn mine(user: &str) -> Memory {
    memory(&format!(r#"{{"mine": {{"allowed_users": ["{user}"]}}}}"#))
}

pub(crate) fn flag_of(json: &str) -> Flag {
    json.parse().unwrap()
}

/// What was logged on this thread since the log was opened.
pub(crate) struct Log {
    lines: Arc<Mutex<Vec<u8>>>,
    _subscriber: tracing::subscriber::DefaultGuard,
}

impl Log {
    pub(crate) fn open() -> Self {
        // While there is but one subscriber, a place that logs first on a thread without one is taken
        // to be of interest to nobody, for good; with another one beside it everybody is asked.
        static OTHERS: OnceLock<[Dispatch; 2]> = OnceLock::new();
        OTHERS.get_or_init(|| [(); 2].map(|()| Dispatch::new(subscriber(Arc::default()))));
        let lines = Arc::default();
        let subscriber = subscriber(Arc::clone(&lines));
        Self { lines, _subscriber: tracing::subscriber::set_default(subscriber) }
    }

    /// The lines of this crate that contain a text.
    pub(crate) fn lines(&self, part: &str) -> Vec<String> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = String::from_utf8(lines.clone()).unwrap();
        lines.lines().filter(|line| line.contains("tower_flags") && line.contains(part)).map(str::to_owned).collect()
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.lines("")).finish()
    }
}

fn subscriber(lines: Arc<Mutex<Vec<u8>>>) -> impl tracing::Subscriber + Send + Sync {
    let writer = LogWriter(lines);
    tracing_subscriber::fmt()
        .with_ansi(false)
        .without_time()
        .with_max_level(tracing::Level::INFO)
        .with_writer(move || writer.clone())
        .finish()
}

#[derive(Clone)]
struct LogWriter(Arc<Mutex<Vec<u8>>>);

impl io::Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
