//! Names that lead here and are not ours: DNS rebinding.

use std::net::SocketAddr;

use axum::body::Body;
use axum::extract::Request;
use http::Version;
use http::request::Parts;
use tower::ServiceExt;
use tower_flags::admin::{Access, Admin, AllowedHosts, Authorizer};
use tower_flags::source::Live;
use tower_flags::store::{HistoryPage, MemoryStore, Store};

use super::api::{Api, EDITOR, json, problem, store, tokens};
use super::support::{Client, Reply, serve};

/// A service that trusts its network, as one on a laptop or in a cluster does.
async fn trusting(hosts: AllowedHosts) -> (SocketAddr, axum::Router, MemoryStore) {
    let store = store(&[("a", "true")]).await;
    let live = Live::connect(store.clone()).await.unwrap();
    let everybody = Authorizer::by_network(hosts, |_: &Parts| Access::Editor("everybody".into()));
    let router = Admin::new(store.clone(), live, everybody).router();
    let router = axum::Router::new().nest_service("/admin", router);
    (serve(router.clone()).await, router, store)
}

/// Sends these lines as they are.
async fn raw(address: SocketAddr, head: &str) -> Reply {
    let mut client = Client::open(address).await;
    client.send(format!("{head}\r\nconnection: close\r\n\r\n").as_bytes()).await;
    client.reply().await
}

#[tokio::test]
async fn a_page_whose_name_leads_here_neither_reads_nor_edits() {
    let hosts: AllowedHosts = "flags.internal [::1]:3001".parse().unwrap();
    let (address, _, store) = trusting(hosts).await;
    // What a browser sends for a page of evil.example, which it takes for the origin of this server.
    let same = "sec-fetch-site: same-origin\r\ncontent-type: application/json\r\norigin: http://evil.example";
    for host in [
        "evil.example",
        "EVIL.example:80",
        "flags.internal.evil.example",
        "127.0.0.1",
        "[::1]:3002",
        "flags.internal@evil.example",
        "",
    ] {
        for line in [
            "GET /admin/",
            "GET /admin/app.js",
            "GET /admin/flags",
            "GET /admin/events",
            "GET /admin/openapi.json",
            "GET /admin/nothing",
            "OPTIONS /admin/flags",
            "POST /admin/login",
            "POST /admin/flags/a/kill",
            "DELETE /admin/flags/a",
            "POST /admin/import",
        ] {
            let reply = raw(address, &format!("{line} HTTP/1.1\r\nhost: {host}\r\n{same}")).await;
            assert_eq!((reply.status, problem(&reply).as_str()), (421, "wrong-host"), "{line} {host}");
        }
    }
    let reply = raw(address, &format!("POST /admin/flags/a/kill HTTP/1.1\r\nhost: evil.example\r\n{same}")).await;
    let found = json(&reply);
    assert_eq!(
        found["detail"],
        "expected the request to be for flags.internal or [::1]:3001, found \"evil.example\"; nothing was changed. \
         AllowedHosts, for Admin::allowed_hosts or Authorizer::by_network, names the hosts; a proxy has to pass on the host \
         that its client asked for"
    );
    assert_eq!(
        (&found["found"], &found["allowed"]),
        (&"evil.example".into(), &serde_json::json!(["flags.internal", "[::1]:3001"]))
    );
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    assert_eq!(store.history(&HistoryPage::newest()).await.unwrap().len(), 1);

    for host in ["flags.internal", "FLAGS.Internal.:8080", "[::1]:3001", "[0:0::1]:3001"] {
        let reply = raw(address, &format!("GET /admin/flags HTTP/1.1\r\nhost: {host}")).await;
        assert_eq!(reply.status, 200, "{host}");
    }
    let own = "sec-fetch-site: same-origin\r\ncontent-type: application/json";
    let reply = raw(address, &format!("POST /admin/flags/a/kill HTTP/1.1\r\nhost: flags.internal\r\n{own}")).await;
    assert_eq!(reply.status, 200);
}

#[tokio::test]
async fn each_form_of_a_target_names_the_host() {
    let (address, router, _) = trusting(AllowedHosts::new(["flags.internal"]).unwrap()).await;
    // Absolute forms, as to a proxy: both names count.
    for (target, host, status) in [
        ("http://flags.internal/admin/flags", "flags.internal", 200),
        ("http://evil.example/admin/flags", "flags.internal", 421),
        ("http://flags.internal/admin/flags", "evil.example", 421),
    ] {
        let reply = raw(address, &format!("GET {target} HTTP/1.1\r\nhost: {host}")).await;
        assert_eq!(reply.status, status, "{target} {host}");
    }
    let twice = raw(address, "GET /admin/flags HTTP/1.1\r\nhost: flags.internal\r\nhost: evil.example").await;
    assert_eq!((twice.status, problem(&twice).as_str()), (400, "malformed"));
    let none = raw(address, "GET /admin/flags HTTP/1.0\r\nx-none: 1").await;
    assert_eq!(problem(&none), "wrong-host");
    assert!(none.text().contains("found none"), "{}", none.text());
    // HTTP/2 has the name in `:authority`, which the server puts into the target.
    for (authority, status) in [("flags.internal", 200), ("Flags.Internal.:443", 200), ("evil.example", 421)] {
        let request = Request::get(format!("https://{authority}/admin/flags")).version(Version::HTTP_2);
        let response = router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.status(), status, "{authority}");
    }
}

#[tokio::test]
async fn tokens_are_good_under_any_name_unless_hosts_are_configured() {
    let (api, store) = Api::with(&[("a", "true")]).await;
    let bearer = format!("authorization: Bearer {EDITOR}");
    let line = |host: &str| format!("GET /flags HTTP/1.1\r\nhost: {host}\r\n{bearer}");
    assert_eq!(raw(api.address, &line("anything.example")).await.status, 200);
    let twice = raw(api.address, &line("a.example\r\nhost: a.example")).await;
    assert_eq!(problem(&twice), "malformed");
    let live = Live::connect(store.clone()).await.unwrap();
    let hosts = AllowedHosts::new(["flags.internal"]).unwrap();
    let address = serve(Admin::new(store.clone(), live.clone(), tokens()).allowed_hosts(hosts.clone()).router()).await;
    assert_eq!(problem(&raw(address, &line("anything.example")).await), "wrong-host");
    assert_eq!(raw(address, &line("flags.internal")).await.status, 200);
    // What trusts the network is bound to its own names whatever the application allows beside them.
    let everybody = Authorizer::by_network(hosts, |_: &Parts| Access::Editor("everybody".into()));
    let address = serve(Admin::new(store, live, everybody).allowed_hosts(AllowedHosts::any()).router()).await;
    assert_eq!(problem(&raw(address, &line("anything.example")).await), "wrong-host");
}
