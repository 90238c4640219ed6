//! Stores that are not there when a process starts: it serves within its bound, what its backup file or its code
//! says, and follows the store once that is there.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, block_in_place};
use tokio::time::{Instant, sleep};
use tower_flags::engine::Query;
use tower_flags::source::{Freshness, Live, Source};
use tower_flags::store::{Author, Change, Feed, FileStore, HttpFeed, SqliteStore, StoreExt};
use tower_flags::{Context, Flags, Timestamp as Now};

use crate::counted::Counter;
use crate::places::{Kind, Server};

/// How long a start may wait, and what two busy cores add to it.
const BOUND: Duration = Duration::from_millis(1000 + 700);
/// How soon a store that is back is followed.
const HEALS: Duration = Duration::from_millis(2000 + 700);

/// The rules while the store is there.
const RULES: [(&str, &str); 3] = [("on", "true"), ("off", "false"), ("nobody", r#"{"percentage": 0}"#)];

/// A place of rules that can go away and come back.
enum Place {
    Server(Box<dyn Server>),
    /// In a folder that is renamed.
    Folder {
        folder: TempDir,
        is_sqlite: bool,
    },
    Http {
        address: std::net::SocketAddr,
        serving: Option<JoinHandle<()>>,
    },
}

impl Place {
    async fn on(kind: Kind) -> Self {
        let server = block_in_place(|| kind.start());
        for (name, text) in RULES {
            server.open(None).change(name, Change::put_text(text), &Author::new("a test")).await.unwrap();
        }
        Self::Server(server)
    }

    async fn in_folder(is_sqlite: bool) -> Self {
        let folder = TempDir::new().unwrap();
        std::fs::create_dir(folder.path().join("here")).unwrap();
        let by = Author::new("a test");
        let place = Self::Folder { folder, is_sqlite };
        for (name, text) in RULES {
            if is_sqlite {
                SqliteStore::new(&place.url()).unwrap().change(name, Change::put_text(text), &by).await.unwrap();
            }
        }
        if !is_sqlite {
            let flags: Vec<_> = RULES.iter().map(|(name, text)| format!("\"{name}\": {text}")).collect();
            std::fs::write(place.path(), format!("{{\"flags\": {{{}}}}}", flags.join(", "))).unwrap();
        }
        place
    }

    async fn over_http() -> Self {
        let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let mut place = Self::Http { address, serving: None };
        place.appears().await;
        place
    }

    fn path(&self) -> PathBuf {
        let Self::Folder { folder, .. } = self else { panic!("no folder") };
        folder.path().join("here/flags.json")
    }

    fn url(&self) -> String {
        format!("sqlite:{}", self.path().display())
    }

    fn feed(&self) -> Arc<dyn Feed> {
        match self {
            Self::Server(server) => server.open(None),
            Self::Folder { is_sqlite: true, .. } => Arc::new(SqliteStore::new(&self.url()).unwrap()),
            Self::Folder { .. } => Arc::new(FileStore::new(self.path()).unwrap()),
            Self::Http { address, .. } => Arc::new(HttpFeed::new(&format!("http://{address}/flags.json")).unwrap()),
        }
    }

    async fn goes_away(&mut self) {
        match self {
            Self::Server(server) => block_in_place(|| server.kill()),
            Self::Folder { folder, .. } => {
                std::fs::rename(folder.path().join("here"), folder.path().join("away")).unwrap();
            }
            Self::Http { serving, .. } => {
                let serving = serving.take().unwrap();
                serving.abort();
                let _ = serving.await;
            }
        }
    }

    async fn appears(&mut self) {
        match self {
            Self::Server(server) => block_in_place(|| server.start_again()),
            Self::Folder { folder, .. } => {
                std::fs::rename(folder.path().join("away"), folder.path().join("here")).unwrap();
            }
            Self::Http { address, serving } => {
                let flags: Vec<_> = RULES.iter().map(|(name, text)| format!("\"{name}\": {text}")).collect();
                let body = format!("{{\"flags\": {{{}}}}}", flags.join(", "));
                let router = Router::new().route("/flags.json", get(move || async move { body.clone() }));
                let listener = TcpListener::bind(*address).await.unwrap();
                *serving = Some(tokio::spawn(async move { axum::serve(listener, router).await.unwrap() }));
            }
        }
    }
}

fn flags(source: &Live) -> Flags {
    source.answer(&Query::new(&Context::user("somebody"), Now::from_unix_millis(0))).into()
}

fn has_the_rules(source: &Live) -> bool {
    let flags = flags(source);
    flags.is_enabled("on") && !flags.is_enabled_or("off", true) && !flags.is_enabled_or("nobody", true)
}

async fn until(what: &str, longest: Duration, is_so: impl Fn() -> bool) -> Result<(), String> {
    let start = Instant::now();
    while !is_so() {
        if start.elapsed() > longest {
            return Err(format!("not within {longest:?}: {what}"));
        }
        sleep(Duration::from_millis(2)).await;
    }
    Ok(())
}

fn holds(is_so: bool, what: &str) -> Result<(), String> {
    is_so.then_some(()).ok_or_else(|| format!("not so: {what}"))
}

async fn starts_without(mut place: Place) -> Result<(), String> {
    let counter = match &place {
        Place::Server(server) => Some(Counter::start(server.kind(), server.address())),
        _ => None,
    };
    let folder = TempDir::new().unwrap();
    let backup = folder.path().join("flags.backup");
    let first = Live::builder(place.feed()).backup(&backup).connect().await.unwrap();
    until("the first one has the rules", HEALS, || has_the_rules(&first)).await?;
    until("the backup is written", HEALS, || backup.exists()).await?;
    drop(first);
    place.goes_away().await;

    let start = Instant::now();
    let with_backup = Live::builder(place.feed()).backup(&backup).connect().await.unwrap();
    holds(start.elapsed() < BOUND, "a start with a backup waits for its bound at most")?;
    holds(has_the_rules(&with_backup), "the backup's answers are right")?;
    let freshness = with_backup.status().freshness;
    holds(matches!(freshness, Freshness::StaleSince(_)), "it says that they may be old")?;

    let start = Instant::now();
    let without = Live::connect(place.feed()).await.unwrap();
    holds(start.elapsed() < BOUND, "a start without a backup waits for its bound at most")?;
    holds(without.status().freshness == Freshness::NeverLoaded, "it says that it has no rules")?;
    holds(without.status().last_error.is_some(), "it says why")?;
    holds(!flags(&without).is_enabled("on"), "a flag without rules is off")?;
    holds(flags(&without).is_enabled_or("on", true), "where the code says so it is on")?;

    place.appears().await;
    let is_well = |source: &Live| has_the_rules(source) && source.status().freshness == Freshness::Fresh;
    until("both follow the store that is back", HEALS, || is_well(&with_backup) && is_well(&without)).await?;
    counter.map_or(Ok(()), Counter::end)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs Redis and PostgreSQL, which tests/run.sh installs"]
async fn a_process_starts_without_its_store_and_follows_it_later() {
    let running = [
        ("redis", tokio::spawn(async { starts_without(Place::on(Kind::Redis).await).await })),
        ("postgres", tokio::spawn(async { starts_without(Place::on(Kind::Postgres).await).await })),
        ("sqlite", tokio::spawn(async { starts_without(Place::in_folder(true).await).await })),
        ("file", tokio::spawn(async { starts_without(Place::in_folder(false).await).await })),
        ("http", tokio::spawn(async { starts_without(Place::over_http().await).await })),
    ];
    let mut outcomes = Vec::new();
    for (place, running) in running {
        outcomes.push((place, running.await.unwrap_or_else(|panic| Err(panic.to_string()))));
    }
    assert!(outcomes.iter().all(|(_, outcome)| outcome.is_ok()), "{outcomes:#?}");
}
