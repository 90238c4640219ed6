//! How long a request waits during an attack on the service: on its dashboard, or on its rules.
//! `cargo bench -p tower-flags-benches --bench hostile`.
//!
//! The service has two threads. One client asks for a page with flags over one connection, a millisecond after each answer,
//! for as long as one kind of attack lasts; what it waits for, and how much the attackers got through, is printed. The
//! attackers are on the same machine, so what they use is missing there: the first line, without an attack, and the second,
//! where they ask for the page as fast as they can, say what the machine itself makes of it.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::get;
use tempfile::TempDir;
use tower_flags::admin::{self, Tokens};
use tower_flags::source::Live;
use tower_flags::store::{Author, Change, FileStore, StoreExt};
use tower_flags::{FlagLayer, flag};

const EDITOR: &str = "editor-0123456789abcdef0123456789abcdef";
const RESPONDER: &str = "responder-0123456789abcdef0123456789ab";
const VIEWER: &str = "viewer-0123456789abcdef0123456789abcdef";
/// How long each kind of attack lasts.
const LASTS: Duration = Duration::from_secs(5);
/// The longest acceptable wait.
const GOAL: Duration = Duration::from_millis(100);

/// A service with flags in a file, and the dashboard below `/admin`.
struct Service {
    address: SocketAddr,
    path: PathBuf,
    _folder: TempDir,
    _runtime: tokio::runtime::Runtime,
}

impl Service {
    fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("threads can be started");
        let folder = TempDir::new().expect("there is a folder for temporary files");
        let path = folder.path().join("flags.json");
        std::fs::write(&path, document(&[], 0)).expect("it is writable");
        let address = runtime.block_on(serve(&path));
        Self { address, path, _folder: folder, _runtime: runtime }
    }
}

async fn serve(path: &Path) -> SocketAddr {
    let store = FileStore::new(path).expect("it is JSON");
    // A history that is worth an export.
    for number in 0..200 {
        let flag = format!(r#"{{"enabled": true, "description": "{number} {}"}}"#, "x".repeat(50_000));
        let change = Change::put_text(&flag);
        store.change("described", change, &Author::new("bench")).await.expect("it is stored");
    }
    let live = Live::connect(store.clone()).await.expect("there is a runtime");
    let tokens = Tokens::new().editor("ed", EDITOR).and_then(|tokens| tokens.responder("re", RESPONDER));
    let tokens = tokens.and_then(|tokens| tokens.viewer("vi", VIEWER));
    let admin = admin::router(store, live.clone(), tokens.expect("these are long enough"));
    let page = get(|| async { if flag("good") { "new" } else { "old" } });
    let app = Router::new().route("/", page).layer(FlagLayer::new(live)).nest_service("/admin", admin);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

/// A document with a good flag and, in further flags, as many of these patterns as fit.
fn document(patterns: &[String], in_each_flag: usize) -> String {
    let mut text = String::from(r#"{"flags": {"good": {"enabled": true, "allowed_groups": ["staff"]}"#);
    for (number, patterns) in patterns.chunks(in_each_flag.max(1)).enumerate() {
        let flag = matching(patterns);
        if text.len() + flag.len() > 4 * 1024 * 1024 - 100 || number == 9_990 {
            break;
        }
        write!(text, r#","f{number:05}": {flag}"#).expect("text can be appended to");
    }
    text + "}}"
}

/// A flag that is on for whom one of these patterns matches.
fn matching(patterns: &[String]) -> String {
    let patterns: Vec<String> = patterns.iter().map(|pattern| format!("{pattern:?}")).collect();
    format!(
        r#"{{"rules": [{{"when": [{{"attribute": "user_id", "op": "matches", "values": [{}]}},
           {{"attribute": "groups", "op": "exists"}}], "serve": true}}]}}"#,
        patterns.join(",")
    )
}

/// One connection, over which requests are made one after the other.
struct Client(BufReader<TcpStream>);

impl Client {
    fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the service listens");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("it is a duration");
        stream.set_nodelay(true).expect("it is a socket");
        Self(BufReader::new(stream))
    }

    /// Sends a request, and reads the answer; `None` where the service has closed the connection.
    fn ask(&mut self, method: &str, path: &str, headers: &str, body: &[u8]) -> Option<u16> {
        let head = format!("{method} {path} HTTP/1.1\r\nhost: a\r\n{headers}content-length: {}\r\n\r\n", body.len());
        self.0.get_mut().write_all(head.as_bytes()).ok()?;
        self.0.get_mut().write_all(body).ok()?;
        self.answer()
    }

    fn answer(&mut self) -> Option<u16> {
        let (mut status, mut length, mut line) = (None, 0, String::new());
        loop {
            line.clear();
            if self.0.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let head = line.trim_end().to_ascii_lowercase();
            match head.split_once(": ") {
                _ if head.is_empty() => break,
                Some(("content-length", bytes)) => length = bytes.parse().ok()?,
                None if status.is_none() => status = head.split(' ').nth(1)?.parse().ok(),
                _ => {}
            }
        }
        let read = std::io::copy(&mut self.0.by_ref().take(length), &mut std::io::sink()).ok()?;
        (read == length).then_some(status?)
    }
}

fn bearer(token: &str) -> String {
    format!("authorization: Bearer {token}\r\n")
}

/// One kind of attack: the number of attackers, and the request that each repeats.
struct Attack {
    name: &'static str,
    attackers: usize,
    once: fn(&Service, &mut Client, u64),
}

/// Asks once, and opens another connection where the service has closed this one.
fn ask(service: &Service, client: &mut Client, method: &str, path: &str, headers: &str, body: &[u8]) {
    if client.ask(method, path, headers, body).is_none() {
        *client = Client::open(service.address);
    }
}

/// A login with a wrong token of this length.
fn log_in(service: &Service, client: &mut Client, length: usize) {
    let body = format!(r#"{{"token": "{}"}}"#, "x".repeat(length));
    ask(service, client, "POST", "/admin/login", "content-type: application/json\r\n", body.as_bytes());
}

/// A viewer tests a user who has a list of this length as an attribute.
fn question(service: &Service, client: &mut Client, ones: usize) {
    let question = format!(r#"{{"user_id": "a", "attributes": {{"list": [{}]}}}}"#, vec!["1"; ones].join(","));
    let headers = bearer(VIEWER) + "content-type: application/json\r\n";
    ask(service, client, "POST", "/admin/explain", &headers, question.as_bytes());
}

fn costly(number: u64) -> Vec<String> {
    (0..64).map(|at| format!(r"{number}x{at}\w{{5}}")).collect()
}

fn rewrite(service: &Service, text: &str) {
    let beside = service.path.with_extension("new");
    std::fs::write(&beside, text).and_then(|()| std::fs::rename(&beside, &service.path)).expect("it is writable");
    thread::sleep(Duration::from_millis(500));
}

const ATTACKS: &[Attack] = &[
    Attack { name: "no attack", attackers: 0, once: |_, _, _| {} },
    Attack {
        name: "the page itself, 8 at once",
        attackers: 8,
        once: |service, client, _| ask(service, client, "GET", "/", "", b""),
    },
    Attack {
        name: "logins of 1 MiB, 32 at once",
        attackers: 32,
        once: |service, client, _| log_in(service, client, 1024 * 1024),
    },
    Attack {
        name: "wrong tokens at the login, 8 at once",
        attackers: 8,
        once: |service, client, _| log_in(service, client, 40),
    },
    Attack {
        name: "wrong bearers, 8 at once",
        attackers: 8,
        once: |service, client, _| ask(service, client, "GET", "/admin/flags", &bearer(&"x".repeat(40)), b""),
    },
    Attack {
        name: "logins whose body does not come, 64 at once",
        attackers: 64,
        once: |service, client, _| {
            let head = "POST /admin/login HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 4000\r\n\r\n{";
            let _ = client.0.get_mut().write_all(head.as_bytes());
            let _ = client.answer();
            *client = Client::open(service.address);
        },
    },
    Attack {
        name: "a viewer's questions of 64 KiB, 8 at once",
        attackers: 8,
        once: |service, client, _| question(service, client, 30_000),
    },
    Attack {
        name: "a viewer's questions of 1 MiB, 8 at once",
        attackers: 8,
        once: |service, client, _| question(service, client, 500_000),
    },
    Attack {
        name: "a viewer's lists, status and history, 8 at once",
        attackers: 8,
        once: |service, client, number| {
            let path =
                ["/admin/flags", "/admin/status", "/admin/history?limit=100", "/admin/export"][number as usize % 4];
            ask(service, client, "GET", path, &bearer(VIEWER), b"");
        },
    },
    Attack {
        name: "exports of the history without a reader, 16 at once",
        attackers: 16,
        once: |service, client, _| {
            let head = format!("GET /admin/history/export HTTP/1.1\r\nhost: a\r\n{}\r\n", bearer(VIEWER));
            let _ = client.0.get_mut().write_all(head.as_bytes());
            thread::sleep(Duration::from_millis(500));
            *client = Client::open(service.address);
        },
    },
    Attack {
        name: "a viewer's checks of the whole history, 8 at once",
        attackers: 8,
        once: |service, client, _| {
            ask(service, client, "GET", "/admin/history/verify?fresh=true", &bearer(VIEWER), b"");
        },
    },
    Attack {
        name: "streams of events that are opened and left, 16 at once",
        attackers: 16,
        once: |service, client, _| {
            let head = format!("GET /admin/events HTTP/1.1\r\nhost: a\r\n{}\r\n", bearer(VIEWER));
            let _ = client.0.get_mut().write_all(head.as_bytes());
            let _ = client.0.read_line(&mut String::new());
            *client = Client::open(service.address);
        },
    },
    Attack {
        name: "a responder's kills and restores, 4 at once",
        attackers: 4,
        once: |service, client, number| {
            let path = ["/admin/flags/described/kill", "/admin/flags/described/restore"][number as usize % 2];
            let headers = bearer(RESPONDER) + "content-type: application/json\r\n";
            ask(service, client, "POST", path, &headers, b"");
        },
    },
    Attack {
        name: "an editor's flags of costly patterns, 4 at once",
        attackers: 4,
        once: |service, client, number| {
            let flag = matching(&costly(number));
            let headers = bearer(EDITOR) + "content-type: application/json\r\nif-none-match: *\r\n";
            ask(service, client, "PUT", "/admin/flags/costly", &headers, flag.as_bytes());
        },
    },
    Attack {
        name: "a file of 4 MiB with costly patterns, again and again",
        attackers: 1,
        once: |service, _, number| {
            let patterns: Vec<String> = (0..150_000).map(|at| format!(r"{number}x{at}\w{{5}}")).collect();
            rewrite(service, &document(&patterns, 20));
        },
    },
    Attack {
        name: "a file of 4 MiB with 9,990 cheap patterns, again and again",
        attackers: 1,
        once: |service, _, number| {
            let patterns: Vec<String> =
                (0..9_990).map(|at| format!("{number}x{at}[a-z]*{}z", "[a-z]*a".repeat(40))).collect();
            rewrite(service, &document(&patterns, 1));
        },
    },
];

/// The waits of the client in ascending order, and the number of attempts of the attackers.
fn measure(service: &Service, attack: &Attack) -> (Vec<Duration>, u64) {
    let (ends, count) = (AtomicBool::new(false), AtomicU64::new(0));
    // The patterns of the rules are searched for in these.
    let groups = vec!["x".repeat(80); 100].join(",");
    let caller = format!("x-user-id: {}\r\nx-user-groups: {groups}\r\n", "a".repeat(250));
    let mut waits = thread::scope(|scope| {
        for _ in 0..attack.attackers {
            scope.spawn(|| {
                let mut client = Client::open(service.address);
                while !ends.load(Ordering::Relaxed) {
                    (attack.once)(service, &mut client, count.fetch_add(1, Ordering::Relaxed));
                }
            });
        }
        let mut client = Client::open(service.address);
        let (begin, mut waits) = (Instant::now(), Vec::new());
        while begin.elapsed() < LASTS {
            let asked = Instant::now();
            assert_eq!(client.ask("GET", "/", &caller, b""), Some(200), "the page is served");
            waits.push(asked.elapsed());
            thread::sleep(Duration::from_millis(1));
        }
        ends.store(true, Ordering::Relaxed);
        waits
    });
    waits.sort_unstable();
    (waits, count.into_inner())
}

fn main() -> ExitCode {
    let service = Arc::new(Service::start());
    println!("{:60} {:>8} {:>9} {:>9} {:>9} {:>9}", "attack", "tries", "requests", "median", "99 %", "longest");
    let mut is_within = true;
    for attack in ATTACKS {
        let (waits, tries) = measure(&service, attack);
        let at = |share: f64| waits[((waits.len() - 1) as f64 * share) as usize];
        let millis = |wait: Duration| format!("{:.2} ms", wait.as_secs_f64() * 1000.0);
        let longest = at(1.0);
        is_within &= longest <= GOAL;
        let mark = if longest <= GOAL { "" } else { "  over the goal" };
        println!(
            "{:60} {tries:8} {:9} {:>9} {:>9} {:>9}{mark}",
            attack.name,
            waits.len(),
            millis(at(0.5)),
            millis(at(0.99)),
            millis(longest)
        );
    }
    println!("the goal, {GOAL:?} for each request, is {}", if is_within { "kept" } else { "missed" });
    if is_within { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
