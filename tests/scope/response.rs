//! Answers that are not a page: none of them is changed but for the header.

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use tower_flags::FlagLayer;

use super::support::{Client, mine, serve};

#[tokio::test]
async fn head_says_what_get_says_without_a_body() {
    let router = Router::new().route("/", get(|| async { "twelve bytes" })).layer(FlagLayer::new(mine("alice")));
    let mut client = Client::open(serve(router).await).await;
    client.ask("HEAD", "/", &[("X-User-ID", b"alice")]).await;
    let head = client.head().await;
    let full = client.get("/", &[("X-User-ID", "alice")]).await;
    assert_eq!(full.text(), "twelve bytes");
    assert_eq!(head.status, full.status);
    for name in ["content-length", "content-type", "x-active-flags"] {
        assert_eq!(head.header(name), full.header(name), "{name}");
        assert!(full.header(name).is_some(), "{name}");
    }
}

#[tokio::test]
async fn not_modified_and_no_content_have_the_header_and_no_body() {
    let router = Router::new()
        .route("/unmodified", get(|| async { (StatusCode::NOT_MODIFIED, [("etag", "\"1\"")]) }))
        .route("/empty", get(|| async { StatusCode::NO_CONTENT }))
        .route("/", get(|| async { "body" }))
        .layer(FlagLayer::new(mine("alice")));
    let mut client = Client::open(serve(router).await).await;
    for (path, status, etag) in [("/unmodified", 304, Some("\"1\"")), ("/empty", 204, None)] {
        let reply = client.get(path, &[("X-User-ID", "alice")]).await;
        assert_eq!((reply.status, reply.header("etag"), reply.active()), (status, etag, Some("mine")));
        assert_eq!(reply.header("transfer-encoding"), None);
        // A byte of a body would be taken for the start of the next answer.
        assert_eq!(client.get("/", &[]).await.text(), "body");
    }
}

#[tokio::test]
async fn switching_protocols_has_the_header_and_goes_through() {
    async fn switch() -> (StatusCode, [(&'static str, &'static str); 2]) {
        (StatusCode::SWITCHING_PROTOCOLS, [("connection", "upgrade"), ("upgrade", "test")])
    }
    let mut seen = Vec::new();
    for router in [
        Router::new().route("/", get(switch)),
        Router::new().route("/", get(switch)).layer(FlagLayer::new(mine("alice"))),
    ] {
        let mut client = Client::open(serve(router).await).await;
        client.ask("GET", "/", &[("X-User-ID", b"alice"), ("Connection", b"upgrade"), ("Upgrade", b"test")]).await;
        let head = client.head().await;
        assert_eq!((head.status, head.header("upgrade")), (101, Some("test")));
        seen.push((head.active().map(str::to_owned), client.rest().await));
    }
    assert_eq!(seen, [(None, vec![]), (Some("mine".to_owned()), vec![])]);
}

#[tokio::test]
async fn the_extension_that_upgrades_a_connection_reaches_the_handler() {
    use axum::extract::Request;

    // Its type is not nameable here: as many extensions arrive as without the layer, and the flags.
    async fn handler(request: Request) -> String {
        request.extensions().len().to_string()
    }
    let plain = serve(Router::new().route("/", get(handler))).await;
    let layered = serve(Router::new().route("/", get(handler)).layer(FlagLayer::new(mine("alice")))).await;
    let upgrade: &[(&str, &str)] = &[("Connection", "upgrade"), ("Upgrade", "test")];
    let count = |text: &str| text.parse::<usize>().unwrap();
    let plain = count(Client::open(plain).await.get("/", upgrade).await.text());
    let layered = count(Client::open(layered).await.get("/", upgrade).await.text());
    assert_eq!(layered, plain + 1);
}
