//! Websockets and server-sent events, by the example that shows them, over real connections.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![cfg(all(feature = "axum", feature = "overrides"))]

#[allow(dead_code, reason = "its main is not ours")]
#[path = "../examples/live.rs"]
mod live;
mod support;

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::extract::ws::{Message as Sent, WebSocketUpgrade};
use axum::routing::get;
use futures_util::{SinkExt, StreamExt};
use http::Response;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use tower_flags::request::{OverrideToken, Overrides, SigningKey};
use tower_flags::{FlagLayer, Flags, Memory, flag, try_flag};

use support::{Client, flag_of, memory, serve};

const RULES: &str = r#"{
    "polite": {"allowed_users": ["alice"]},
    "flash_sale": {"allowed_users": ["alice"], "overridable": true}
}"#;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn connect(server: SocketAddr, path: &str, user: &str) -> (Socket, Response<Option<Vec<u8>>>) {
    let mut request = format!("ws://{server}{path}").into_client_request().unwrap();
    request.headers_mut().insert("x-user-id", user.parse().unwrap());
    connect_async(request).await.unwrap()
}

async fn ask(socket: &mut Socket, text: &str) -> String {
    socket.send(Message::text(text)).await.unwrap();
    socket.next().await.unwrap().unwrap().into_text().unwrap().to_string()
}

fn everybody(rules: &Memory, name: &str, is_on: bool) {
    rules.set(name, flag_of(if is_on { "true" } else { "false" })).unwrap();
}

#[tokio::test]
async fn a_websocket_answers_every_message_by_the_rules_of_then() {
    let rules = memory(RULES);
    let server = serve(live::app(rules.clone())).await;
    let (mut alice, upgrade) = connect(server, "/chat", "alice").await;
    assert_eq!(upgrade.status(), 101);
    assert_eq!(upgrade.headers()["x-active-flags"], "flash_sale,polite");
    let (mut bob, upgrade) = connect(server, "/chat", "bob").await;
    assert!(!upgrade.headers().contains_key("x-active-flags"));

    assert_eq!(ask(&mut alice, "hello").await, "hello, please: everything at half price");
    assert_eq!(ask(&mut bob, "hello").await, "hello: no offers");
    everybody(&rules, "flash_sale", false);
    assert_eq!(ask(&mut alice, "and now").await, "and now, please: no offers", "a kill reaches open sockets");
    everybody(&rules, "polite", true);
    assert_eq!(ask(&mut bob, "and now").await, "and now, please: no offers");
    rules.remove("polite");
    assert_eq!(ask(&mut alice, "bye").await, "bye: no offers");
}

#[tokio::test]
async fn what_a_tester_forced_holds_for_the_whole_life_of_the_socket() {
    let rules = memory(RULES);
    let key = SigningKey::new("a key for tests, of 32 bytes or more").unwrap();
    let layer = FlagLayer::new(rules.clone()).trust_headers().overrides(Overrides::new(key.clone()));
    let server = serve(live::app(rules.clone()).layer(layer)).await;
    let token = OverrideToken::until((SystemTime::now() + Duration::from_secs(3600)).into())
        .on("flash_sale")
        .sign(&key)
        .unwrap();
    let (mut bob, upgrade) = connect(server, &format!("/chat?flag_override={token}"), "bob").await;
    assert_eq!(upgrade.headers()["x-flag-overrides"], "flash_sale=on");
    assert_eq!(ask(&mut bob, "hello").await, "hello: everything at half price");
    everybody(&rules, "polite", true);
    assert_eq!(ask(&mut bob, "hello").await, "hello, please: everything at half price");
    everybody(&rules, "flash_sale", false);
    assert_eq!(ask(&mut bob, "hello").await, "hello, please: no offers", "a kill beats it");
}

#[tokio::test]
async fn without_a_refresh_the_answers_of_the_upgrade_stay_and_without_flags_there_are_none() {
    let rules = memory(RULES);
    let kept = |upgrade: WebSocketUpgrade, flags: Flags| async move {
        upgrade.on_upgrade(async move |mut socket| {
            while let Some(Ok(_)) = socket.recv().await {
                let said = format!("{} {:?}", flags.sync_scope(|| flag("flash_sale")), try_flag("flash_sale").ok());
                socket.send(Sent::from(said)).await.unwrap();
            }
        })
    };
    let router = Router::new().route("/", get(kept)).layer(FlagLayer::new(rules.clone()).trust_headers());
    let (mut alice, _) = connect(serve(router).await, "/", "alice").await;
    assert_eq!(ask(&mut alice, "x").await, "true None");
    everybody(&rules, "flash_sale", false);
    assert_eq!(ask(&mut alice, "x").await, "true None", "frozen, and the socket's task has no scope of its own");
}

#[tokio::test]
async fn a_stream_of_events_tells_when_an_answer_has_changed() {
    let rules = memory(RULES);
    let server = serve(live::app(rules.clone())).await;
    let mut events = Client::open(server).await;
    events.ask("GET", "/events", &[("X-User-ID", b"alice")]).await;
    let head = events.head().await;
    assert_eq!((head.header("content-type"), head.active()), (Some("text/event-stream"), Some("flash_sale,polite")));
    assert_eq!(events.frame().await.unwrap(), b"data: everything at half price\n\n");
    everybody(&rules, "flash_sale", false);
    assert_eq!(events.frame().await.unwrap(), b"data: no offers\n\n");
    everybody(&rules, "flash_sale", true);
    assert_eq!(events.frame().await.unwrap(), b"data: everything at half price\n\n");
}
