//! What a store exports changes nothing in it when it is imported, whatever it holds and however that is written.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sqlx::Connection;
use tower_flags::source::Live;
use tower_flags::store::{Author, Change, HistoryPage, SqliteStore, Store, StoreExt};

use super::api::{Api, Place, in_every_place, json, problem};
use super::outage::{Shaky, until};

in_every_place! {
    flags_that_are_accepted_stay_as_they_are
    a_change_beside_them_is_the_only_one
}

/// Definitions as people and other services write them.
const ACCEPTED: [(&str, &str); 17] = [
    ("bare_on", "true"),
    ("bare_off", "false"),
    ("plain", r#"{"enabled":true}"#),
    ("killed", r#"{ "on" : false }"#),
    ("spelt", r#"{ "on": true, "rollout_percentage": 25.0, "rollout_stages": [ 1, 2.50 ], "jira_ticket": "A-1" }"#),
    ("named", r#"{"users": ["u", "v"], "name": "named"}"#),
    ("nobody", r#"{"allowed_users": []}"#),
    ("null", r#"{"enabled": true, "percentage": null, "owner": null}"#),
    (
        "numbers",
        r#"{"rules": [{"when": [{"attribute": "n", "op": "one_of", "values": [18.0, 1e3, 1234567890123456789, 0.10]}], "serve": {"percentage": 12.50}}]}"#,
    ),
    (
        "variants",
        r#"{"enabled": true, "variants": {"b": 50.0, "a": {"value": [18446744073709551615, 3.14159265358979323846, 1.0], "weight": 50}}}"#,
    ),
    ("metadata", r#"{"enabled": true, "owner": 5, "metadata": {"long": 123456789012345678901234567890}}"#),
    ("planned", r#"{"enabled": true, "schedule": [{"at": "2020-01-01T00:00:00+01:00", "percentage": 5.000}]}"#),
    ("killed_by_hand", r#"{"enabled": false, "schedule": [{"at": "2020-01-01T00:00:00Z", "percentage": 5}]}"#),
    (
        "killed_and_paused",
        r#"{"enabled": false, "schedule": [{"at": "2020-01-01T00:00:00Z", "percentage": 5}], "paused_at": "2020-01-02T00:00:00Z"}"#,
    ),
    (
        "everything",
        r#"{"type": "ops", "bucketing": "user/32", "salt": "s", "bucket_by": "org", "overridable": true, "hidden": true, "percentage": 0.001, "tags": [], "description": "größe \" \u0007", "expires_at": "2020-01-01", "requires": ["plain", {"variants": "a"}]}"#,
    ),
    (
        "defaults",
        r#"{"enabled": true, "percentage": 100, "hidden": false, "kind": "release", "requires": [], "bucketing": "flag:user"}"#,
    ),
    ("with_lines", "{\n  \"enabled\": true\n}"),
];

/// What cannot be used, and is JSON that may stand in a document.
const REFUSED: [(&str, &str); 5] = [
    ("too_much", r#"{"percentage": 300, "metadata": {"a": 1.50}}"#),
    (
        "too_long",
        r#"{"rules": [{"when": [{"attribute": "n", "op": "equals", "values": [18446744073709551616]}], "serve": true}]}"#,
    ),
    ("misspelt", r#"{ "enabled": false, "percentge": 5 }"#),
    ("a_list", "[ 1 ]"),
    ("needs", r#"{"enabled": true, "requires": ["missing"]}"#),
];

/// What may not: no JSON at all, or such as no document can have.
const HALF: [(&str, &str); 8] = [
    ("torn", r#"{"enabled": tru"#),
    ("torn_text", r#"{"description": "a \"b\" "#),
    ("word", "on"),
    ("text", r#""on""#),
    ("twice", r#"{"enabled": true, "enabled": false}"#),
    ("surrogate", r#"{"enabled": true, "owner": "\ud800"}"#),
    ("huge", r#"{"enabled": true, "metadata": {"n": 1e999}}"#),
    ("empty", ""),
];

/// The texts of all flags with their versions.
async fn texts(store: &dyn Store, names: &[&str]) -> BTreeMap<String, (Option<String>, u64)> {
    let mut texts = BTreeMap::new();
    for name in names {
        let stored = store.read(name).await.unwrap();
        texts.insert((*name).to_owned(), (stored.definition, stored.version));
    }
    texts
}

/// JSON with white space wherever it may stand.
fn laid_out(json: &str) -> String {
    let (mut text, mut is_text, mut is_escaped) = (String::new(), false, false);
    for character in json.chars() {
        is_text ^= character == '"' && !is_escaped;
        is_escaped = is_text && character == '\\' && !is_escaped;
        match character {
            ' ' | '\t' | '\r' | '\n' if !is_text => {}
            '{' | '[' | ',' | ':' | '}' | ']' if !is_text => text.extend(["\r\n\t", &character.to_string(), " "]),
            character => text.push(character),
        }
    }
    text
}

/// Imports what is exported, in every way, and looks whether anything became of it.
async fn changes_nothing(api: &Api, store: &dyn Store, flags: &[(&str, &str)]) -> String {
    let names: Vec<&str> = flags.iter().map(|(name, _)| *name).collect();
    let before = texts(store, &names).await;
    let history = store.history(&HistoryPage::newest()).await.unwrap().len();
    let reply = api.ask("GET", "export", &[], "").await;
    assert_eq!(reply.header("x-left-out"), None);
    let export = reply.text().to_owned();
    let held = json(&reply);
    assert_eq!(held["flags"].as_object().unwrap().len(), names.len(), "every flag is there: {export}");
    // Also as a program has laid it out that keeps the digits of numbers.
    let laid_out = laid_out(&export);
    for (query, body) in [("?dry_run=true", &export), ("", &export), ("?remove=true", &export), ("", &laid_out)] {
        let reply = api.ask("POST", &format!("import{query}"), &[], body).await;
        assert_eq!(reply.status, 200, "{query}: {}", reply.text());
        let answer = json(&reply);
        assert_eq!(answer["complete"], true, "{query}: {answer}");
        for flag in answer["flags"].as_array().unwrap() {
            assert_eq!((&flag["action"], &flag["changes"]), (&json!("none"), &json!([])), "{query}: {flag}");
        }
        assert_eq!(answer["flags"].as_array().unwrap().len(), names.len());
    }
    assert_eq!(texts(store, &names).await, before, "byte for byte");
    assert_eq!(store.history(&HistoryPage::newest()).await.unwrap().len(), history);
    export
}

async fn flags_that_are_accepted_stay_as_they_are(place: Place) {
    let (api, store) = place.with(&ACCEPTED).await;
    changes_nothing(&api, &*store, &ACCEPTED).await;
}

async fn a_change_beside_them_is_the_only_one(place: Place) {
    let (api, store) = place.with(&ACCEPTED).await;
    let mut document = api.get("export").await;
    document["flags"]["plain"] = json!({"enabled": true, "percentage": 50, "owner": "me"});
    document["flags"]["killed"] = json!({"enabled": true, "percentage": 100});
    document["flags"]["killed_by_hand"]["enabled"] = json!(true);
    let reply = api.ask("POST", "import", &[], &document.to_string()).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let answer = json(&reply);
    let changed: Vec<(&Value, &Value)> = answer["flags"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|flag| flag["action"] != "none")
        .map(|flag| (&flag["name"], &flag["changes"]))
        .collect();
    let paused =
        &answer["flags"].as_array().unwrap().iter().find(|flag| flag["name"] == "killed_by_hand").unwrap()["changes"];
    assert_eq!(paused[0]["key"], "paused_at", "it stays off, and so its plan stands still: {answer}");
    let plain = json!([
        {"key": "owner", "before": null, "after": "me"},
        {"key": "percentage", "before": 100, "after": 50},
    ]);
    assert_eq!(changed, [(&json!("killed_by_hand"), paused), (&json!("plain"), &plain)]);
    let kept_off = answer["flags"].as_array().unwrap().iter().find(|flag| flag["name"] == "killed").unwrap();
    assert_eq!((&kept_off["action"], &kept_off["kept_off"]), (&json!("none"), &json!(true)));
    assert_eq!(store.read("killed").await.unwrap().definition.as_deref(), Some(r#"{ "on" : false }"#));
    // The history has no word of a percentage that was only written out.
    let entry = &api.get("flags/plain/history").await["entries"][0];
    assert_eq!(entry["changes"], plain);
    assert_eq!(api.ask("PATCH", "flags/bare_on", &[], r#"{"owner": "me"}"#).await.status, 200);
    let entry = &api.get("flags/bare_on/history").await["entries"][0];
    assert_eq!(entry["changes"], json!([{"key": "owner", "before": null, "after": "me"}]));
}

fn all() -> Vec<(&'static str, &'static str)> {
    ACCEPTED.into_iter().chain(REFUSED).chain(HALF).collect()
}

#[tokio::test]
async fn what_is_refused_or_half_written_stays_as_it_is_in_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("flags.db");
    let store = SqliteStore::at(&path);
    store.change("bare_on", Change::put_text("true"), &Author::new("setup")).await.unwrap();
    let mut theirs = sqlx::SqliteConnection::connect(&format!("sqlite:{}", path.display())).await.unwrap();
    for (name, text) in all() {
        let put = "INSERT INTO tower_flags VALUES (?1, CAST(?2 AS TEXT)) \
                   ON CONFLICT (name) DO UPDATE SET definition = excluded.definition";
        sqlx::query(put).bind(name).bind(text.as_bytes()).execute(&mut theirs).await.unwrap();
    }
    let api = Api::over(store.clone()).await;
    let export = changes_nothing(&api, &store, &all()).await;
    for part in [
        r#""torn":"{\"enabled\": tru""#,
        r#""too_much":{"percentage": 300, "metadata": {"a": 1.50}}"#,
        r#""word":"on""#,
    ] {
        assert!(export.contains(part), "{part} in {export}");
    }
    // Another text in quotes is refused, and so is what could stand without them; what would become of the others is
    // said beside it.
    let document =
        r#"{"flags": {"torn": "{\"enabled\": fals", "word": "true", "a_list": [1], "plain": {"percentage": 5}}}"#;
    let dry = json(&api.ask("POST", "import?dry_run=true", &[], document).await);
    let actions: Vec<&str> =
        dry["flags"].as_array().unwrap().iter().map(|flag| flag["action"].as_str().unwrap()).collect();
    assert_eq!((&dry["complete"], actions), (&json!(false), vec!["none", "change", "refused", "refused"]), "{dry}");
    let refused = api.ask("POST", "import", &[], document).await;
    assert_eq!(problem(&refused), "refused");
    assert_eq!(json(&refused)["flags"][2]["name"], "torn");
    assert_eq!(store.read("plain").await.unwrap().definition.as_deref(), Some(r#"{"enabled":true}"#));
    // Elsewhere nothing can be made of them, and nothing is made of the rest.
    let (other, there) = Api::with(&[]).await;
    assert_eq!(problem(&other.ask("POST", "import", &[], &export).await), "refused");
    assert_eq!(there.history(&HistoryPage::newest()).await.unwrap().len(), 0);
}

#[tokio::test]
async fn an_export_larger_than_other_bodies_comes_back_in() {
    let long = format!(r#"{{"enabled": true, "description": "{}"}}"#, "x".repeat(700_000));
    let flags = [("a", long.as_str()), ("b", &long), ("c", &long)];
    let (api, store) = Api::with(&flags).await;
    changes_nothing(&api, &store, &flags).await;
    let deep = format!(r#"{{"enabled": true, "metadata": {{"a": {}{}}}}}"#, "[".repeat(125), "]".repeat(125));
    let (api, store) = Api::with(&[("deep", &deep)]).await;
    let export = changes_nothing(&api, &store, &[("deep", &deep)]).await;
    assert!(export.contains(r#""deep":"{"#), "one that is too deep for a document stands in quotes: {export}");
}

#[cfg(feature = "file")]
#[tokio::test]
async fn a_file_stays_as_it_is_with_its_comments() {
    use tower_flags::store::FileStore;

    let folder = tempfile::tempdir().unwrap();
    let json_flags: Vec<(&str, &str)> = ACCEPTED.into_iter().chain(REFUSED).collect();
    let members: Vec<String> = json_flags.iter().map(|(name, text)| format!("  \"{name}\" :{text}")).collect();
    let in_json = format!("{{\"$schema\": \"x\", \"flags\": {{\n{}\n}} }}\n", members.join(",\n"));
    let in_toml = "# of all\n[flags]\nbare = true # as it was\nnumber = { percentage = 12.50, users = [\"u\"] }\n\n\
                   [flags.long] # of long\nenabled = true\nmetadata = { n = 0x7f, day = 2026-12-01, f = 1_000.0 }\n\n\
                   [flags.wrong]\npercentage = 300 # too much\n\n[flags.odd]\nowner = 5\nenabled = true\n\
                   rules = [{ when = [{ attribute = \"n\", op = \"equals\", values = [1234567890123456789, +5] }], serve = true }]\n# end\n";
    let toml_flags = ["bare", "number", "long", "wrong", "odd"].map(|name| (name, ""));
    for (name, text, flags) in
        [("flags.json", in_json.as_str(), json_flags.as_slice()), ("flags.toml", in_toml, &toml_flags)]
    {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        let store = FileStore::new(&path).unwrap();
        let api = Api::over(store.clone()).await;
        changes_nothing(&api, &store, flags).await;
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }
}

#[cfg(feature = "redis")]
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis, which tests/run.sh installs"]
async fn keys_and_plain_switches_stay_as_they_are_in_redis() {
    use tower_flags::store::RedisStore;

    let redis = tokio::task::block_in_place(super::servers::Redis::start);
    let switches =
        [("switch_on", "true"), ("switch_off", "False\n"), ("switch_odd", "1"), ("plain", "false"), ("torn", "true")];
    let texts = || {
        let own = all().into_iter().map(|(name, text)| (format!("ff:{name}"), text));
        own.chain(switches.map(|(name, text)| (format!("feature:{name}"), text)))
    };
    for (key, text) in texts() {
        redis.command(&[b"SET", key.as_bytes(), text.as_bytes()]);
    }
    redis.command(&[b"SET", b"ff:bytes", b"{\"enabled\": \xff"]);
    let length = redis.command(&[b"STRLEN", b"ff:bytes"]);
    let store = RedisStore::new(&redis.url()).unwrap();
    let api = Api::over(store.clone()).await;
    let flags: Vec<(&str, &str)> =
        all().into_iter().chain(switches.into_iter().take(3)).chain([("bytes", "")]).collect();
    changes_nothing(&api, &store, &flags).await;
    for (key, text) in texts() {
        assert_eq!(redis.value(&[b"GET", key.as_bytes()]).as_deref(), Some(text), "{key}");
    }
    let start = redis.value(&[b"GETRANGE", b"ff:bytes", b"0", b"11"]);
    assert_eq!(start.as_deref(), Some(r#"{"enabled": "#));
    assert_eq!(redis.command(&[b"STRLEN", b"ff:bytes"]), length);
}

#[tokio::test]
async fn a_flag_that_is_held_off_here_is_not_written_by_an_import_of_what_is_stored() {
    let shaky = Shaky::default();
    shaky.store.change("a", Change::put_text("true"), &Author::new("setup")).await.unwrap();
    let api = Api::over(shaky.clone()).await;
    let export = api.ask("GET", "export", &[], "").await.text().to_owned();
    let live: &Live = &api.source;
    live.kill_here("a", &Author::new("x")).await.unwrap();
    let answer = json(&api.ask("POST", "import", &[], &export).await);
    assert_eq!(
        (&answer["flags"][0]["action"], &answer["flags"][0]["kept_off"]),
        (&json!("none"), &json!(true)),
        "{answer}"
    );
    assert_eq!(shaky.store.read("a").await.unwrap().definition.as_deref(), Some("true"));
    until(async || api.get("flags/a").await["in_force"]["enabled"] == false).await;
}

/// What an export cannot have is not taken for something that somebody has left out.
#[tokio::test]
async fn what_an_export_leaves_out_is_not_removed_by_importing_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("flags.db");
    let store = SqliteStore::at(&path);
    store.change("plain", Change::put_text("true"), &Author::new("setup")).await.unwrap();
    store.change("large", Change::put_text("true"), &Author::new("setup")).await.unwrap();
    let mut theirs = sqlx::SqliteConnection::connect(&format!("sqlite:{}", path.display())).await.unwrap();
    let large = format!(r#"{{"enabled": true, "description": "{}"}}"#, "x".repeat(1024 * 1024));
    let update = sqlx::query("UPDATE tower_flags SET definition = ? WHERE name = 'large'").bind(&large);
    update.execute(&mut theirs).await.unwrap();
    sqlx::query("INSERT INTO tower_flags VALUES ('b\u{e4}d', 'true')").execute(&mut theirs).await.unwrap();
    let api = Api::over(store.clone()).await;
    let reply = api.ask("GET", "export", &[], "").await;
    assert_eq!((reply.header("x-left-out"), reply.header("x-left-out-count")), (Some("b%C3%A4d, large"), Some("2")));
    for query in ["?remove=true&dry_run=true", "?remove=true"] {
        let answer = json(&api.ask("POST", &format!("import{query}"), &[], reply.text()).await);
        assert_eq!(answer["complete"], true, "{answer}");
        let flags = answer["flags"].as_array().unwrap();
        let first = (flags.len(), &flags[0]["name"], &flags[0]["action"]);
        assert_eq!(first, (1, &json!("plain"), &json!("none")), "{query}: {answer}");
    }
    let kept = "SELECT name, length(definition) FROM tower_flags ORDER BY name";
    let kept: Vec<(String, i64)> = sqlx::query_as(kept).fetch_all(&mut theirs).await.unwrap();
    let expected = [("b\u{e4}d", 4), ("large", large.len() as i64), ("plain", 4)];
    assert_eq!(kept, expected.map(|(name, length)| (name.to_owned(), length)));
    // Others that are not in a document are removed as before.
    let answer = json(&api.ask("POST", "import?remove=true", &[], r#"{"flags": {}}"#).await);
    let flags = answer["flags"].as_array().unwrap();
    let first = (flags.len(), &flags[0]["name"], &flags[0]["action"]);
    assert_eq!(first, (1, &json!("plain"), &json!("remove")), "{answer}");
    assert_eq!(store.read("large").await.unwrap().version, 1);
}
