//! The shop as people who do not deploy operate it: at the dashboard's own address, over each of its stores.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::program::{Program, RULES, command, json};
use crate::servers::{Postgres, Redis};
use crate::support::Reply;
use crate::{ALICE, BOB};

/// The token that the shop has made.
fn token(shop: &mut Program) -> String {
    let lines = shop.printed();
    let expected = format!("admin on http://{}/ with token ", shop.admin);
    lines.iter().find_map(|line| line.strip_prefix(&expected)).unwrap_or_else(|| panic!("{lines:#?}")).to_owned()
}

struct Operated {
    shop: Program,
    authorization: String,
}

impl Operated {
    fn start(rules: &str, variables: &[(&str, &str)]) -> Self {
        let mut shop = Program::start("shop", rules, variables);
        let authorization = format!("Bearer {}", token(&mut shop));
        Self { shop, authorization }
    }

    async fn admin(&self, line: &str, body: &str) -> Reply {
        let headers = [("authorization", self.authorization.as_str())];
        Program::send_to(self.shop.admin, line, &headers, body).await.reply().await
    }

    async fn checkout(&self, user: &[(&str, &str)]) -> Value {
        json(&self.shop.ask("POST /checkout", user).await)["checkout"].clone()
    }
}

#[tokio::test]
async fn the_dashboard_is_there_for_everybody_and_flags_for_the_token_alone() {
    let operated = Operated::start(RULES, &[]);
    let ask =
        async |path: &str| Program::send_to(operated.shop.admin, &format!("GET {path}"), &[], "").await.reply().await;
    let page = ask("/").await;
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    assert_eq!(page.active(), None, "it is not below the layer");
    assert_eq!(ask("/flags").await.status, 401);
    // The pages of the shop are another origin, and have nothing of the dashboard.
    assert_ne!(operated.shop.address, operated.shop.admin);
    for path in ["/admin", "/admin/", "/app.js", "/status", "/login"] {
        assert_eq!(operated.shop.ask(&format!("GET {path}"), &[]).await.status, 404, "{path}");
    }
    let flags = operated.admin("GET /flags", "").await;
    assert_eq!(json(&flags)["flags"].as_array().unwrap().len(), 6);
    let another = Operated::start(RULES, &[]);
    assert_ne!(operated.authorization, another.authorization, "each start makes a token of its own");
}

#[tokio::test]
async fn a_rollout_and_a_kill_are_in_force_on_the_next_request() {
    let rules = RULES.replace(r#""percentage": 50,"#, r#""percentage": 0,"#);
    let operated = Operated::start(&rules, &[]);
    let engine = async |user| json(&operated.shop.ask("GET /search", user).await)["engine"].clone();
    assert_eq!((engine(ALICE).await, engine(BOB).await), (json!("old"), json!("old")));
    // bob's bucket begins at 34 %, alice's at 73 %.
    let raised = operated.admin("PATCH /flags/new_search?reason=launch", r#"{"percentage": 35}"#).await;
    assert_eq!(raised.status, 200, "{raised:?}");
    assert_eq!((engine(ALICE).await, engine(BOB).await), (json!("old"), json!("new")));
    assert_eq!(operated.admin("POST /flags/new_search/kill", "").await.status, 200);
    assert_eq!((engine(ALICE).await, engine(BOB).await), (json!("old"), json!("old")));

    let file = std::fs::read_to_string(operated.shop.rules()).unwrap();
    let expected =
        rules.replace(r#"{ "enabled": true, "percentage": 0, "#, r#"{ "enabled": false, "percentage": 35, "#);
    assert_eq!(file, expected, "everything else in the file is as it was");
}

#[tokio::test]
async fn a_flag_that_the_environment_overrules_is_said_to_be() {
    let operated = Operated::start(RULES, &[("FF_NEW_CHECKOUT", "off")]);
    let edited = json(&operated.admin("PATCH /flags/new_checkout", r#"{"percentage": 100}"#).await);
    assert_eq!((&edited["shadowed_by"], &edited["effective"]), (&json!("env"), &json!(false)), "{edited}");
    assert_eq!(operated.checkout(BOB).await, "three pages");
}

#[tokio::test]
async fn shops_share_an_sqlite_file() {
    let folder = TempDir::new().unwrap();
    shops_share(&format!("sqlite:{}", folder.path().join("shop.db").display())).await;
}

#[tokio::test]
#[ignore = "needs Redis, which tests/run.sh installs"]
async fn shops_share_redis() {
    let redis = Redis::start();
    shops_share(&redis.url()).await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL, which tests/run.sh installs"]
async fn shops_share_postgresql() {
    let postgres = Postgres::start();
    shops_share(&postgres.url()).await;
}

/// Two shops over one store, and one that starts later with another file.
async fn shops_share(url: &str) {
    let (one, two) = (Operated::start(RULES, &[("STORE", url)]), Operated::start(RULES, &[("STORE", url)]));
    assert_eq!((one.checkout(ALICE).await, two.checkout(ALICE).await), (json!("one page"), json!("one page")));
    let history = json(&one.admin("GET /history", "").await);
    let entries = history["entries"].as_array().unwrap();
    assert_eq!(entries.len(), 6, "each flag was made once: {history}");
    assert!(entries.iter().all(|entry| entry["actor"] == "the shop" && entry["version"] == 1), "{history}");

    let killed = one.admin("PATCH /flags/new_checkout?reason=INC-17", r#"{"enabled": false}"#).await;
    assert_eq!((killed.status, &json(&killed)["stored"]), (200, &json!(true)));
    assert_eq!(one.checkout(ALICE).await, "three pages", "on the next request of this process");
    two.shop.ask_until("POST /checkout", ALICE, |found| found["checkout"] == "three pages").await;

    let tag = json(&one.admin("GET /flags/dark_mode", "").await)["etag"].as_str().unwrap().to_owned();
    let headers = [("authorization", one.authorization.as_str()), ("if-match", &tag)];
    let removed = Program::send_to(one.shop.admin, "DELETE /flags/dark_mode", &headers, "").await.reply().await;
    assert_eq!(removed.status, 200);
    drop(one);

    let later = Operated::start(&RULES.replace("flash_sale", "other_sale"), &[("STORE", url)]);
    assert_eq!(later.checkout(ALICE).await, "three pages", "the file is not read again");
    let flags = json(&later.shop.ask("GET /flags", &[]).await);
    let names: Vec<&String> = flags["flags"].as_object().unwrap().keys().collect();
    assert_eq!(names, ["flash_sale", "new_checkout", "new_search", "pricing_page"]);
    let restored = later.admin("POST /flags/new_checkout/restore", "").await;
    assert_eq!(restored.status, 200, "{restored:?}");
    two.shop.ask_until("POST /checkout", ALICE, |found| found["checkout"] == "one page").await;
}

#[tokio::test]
async fn a_flag_that_cannot_be_read_stays_behind_when_a_store_is_filled() {
    let folder = TempDir::new().unwrap();
    let url = format!("sqlite:{}", folder.path().join("shop.db").display());
    let shop = Operated::start(r#"{"flags": {"good": true, "bad": {"percentge": 5}}}"#, &[("STORE", &url)]);
    let flags = json(&shop.admin("GET /flags", "").await);
    assert_eq!((flags["flags"].as_array().unwrap().len(), &flags["flags"][0]["name"]), (1, &json!("good")));
}

#[test]
fn a_store_that_cannot_be_is_said_at_the_start() {
    let fails_with = |store: &str, expected: &str| {
        let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/shop.json");
        let mut shop = command("shop");
        let output = shop
            .env("ADDR", "127.0.0.1:0")
            .env("ADMIN_ADDR", "127.0.0.1:0")
            .env("FLAGS_FILE", rules)
            .env("STORE", store)
            .output()
            .unwrap();
        let log = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), output.stdout), (Some(1), Vec::new()), "{log}");
        assert!(log.lines().last().unwrap().starts_with(expected), "{expected}: {log}");
    };
    fails_with("mysql://127.0.0.1/", "STORE: expected a URL of sqlite, redis or postgres, found one of \"mysql\"");
    fails_with("sqlite::memory:", "STORE: ");
    fails_with("sqlite:/nowhere/shop.db", "sqlite /nowhere/shop.db");
}

#[tokio::test]
#[ignore = "needs Redis, which tests/run.sh installs"]
async fn a_kill_while_redis_is_away_outlives_a_restart_of_the_shop() {
    let folder = TempDir::new().unwrap();
    let backup = folder.path().join("backup").display().to_string();
    let mut redis = Redis::start();
    let variables = [("STORE", redis.url()), ("BACKUP_FILE", backup)];
    let variables: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let shop = Operated::start(RULES, &variables);
    assert_eq!(shop.checkout(ALICE).await, "one page");
    redis.kill();
    let killed = shop.admin("PATCH /flags/new_checkout", r#"{"enabled": false}"#).await;
    assert_eq!((killed.status, &json(&killed)["stored"]), (202, &json!(false)), "{killed:?}");
    assert_eq!(shop.checkout(ALICE).await, "three pages");
    assert_eq!(shop.admin("POST /flags/new_checkout/restore", "").await.status, 503, "only a kill can wait");
    drop(shop);

    let shop = Operated::start(RULES, &variables);
    assert_eq!(shop.checkout(ALICE).await, "three pages", "by the backup file");
    assert_eq!(json(&shop.shop.ask("GET /search", BOB).await)["engine"], "new", "the other flags are as they were");
    redis.start_again();
    let is_written = async || {
        let flag = shop.admin("GET /flags/new_checkout", "").await;
        flag.status == 200 && json(&flag)["from"] == "store" && json(&flag)["flag"]["enabled"] == false
    };
    let start = Instant::now();
    while !is_written().await {
        assert!(start.elapsed() < Duration::from_secs(60), "the kill was never written");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let history = json(&shop.admin("GET /flags/new_checkout/history", "").await);
    assert_eq!(history["entries"][0]["actor"], "admin", "{history}");
}

#[tokio::test]
async fn the_shop_stops_by_ctrl_c_and_by_sigterm_with_pages_open() {
    for signal in ["INT", "TERM"] {
        let mut operated = Operated::start(RULES, &[]);
        let authorization = operated.authorization.clone();
        let mut streams = Vec::new();
        let Program { address, admin, .. } = operated.shop;
        for address in [admin, admin, address] {
            let headers = [("authorization", authorization.as_str())];
            let mut stream = Program::send_to(address, "GET /events", &headers, "").await;
            assert_eq!(stream.head().await.header("content-type"), Some("text/event-stream"));
            stream.frame().await.unwrap();
            streams.push(stream);
        }
        operated.shop.signal(signal);
        for stream in &mut streams {
            while stream.frame().await.is_some() {}
        }
        assert!(operated.shop.ended_within(Duration::from_secs(60)).await.success(), "{signal}");
        // It says so where it does after two seconds, by its own clock.
        let log = operated.shop.log();
        assert!(!log.contains("cut off"), "{signal}: {log}");
    }
}
