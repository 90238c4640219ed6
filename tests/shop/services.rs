//! Two processes: the second decides as the first did, though its own rules say otherwise.

use serde_json::{Value, json};

use crate::program::{Program, json};

const SHOP: &str = r#"{"flags": {"new_checkout": {"allowed_users": ["alice"]}}}"#;

fn payments(rules: &str) -> Program {
    Program::start("services", rules, &[])
}

fn shop(payments: &Program, rules: &str, variables: &[(&str, &str)]) -> Program {
    let url = format!("http://{}", payments.address);
    let variables: Vec<_> = [("PAYMENTS", &*url)].into_iter().chain(variables.iter().copied()).collect();
    Program::start("services", rules, &variables)
}

async fn checkout(shop: &Program, user: &str) -> Value {
    json(&shop.ask("GET /checkout", &[("X-User-ID", user)]).await)
}

#[tokio::test]
async fn the_payments_see_what_the_shop_decided_though_their_own_file_says_otherwise() {
    let payments = payments(r#"{"flags": {"new_checkout": {"percentage": 0}}}"#);
    let shop = shop(&payments, SHOP, &[]);
    let decided = "on: the calling service decided it";
    assert_eq!(checkout(&shop, "alice").await, json!({ "shop": "one page", "payments": "one page", "why": decided }));
    let decided = "off: the calling service decided it";
    assert_eq!(
        checkout(&shop, "bob").await,
        json!({ "shop": "three pages", "payments": "three pages", "why": decided })
    );
    let direct = json(&payments.ask("GET /pay", &[("X-User-ID", "alice")]).await);
    assert_eq!(direct["pages"], "three pages", "asked by others, they go by their own file");
}

#[tokio::test]
async fn what_the_shop_has_off_is_off_behind_it_too() {
    let payments = payments(r#"{"flags": {"new_checkout": {"percentage": 100}}}"#);
    let shop = shop(&payments, SHOP, &[]);
    assert_eq!(checkout(&shop, "bob").await["payments"], "three pages");
    assert_eq!(json(&payments.ask("GET /pay", &[]).await)["pages"], "one page");
}

#[tokio::test]
async fn a_kill_at_the_payments_beats_what_the_shop_decided() {
    let payments = payments(r#"{"flags": {"new_checkout": false}}"#);
    let shop = shop(&payments, SHOP, &[]);
    let answer = checkout(&shop, "alice").await;
    assert_eq!(
        answer,
        json!({ "shop": "one page", "payments": "three pages", "why": "off: the flag is switched off" })
    );
}

#[tokio::test]
async fn services_with_different_keys_decide_each_for_themselves() {
    let payments = payments(r#"{"flags": {"new_checkout": {"percentage": 0}}}"#);
    let shop = shop(&payments, SHOP, &[("DECISIONS_KEY", "another-key-of-at-least-32-bytes!")]);
    let answer = checkout(&shop, "alice").await;
    assert_eq!((&answer["shop"], &answer["payments"]), (&json!("one page"), &json!("three pages")));
}
