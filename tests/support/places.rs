//! The servers that stores are on, behind one face.
#![allow(dead_code, reason = "each test program uses its own part")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tower_flags::store::Store;

use crate::servers::{Postgres, Redis};
use crate::urls::open;

/// A server with one store on it.
pub(crate) trait Server: Send {
    fn kind(&self) -> Kind;
    /// The store on it, as another process would open it; over another address where a line is between.
    fn open(&self, through: Option<SocketAddr>) -> Arc<dyn Store>;
    fn address(&self) -> SocketAddr;
    /// `kill -9`.
    fn kill(&mut self);
    fn start_again(&mut self);
    /// `SIGSTOP`.
    fn freeze(&self);
    /// `SIGCONT`.
    fn thaw(&self);
}

impl Server for Redis {
    fn kind(&self) -> Kind {
        Kind::Redis
    }

    fn open(&self, through: Option<SocketAddr>) -> Arc<dyn Store> {
        let address = through.unwrap_or(Redis::address(self));
        open(&Kind::Redis.url(address))
    }

    fn address(&self) -> SocketAddr {
        Redis::address(self)
    }

    fn kill(&mut self) {
        Redis::kill(self);
    }

    fn start_again(&mut self) {
        Redis::start_again(self);
    }

    fn freeze(&self) {
        Redis::freeze(self);
    }

    fn thaw(&self) {
        Redis::thaw(self);
    }
}

impl Server for Postgres {
    fn kind(&self) -> Kind {
        Kind::Postgres
    }

    fn open(&self, through: Option<SocketAddr>) -> Arc<dyn Store> {
        let address = through.unwrap_or(Postgres::address(self));
        // By its name the server tells the connections of one store from those of others.
        static STORES: AtomicUsize = AtomicUsize::new(0);
        let store = STORES.fetch_add(1, Ordering::Relaxed);
        open(&format!("{}?application_name=store_{store}", Kind::Postgres.url(address)))
    }

    fn address(&self) -> SocketAddr {
        Postgres::address(self)
    }

    fn kill(&mut self) {
        Postgres::kill(self);
    }

    fn start_again(&mut self) {
        Postgres::start_again(self);
    }

    fn freeze(&self) {
        Postgres::freeze(self);
    }

    fn thaw(&self) {
        Postgres::thaw(self);
    }
}

/// Which servers there are, for tests that do the same to each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Redis,
    /// Redis 7.2 or newer, where edits wait for the disk.
    NewerRedis,
    Postgres,
}

impl Kind {
    pub(crate) const ALL: [Self; 2] = [Self::Redis, Self::Postgres];

    pub(crate) fn start(self) -> Box<dyn Server> {
        match self {
            Self::Redis => Box::new(Redis::start()),
            Self::NewerRedis => Box::new(Redis::start_newer()),
            Self::Postgres => Box::new(Postgres::start()),
        }
    }

    /// The store on such a server, at its own address or over a line.
    pub(crate) fn url(self, address: SocketAddr) -> String {
        match self {
            Self::Redis | Self::NewerRedis => format!("redis://{address}"),
            Self::Postgres => format!("postgres://postgres@{address}/postgres"),
        }
    }
}

/// Does the same to every kind of server, side by side, and names those where it went wrong.
pub(crate) async fn on_each<F>(test: impl Fn(Kind) -> F) -> Vec<(Kind, Result<(), String>)>
where
    F: Future<Output = Result<(), String>> + Send + 'static,
{
    on_each_of(&Kind::ALL, test).await
}

/// The same on some of them. `TOWER_FLAGS_SERVER` names one, as `Redis`, where the others are to be left out.
pub(crate) async fn on_each_of<F>(kinds: &[Kind], test: impl Fn(Kind) -> F) -> Vec<(Kind, Result<(), String>)>
where
    F: Future<Output = Result<(), String>> + Send + 'static,
{
    let only = std::env::var("TOWER_FLAGS_SERVER").ok();
    let is_meant = |kind: &Kind| only.as_ref().is_none_or(|only| *only == format!("{kind:?}"));
    let meant = kinds.iter().copied().filter(is_meant);
    let running: Vec<_> = meant.map(|kind| (kind, tokio::spawn(test(kind)))).collect();
    let mut outcomes = Vec::new();
    for (kind, running) in running {
        outcomes.push((kind, running.await.unwrap_or_else(|panic| Err(panic.to_string()))));
    }
    outcomes
}

#[track_caller]
pub(crate) fn assert_good(outcomes: &[(Kind, Result<(), String>)]) {
    assert!(outcomes.iter().all(|(_, outcome)| outcome.is_ok()), "{outcomes:#?}");
}

/// The control: what is broken on purpose is found, and nothing else is wrong.
#[track_caller]
pub(crate) fn assert_found(outcomes: &[(Kind, Result<(), String>)]) {
    println!("found, as it should be: {outcomes:#?}");
    let is_found = |outcome: &Result<(), String>| outcome.as_ref().is_err_and(|said| said.contains("not within"));
    assert!(outcomes.iter().all(|(_, outcome)| is_found(outcome)), "{outcomes:#?}");
}
