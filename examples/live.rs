//! Connections that live long, and see a change of the rules: `cargo run --example live`, then
//!
//! ```text
//! curl -N 127.0.0.1:3000/events -H 'X-User-ID: alice'    # server-sent events
//! websocat -H 'X-User-ID: alice' ws://127.0.0.1:3000/chat # a websocket: an answer for every line
//! ```
//!
//! The rules change every five seconds. A request keeps its answers to its end, so both connections ask
//! for new ones where they want them.

use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use axum::response::sse::{Event, Sse};
use axum::routing::get;
use futures_util::{Stream, stream};
use tokio::time::sleep;
use tower_flags::{Flag, FlagLayer, Flags, FlagsExt, Memory, Source, flag};

/// An event now, and one whenever what the caller sees has changed.
async fn events(flags: Flags) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let events = stream::unfold((flags, None), async |(flags, said)| {
        let mut flags = flags;
        loop {
            let offer = flags.sync_scope(offer);
            if said != Some(offer) {
                return Some((Ok(Event::default().data(offer)), (flags, Some(offer))));
            }
            sleep(Duration::from_millis(200)).await;
            flags = flags.refresh().await;
        }
    });
    Sse::new(events)
}

/// The socket is served by a task of its own, which takes the answers along.
async fn chat(upgrade: WebSocketUpgrade, flags: Flags) -> Response {
    upgrade.on_upgrade(|socket| serve_chat(socket, flags))
}

/// Answers every message by the rules of then. What is on in the midst of an answer stays.
async fn serve_chat(mut socket: WebSocket, mut flags: Flags) {
    while let Some(Ok(message)) = socket.recv().await {
        let Message::Text(text) = message else { continue };
        flags = flags.refresh().await;
        let answered = async { socket.send(Message::from(answer(&text))).await }.in_flags(flags.clone()).await;
        if answered.is_err() {
            return;
        }
    }
}

/// Nothing is handed down to here.
fn answer(text: &str) -> String {
    if flag("polite") { format!("{text}, please: {}", offer()) } else { format!("{text}: {}", offer()) }
}

fn offer() -> &'static str {
    if flag("flash_sale") { "everything at half price" } else { "no offers" }
}

pub(crate) fn app(rules: impl Source) -> Router {
    // Whoever can reach this port says who they are: an example may trust that.
    let layer = FlagLayer::new(rules).trust_headers();
    Router::new().route("/events", get(events)).route("/chat", get(chat)).layer(layer)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let rules = Memory::new();
    rules.set("polite", r#"{"allowed_users": ["alice"]}"#.parse::<Flag>()?)?;
    let (on, off) = (r#"{"allowed_users": ["alice"]}"#.parse::<Flag>()?, "false".parse::<Flag>()?);
    rules.set("flash_sale", off.clone())?;
    let address = std::env::var("ADDR").unwrap_or_else(|_| "127.0.0.1:3000".into());
    let listener = tokio::net::TcpListener::bind(address).await?;
    println!("listening on http://{}", listener.local_addr()?);
    tokio::spawn({
        let rules = rules.clone();
        async move {
            for sale in [on, off].iter().cycle() {
                sleep(Duration::from_secs(5)).await;
                if let Err(problem) = rules.set("flash_sale", sale.clone()) {
                    eprintln!("{problem}");
                }
            }
        }
    });
    axum::serve(listener, app(rules)).await?;
    Ok(())
}
