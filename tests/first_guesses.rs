//! What people write who know axum and have not read the documentation: it compiles, and means what it says.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![cfg(all(feature = "axum", feature = "overrides", feature = "visitors"))]

mod support;

use axum::Router;
use axum::extract::Extension;
use axum::http::StatusCode;
use axum::routing::get;
use serde_json::json;
use tower::Layer;
use tower_flags::store::MemoryStore;
use tower_flags::{
    Author, Change, Context, Flag, FlagLayer, Flags, HeaderPolicy, IdentifyLayer, Live, Memory, Overrides,
    RequireFlagLayer, SigningKey, Source, Status, StoreExt, Visitors, flag, variant,
};

use support::{get_as, serve};

#[test]
fn ids_are_texts_numbers_or_anything_that_has_a_text() {
    let (id, name) = (42_i64, String::from("alice"));
    assert_eq!(Context::user(id), Context::user("42"));
    assert_eq!(Context::user(&name), Context::user(name.as_str()));
    assert_eq!(Context::user(7_u128).user_id(), Some("7"));
    let context = Context::user("alice").group("beta").group("").group(String::from("staff"));
    assert_eq!(context.groups().collect::<Vec<_>>(), ["beta", "staff"]);
}

#[test]
fn a_worker_without_a_request_asks_the_source() {
    let memory = Memory::new();
    memory.set("nightly", true).unwrap();
    memory.set("cart", json!({"percentage": 0, "allowed_users": ["alice"]})).unwrap();
    memory.set("search", r#"{"percentage": 100}"#).unwrap();
    memory.set("banner", Flag::percentage(0)).unwrap();
    memory.set("half", Flag::percentage(12.5)).unwrap();
    let answers = memory.flags(&Context::user("alice"));
    assert_eq!(answers.active().filter(|name| *name != "half").collect::<Vec<_>>(), ["cart", "nightly", "search"]);
    assert_eq!(answers.value_or("banner", 3), 3, "there is no value");
    let on = (&answers).into_iter().filter(|entry| entry.enabled).count();
    assert_eq!(on, answers.active().count());
    let flags = Flags::from(answers);
    assert!(flags.sync_scope(|| flag("nightly")));

    let error = memory.set("cart", json!({"percentage": 250})).unwrap_err().to_string();
    assert!(error.contains("flag \"cart\", percentage: expected a number from 0 to 100"), "{error}");
    assert!(memory.flags(&Context::user("alice")).is_enabled("cart"), "nothing was changed");
    assert!(memory.set("cart", "{").is_err() && memory.set("no such name", true).is_err());
}

#[test]
#[should_panic(expected = "expected a number from 0 to 100 with at most three decimals")]
fn a_percentage_in_the_code_that_is_none_says_so() {
    let _ = Flag::percentage(100.5);
}

#[test]
fn flags_are_read_in_a_loop_with_defaults_and_by_variants() {
    let flags = Flags::builder().variant("pricing", "higher", 1.2).on("plain").variant("text", "a", "b");
    let flags = flags.build(Context::anonymous());
    assert!((flags.value_or("pricing", 1.0_f64) - 1.2).abs() < f64::EPSILON);
    assert!((flags.value_or("unknown", 1.0_f64) - 1.0).abs() < f64::EPSILON);
    assert_eq!(flags.value_or("text", 7), 7, "nothing is coerced");
    let mut names = Vec::new();
    for flag in &flags {
        names.push((flag.name, flag.enabled));
    }
    assert_eq!(names, [("plain", true), ("pricing", true), ("text", true)]);
    let served = flags.sync_scope(|| match variant("pricing").as_deref() {
        Some("higher") => 2,
        Some(_) | None => 1,
    });
    assert_eq!(served, 2);
}

#[tokio::test]
async fn changes_take_an_author_by_name_and_a_number() {
    let store = MemoryStore::new();
    store.change("cart", Change::percentage(25), "alice").await.unwrap();
    store.change("cart", Change::kill(), String::from("bob")).await.unwrap();
    store.change("cart", Change::enable(), &Author::new("carol").because("fixed")).await.unwrap();
    let changed = store.change("cart", Change::percentage(0.5), Author::new("dave")).await.unwrap();
    assert_eq!(changed.definition.as_deref(), Some(r#"{"percentage":0.5,"enabled":true}"#));
    let live = Live::connect(store).await.unwrap();
    let status: Status = live.status();
    assert!(status.is_fresh());
}

#[tokio::test]
async fn everything_of_the_first_week_is_at_the_root() {
    #[derive(Clone)]
    struct User(i64);

    let memory = Memory::new();
    memory.set("beta_page", json!({"allowed_users": ["1"], "allowed_groups": ["staff"]})).unwrap();
    let key = SigningKey::new("fdc1d0a6c3b24ae0b0b4a7a0a1f3f5a7c9e2").unwrap();
    let layer = FlagLayer::new(memory).header_policy(HeaderPolicy::Never).visitors(Visitors::new());
    let layer = layer.overrides(Overrides::new(key));
    let identify = IdentifyLayer::new(|request| {
        let id = request.headers.get("x-session").and_then(|value| value.to_str().ok()?.parse::<i64>().ok());
        async move {
            let id = id?;
            tokio::task::yield_now().await;
            Some((Context::user(id).group("customers"), User(id)))
        }
    });
    let gate = RequireFlagLayer::new("beta_page").status(StatusCode::FORBIDDEN);
    let page = get(|Extension(user): Extension<User>| async move { format!("hello {}", user.0) });
    let router = Router::new().route_service("/beta", gate.layer(page)).layer(layer).layer(identify);
    let server = serve(router).await;
    let ask = async |session: &str| {
        let reply = support::ask(server, "/beta", &[("x-session", session)]).await;
        (reply.status, reply.text().to_owned())
    };
    assert_eq!(ask("1").await, (200, "hello 1".to_owned()));
    assert_eq!(ask("2").await.0, 403);
    assert_eq!(get_as(server, "/beta", "1").await.status, 403, "no header names a caller once there is a layer for it");
}
