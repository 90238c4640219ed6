//! The dashboard in a real browser: a service with flags, at which tests in JavaScript look through Chromium.
//!
//! `tests/install.sh` installs what they need; then `cargo test --features admin --test browser -- --include-ignored
//! --nocapture` runs all cases, and `CASES=looks` before it looks.test.js alone. Pictures of all views are kept in the
//! folder that is named at the end.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod shaky;
#[path = "../support/mod.rs"]
mod support;

use std::path::Path;

use axum::Router;
use axum::extract::Path as Segment;
use axum::routing::{get, post};
use tower_flags::admin::{Admin, Token, Tokens};
use tower_flags::source::{Env, Layered, Live};
use tower_flags::store::{Author, Change, FileStore, MemoryStore, StoreExt};
use tower_flags::{FlagLayer, Flags, Memory};

use shaky::Shaky;

const ALICE: &str = "alice-0123456789abcdef0123456789abcdef";
const BOB: &str = "bob-0123456789abcdef0123456789abcdef";
const VERA: &str = "vera-0123456789abcdef0123456789abcdef";
const RITA: &str = "rita-0123456789abcdef0123456789abcdef";

/// What is there before anybody does anything; one flag cannot be read, and one requires a flag that is not there.
const FLAGS: &str = r#"{"flags": {
    "dark_mode": true,
    "old_banner": {"enabled": true, "owner": "web", "created_at": "2025-01-10", "expires_at": "2025-06-30", "description": "The banner of the spring sale"},
    "new_search": {"enabled": true, "percentage": 50, "owner": "search", "ticket": "https://tickets.example.com/SE-7", "description": "Sorts results by price", "created_at": "2026-09-01"},
    "pricing_page": {"enabled": true, "kind": "experiment", "owner": "growth", "description": "Three prices for the same thing",
        "variants": {"control": 34, "higher": {"weight": 33, "value": 1.2}, "lower": {"weight": 33, "value": 0.8}}},
    "beta_reports": {"enabled": true, "owner": "reports", "allowed_users": ["tester_1", "tester_2"], "allowed_groups": ["employees"],
        "rules": [{"when": [{"attribute": "email", "op": "ends_with", "values": ["@example.com"]}, {"attribute": "plan", "op": "not_equals", "values": ["free"]}], "serve": true},
                  {"when": [{"attribute": "country", "op": "one_of", "values": ["DE", "AT"]}], "serve": {"percentage": 25}}]},
    "fraud_check": {"enabled": false, "percentage": 100, "kind": "ops", "owner": "payments", "hidden": true, "description": "Looks at every order twice"},
    "shadowed": {"enabled": true, "percentage": 10, "description": "Another layer has the last word"},
    "needs_missing": {"enabled": true, "requires": ["checkout_v2"], "owner": "payments", "description": "Waits for a flag that nobody has made"},
    "broken": {"enabled": "yes", "percentage": 120}
}}"#;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium, which tests/run.sh installs"]
async fn people_operate_flags_with_the_dashboard() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("flags.json");
    std::fs::write(&file, FLAGS).unwrap();
    let store = Shaky::over(FileStore::new(&file).unwrap());
    let live = Live::connect(store.clone()).await.unwrap();
    let upper = Memory::new();
    upper.set("shadowed", true).unwrap();
    let layered = Layered::over(live.clone()).with(upper);

    let admin = || {
        let tokens =
            Tokens::new().editor("alice", ALICE).unwrap().editor("bob", BOB).unwrap().viewer("vera", VERA).unwrap();
        let tokens = tokens.responder("rita", RITA).unwrap();
        Admin::new(store.clone(), live.clone(), tokens).effective_in(layered.clone()).insecure_cookie().router()
    };
    let shop = Router::new().route("/shop/{flag}", get(shop)).layer(FlagLayer::new(layered.clone()).trust_headers());
    let fate = {
        let store = store.clone();
        post(move |Segment(fate): Segment<String>| async move { store.is(&fate) })
    };
    let elsewhere = {
        let store = store.clone();
        post(move |Segment((flag, percentage)): Segment<(String, u32)>| async move {
            store.edit_elsewhere(&flag, percentage).await;
        })
    };
    let lose = {
        let store = store.clone();
        post(move |Segment(prefix): Segment<String>| async move { store.lose(|name| name.starts_with(&prefix)) })
    };
    let forge = {
        let store = store.clone();
        post(move |Segment(flag): Segment<String>| async move { store.forge(&flag) })
    };
    let nested = Router::new()
        .route("/lose/{prefix}", lose)
        .route("/forge/{flag}", forge)
        .merge(shop)
        .route("/store/{fate}", fate)
        .route("/elsewhere/{flag}/{percentage}", elsewhere)
        .nest_service("/admin", admin())
        .nest_service("/a/b", admin())
        .nest_service("/env", under_variables().await);
    let many = {
        let file = folder.path().join("many.json");
        std::fs::write(&file, many_flags()).unwrap();
        let store = FileStore::new(&file).unwrap();
        let live = Live::connect(store.clone()).await.unwrap();
        Admin::new(store, live, Tokens::new().editor("alice", ALICE).unwrap()).insecure_cookie().router()
    };
    let (nested, root, many) =
        (support::serve(nested).await, support::serve(admin()).await, support::serve(many).await);

    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser");
    let pictures = Path::new(env!("CARGO_TARGET_TMPDIR")).join("dashboard");
    std::fs::create_dir_all(&pictures).unwrap();
    let mut cases: Vec<_> = std::fs::read_dir(&here).unwrap().map(|entry| entry.unwrap().path()).collect();
    let wanted = std::env::var("CASES").unwrap_or_default() + ".test.js";
    cases.retain(|path| path.to_string_lossy().ends_with(&wanted));
    cases.sort();
    let passed = tokio::process::Command::new(here.join("../tools/bin/node"))
        .args(["--test", "--test-concurrency=1", "--test-reporter=spec"])
        .args(cases)
        .current_dir(&here)
        .env("NESTED", format!("http://{nested}"))
        .env("ROOT", format!("http://{root}"))
        .env("MANY", format!("http://{many}"))
        .env("ALICE", ALICE)
        .env("BOB", BOB)
        .env("VERA", VERA)
        .env("RITA", RITA)
        .env("PICTURES", &pictures)
        .kill_on_drop(true)
        .status()
        .await
        .unwrap();
    println!("pictures are in {}", pictures.display());
    assert!(passed.success(), "the cases in {} fail", here.display());
}

/// An admin page in a process whose environment defines flags, too.
async fn under_variables() -> Router {
    let store = MemoryStore::new();
    store.change("dark_mode", Change::put_text("true"), &Author::new("alice")).await.unwrap();
    let live = Live::connect(store.clone()).await.unwrap();
    let layered =
        Layered::over(live.clone()).with(Env::from_pairs([("FF_USE_FASTZIP", "on"), ("FF_USE_FASTZIP_PCT", "25")]));
    let old = Token::responder("old-robot", format!("old-{RITA}")).expires_on("2020-02-29".parse().unwrap());
    let tokens = Tokens::new().editor("alice", ALICE).unwrap().with(old).unwrap();
    Admin::new(store, live, tokens).effective_in(layered).insecure_cookie().router()
}

/// As many flags as a document may have.
fn many_flags() -> String {
    let flag = |number: usize| {
        let owner = ["payments", "search", "growth", "web"][number % 4];
        let (on, share) = (!number.is_multiple_of(7), number % 101);
        format!(
            r#""flag_{number:05}": {{"enabled": {on}, "percentage": {share}, "owner": "{owner}", "created_at": "2026-0{}-15", "description": "Number {number} of many, for team {owner}"}}"#,
            1 + number % 9
        )
    };
    format!(r#"{{"flags": {{{}}}}}"#, (0..10_000).map(flag).collect::<Vec<_>>().join(",\n"))
}

/// What a visitor gets: the flag's name and whether it is on.
async fn shop(Segment(name): Segment<String>, flags: Flags) -> String {
    format!("{name} is {}", if flags.is_enabled(name.as_str()) { "on" } else { "off" })
}
