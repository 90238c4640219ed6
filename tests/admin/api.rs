//! A server with the admin API, and somebody who asks it.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::Path;
use axum::routing::get;
use serde_json::Value;
use tempfile::TempDir;
use tower_flags::admin::{Admin, Tokens};
use tower_flags::source::Live;
#[cfg(feature = "file")]
use tower_flags::store::FileStore;
use tower_flags::store::{Author, Change, MemoryStore, SqliteStore, Store, StoreExt};
use tower_flags::{FlagLayer, flag};

use super::support::{Client, Reply, serve};

pub(crate) const EDITOR: &str = "editor-0123456789abcdef0123456789";
pub(crate) const VIEWER: &str = "viewer-0123456789abcdef0123456789";

pub(crate) const RESPONDER: &str = "responder-0123456789abcdef0123456789";

pub(crate) fn tokens() -> Tokens {
    let tokens = Tokens::new().editor("alice", EDITOR).unwrap().viewer("bob", VIEWER).unwrap();
    tokens.responder("rita", RESPONDER).unwrap()
}

/// What an application makes of the flags: it says whether one is on for whoever asks.
pub(crate) fn shop(source: Live) -> Router {
    let answer = |Path(name): Path<String>| async move { if flag(name) { "on" } else { "off" } };
    Router::new().route("/{flag}", get(answer)).layer(FlagLayer::new(source).trust_headers())
}

/// A store in memory with these flags, each in its version 1.
pub(crate) async fn store(flags: &[(&str, &str)]) -> MemoryStore {
    let store = MemoryStore::new();
    fill(&store, flags).await;
    store
}

async fn fill(store: &impl Store, flags: &[(&str, &str)]) {
    for (name, text) in flags {
        store.change(*name, Change::put_text(*text), &Author::new("setup")).await.unwrap();
    }
}

/// Where a test keeps its flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Memory,
    Sqlite,
    #[cfg(feature = "file")]
    File,
}

impl Place {
    /// A server over a store with these flags, each in its version 1.
    pub(crate) async fn with(self, flags: &[(&str, &str)]) -> (Api, Arc<dyn Store>) {
        let folder = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> = match self {
            Self::Memory => Arc::new(MemoryStore::new()),
            Self::Sqlite => Arc::new(SqliteStore::at(folder.path().join("flags.db"))),
            #[cfg(feature = "file")]
            Self::File => {
                let path = folder.path().join("flags.json");
                std::fs::write(&path, r#"{"flags": {}}"#).unwrap();
                Arc::new(FileStore::new(path).unwrap())
            }
        };
        fill(&store, flags).await;
        let api = Api { _folder: Some(Arc::new(folder)), ..Api::over(Arc::clone(&store)).await };
        (api, store)
    }
}

/// Makes of each of these functions a test for every place.
macro_rules! in_every_place {
    ($($name:ident)*) => {
        mod in_memory {
            $(#[tokio::test]
            async fn $name() {
                super::$name(super::Place::Memory).await;
            })*
        }
        mod in_sqlite {
            $(#[tokio::test]
            async fn $name() {
                super::$name(super::Place::Sqlite).await;
            })*
        }
        #[cfg(feature = "file")]
        mod in_a_file {
            $(#[tokio::test]
            async fn $name() {
                super::$name(super::Place::File).await;
            })*
        }
    };
}
pub(crate) use in_every_place;

/// Whoever asks a server.
#[derive(Clone)]
pub(crate) struct Operator {
    pub(crate) address: SocketAddr,
    base: String,
    token: &'static str,
}

/// A server in this process, and an editor who asks it.
#[derive(Clone)]
pub(crate) struct Api {
    operator: Operator,
    pub(crate) source: Live,
    /// Of the store.
    _folder: Option<Arc<TempDir>>,
}

impl std::ops::Deref for Api {
    type Target = Operator;

    fn deref(&self) -> &Operator {
        &self.operator
    }
}

impl Api {
    /// At the root, over this store.
    pub(crate) async fn over(store: impl Store + Clone) -> Self {
        let source = Live::connect(store.clone()).await.unwrap();
        let router = Admin::new(store, source.clone(), tokens()).router();
        Self::at("", router, source).await
    }

    pub(crate) async fn with(flags: &[(&str, &str)]) -> (Self, MemoryStore) {
        let store = store(flags).await;
        (Self::over(store.clone()).await, store)
    }

    pub(crate) async fn at(base: &str, router: Router, source: Live) -> Self {
        Self { operator: Operator::at(serve(router).await, base, EDITOR), source, _folder: None }
    }
}

impl Operator {
    pub(crate) fn at(address: SocketAddr, base: &str, token: &'static str) -> Self {
        Self { address, base: base.to_owned(), token }
    }

    pub(crate) fn as_viewer(&self) -> Self {
        Self { token: VIEWER, ..self.clone() }
    }

    pub(crate) fn as_responder(&self) -> Self {
        Self { token: RESPONDER, ..self.clone() }
    }

    /// Asks with a token, and without a content type.
    pub(crate) async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        let bearer = format!("Bearer {}", self.token);
        let mut all = vec![("authorization", bearer.as_str())];
        all.extend_from_slice(headers);
        self.ask_as(method, path, &all, body.as_bytes()).await
    }

    /// Asks with exactly these headers.
    pub(crate) async fn ask_as(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        let headers: Vec<(&str, &[u8])> = headers.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
        request(self.address, method, &format!("{}/{path}", self.base), &headers, body).await
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        let reply = self.ask("GET", path, &[], "").await;
        assert_eq!(reply.status, 200, "{path}: {}", reply.text());
        json(&reply)
    }

    pub(crate) async fn etag(&self, flag: &str) -> String {
        let reply = self.ask("GET", &format!("flags/{flag}"), &[], "").await;
        reply.header("etag").unwrap_or_else(|| panic!("{}", reply.text())).to_owned()
    }
}

pub(crate) async fn request(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &[u8])],
    body: &[u8],
) -> Reply {
    request_over(&mut Client::open(address).await, method, path, headers, body).await
}

/// Asks over a connection that may be used again.
pub(crate) async fn request_over(
    client: &mut Client,
    method: &str,
    path: &str,
    headers: &[(&str, &[u8])],
    body: &[u8],
) -> Reply {
    let length = body.len().to_string();
    let mut all: Vec<(&str, &[u8])> = headers.to_vec();
    if !body.is_empty() {
        all.push(("content-length", length.as_bytes()));
    }
    client.ask(method, path, &all).await;
    if !body.is_empty() {
        client.send(body).await;
    }
    if method == "HEAD" { client.head().await } else { client.reply().await }
}

pub(crate) fn json(reply: &Reply) -> Value {
    serde_json::from_slice(&reply.body).unwrap_or_else(|_| panic!("no JSON: {reply:?}"))
}

/// The end of a problem's type.
pub(crate) fn problem(reply: &Reply) -> String {
    assert_eq!(reply.header("content-type"), Some("application/problem+json"), "{} {}", reply.status, reply.text());
    let body = json(reply);
    assert_eq!(body["status"], reply.status, "{body}");
    body["type"].as_str().unwrap().strip_prefix("urn:tower-flags:").unwrap().to_owned()
}
