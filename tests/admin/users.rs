//! Whom flags name is for those who edit them.

use serde_json::json;
use tower_flags::admin::Admin;
use tower_flags::source::{Env, Layered, Live};
use tower_flags::store::FileStore;

use super::api::{Api, Operator, RESPONDER, json, problem, store, tokens};
use super::outage::until;
use super::support::{Client, Reply};

/// In every name that must not be seen.
const SECRET: &str = "mallory";

const FLAGS: [(&str, &str); 9] = [
    ("canonical", r#"{"enabled": true, "percentage": 5, "allowed_users": ["mallory_1", "mallory_2", "mallory_3"]}"#),
    ("old_key", r#"{ "on": true, "users": [ "mallory" ], "rollout_stages": [1.50] }"#),
    ("other_key", r#"{"enabled_for_users": ["mallory"], "percentage": 100}"#),
    ("escaped", r#"{"\u0061llowed_users": ["\u006dallory"], "enabled": true}"#),
    ("needs", r#"{"enabled": true, "requires": ["old_key"]}"#),
    ("needs_more", r#"{"enabled": true, "requires": ["needs"]}"#),
    (
        "free",
        r#"{"enabled": true, "allowed_groups": ["staff"], "variants": {"a": {"weight": 100, "value": {"text": "x", "allowed_users": ["u"]}}}}"#,
    ),
    ("empty", r#"{"enabled": true, "allowed_users": []}"#),
    ("off", r#"{"enabled": false, "allowed_users": ["mallory"]}"#),
];

/// Texts that no edit would make; people and programs with the store's own tools do.
const BROKEN: [&str; 7] = [
    r#"{"allowed_users": "mallory"}"#,
    r#"{"allowed_users": [["mallory"]]}"#,
    r#"{"allowed_usrs": ["mallory"]}"#,
    r#"["mallory"]"#,
    r#""mallory""#,
    r#"{"percentage": 300, "users": ["mallory"]}"#,
    r#"{"users": [], "users": ["mallory"], "enabled": true}"#,
];

fn hides(reply: &Reply, what: &str) {
    let text = String::from_utf8_lossy(&reply.body);
    assert!(!text.contains(SECRET) && !text.contains("006dallory"), "{what}: {text}");
}

/// A process with flags of every kind, one of them from its environment, and with broken texts in the store.
async fn place(viewers_see_users: bool) -> (Api, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("flags.json");
    let mut flags: Vec<String> = FLAGS.iter().map(|(name, text)| format!("{name:?}: {text}")).collect();
    let broken = BROKEN.iter().enumerate();
    flags.extend(broken.map(|(number, text)| format!("\"broken_{number}\": {text}")));
    std::fs::write(&file, format!("{{\"flags\": {{{}}}}}", flags.join(",\n"))).unwrap();
    let store = FileStore::new(&file).unwrap();
    let live = Live::connect(store.clone()).await.unwrap();
    let env = Env::from_pairs([("FF_BY_ENV", "on"), ("FF_BY_ENV_USERS", "mallory,trent")]);
    let layered = Layered::over(live.clone()).with(env);
    let admin = Admin::new(store, live.clone(), tokens()).effective_in(layered);
    let admin = if viewers_see_users { admin.viewers_see_users() } else { admin };
    (Api::at("", admin.router(), live).await, folder)
}

/// Everything that may be read, with edits of an editor before it, so that there is a history.
async fn read_all(api: &Api, as_whom: &Operator, check: impl Fn(&Reply, &str)) {
    let names: Vec<String> = api.get("flags").await["flags"]
        .as_array()
        .unwrap()
        .iter()
        .map(|flag| flag["name"].as_str().unwrap().to_owned())
        .collect();
    assert!(names.len() >= FLAGS.len() + BROKEN.len(), "{names:?}");
    let mut paths: Vec<String> = [
        "flags",
        "status",
        "history",
        "history/verify?fresh=true",
        "history/export",
        "history/export?format=jsonl",
        "export",
    ]
    .map(str::to_owned)
    .to_vec();
    for name in &names {
        paths.extend([format!("flags/{name}"), format!("flags/{name}/history")]);
    }
    for path in &paths {
        let reply = as_whom.ask("GET", path, &[], "").await;
        assert!(reply.status == 200 || path == "flags/by_env/history", "{path}: {}", reply.text());
        check(&reply, path);
    }
    for user in ["mallory_1", "nobody"] {
        let body = json!({ "user_id": user }).to_string();
        let reply = as_whom.ask("POST", "explain", &[], &body).await;
        check(&reply, &format!("explain {user}"));
    }
}

async fn edit_all(api: &Api) {
    for (name, users) in
        [("canonical", r#"["mallory_4"]"#), ("old_key", r#"["mallory", "mallory_5"]"#), ("free", r#"["mallory"]"#)]
    {
        let body = format!(r#"{{"allowed_users": {users}}}"#);
        assert_eq!(api.ask("PATCH", &format!("flags/{name}"), &[], &body).await.status, 200);
    }
    let gone = api.ask("PATCH", "flags/free", &[], r#"{"allowed_users": null}"#).await;
    assert_eq!(gone.status, 200, "{}", gone.text());
}

#[tokio::test]
async fn viewers_and_responders_see_numbers_in_place_of_users() {
    let (api, _folder) = place(false).await;
    edit_all(&api).await;
    let history = api.get("history").await;
    let digests: Vec<&str> =
        history["entries"].as_array().unwrap().iter().map(|entry| entry["digest"].as_str().unwrap()).collect();
    for whom in [api.as_viewer(), api.as_responder()] {
        let hides = |reply: &Reply, what: &str| {
            hides(reply, what);
            let text = String::from_utf8_lossy(&reply.body);
            // The users could be guessed by them.
            assert!(!digests.iter().any(|digest| text.contains(digest)), "{what}: {text}");
        };
        read_all(&api, &whom, hides).await;
        let shown = whom.get("flags/old_key").await;
        assert_eq!((&shown["flag"]["allowed_users"], shown["etag"].is_string()), (&json!(2), true));
        assert!(shown["text"].as_str().unwrap().contains(r#""rollout_stages": [1.50]"#), "{shown}");
        assert_eq!(whom.get("flags/empty").await["flag"]["allowed_users"], json!([]));
        let entries = whom.get("flags/canonical/history").await["entries"].clone();
        assert_eq!(entries[0]["changes"], json!([{"key": "allowed_users", "before": 3, "after": 1}]));
        assert_eq!(whom.get("export").await["flags"]["canonical"]["allowed_users"], 1);
        let free = whom.get("flags/free").await;
        let value = &free["flag"]["variants"]["a"]["value"];
        assert_eq!(value, &json!({"text": "x", "allowed_users": ["u"]}), "what others have written stays");
    }
    let mut seen = 0;
    read_all(&api, &api, |reply, _| assert!(reply.status < 500)).await;
    for path in ["history", "history/export", "history/export?format=jsonl"] {
        assert!(api.ask("GET", path, &[], "").await.text().contains(digests[0]), "{path}: an editor sees it");
    }
    for path in ["flags", "export", "history", "flags/by_env", "flags/canonical"] {
        seen += usize::from(api.ask("GET", path, &[], "").await.text().contains(SECRET));
    }
    assert_eq!(seen, 5, "an editor sees them");
    // An export without users is no document: it cannot take them away.
    let export = api.as_viewer().ask("GET", "export", &[], "").await.text().to_owned();
    let import = api.ask("POST", "import", &[], &export).await;
    assert_eq!(problem(&import), "refused");
}

#[tokio::test]
async fn explaining_does_not_tell_who_is_named() {
    let (api, _folder) = place(false).await;
    for whom in [api.as_viewer(), api.as_responder()] {
        let ask =
            async |user: &str| json(&whom.ask("POST", "explain", &[], &json!({ "user_id": user }).to_string()).await);
        let answer = ask("mallory").await;
        let left_out = ["by_env", "canonical", "escaped", "needs", "needs_more", "off", "old_key", "other_key"];
        assert_eq!(answer["hidden"], json!(left_out));
        let names: Vec<&str> =
            answer["flags"].as_array().unwrap().iter().map(|flag| flag["name"].as_str().unwrap()).collect();
        assert!(names.contains(&"free") && names.contains(&"empty"), "{names:?}");
        assert!(!names.iter().any(|name| left_out.contains(name)), "{names:?}");
        // Of somebody else it says the same.
        let other = ask("nobody").await;
        assert_eq!(
            (&answer["hidden"], &answer["flags"][0]["enabled"]),
            (&other["hidden"], &other["flags"][0]["enabled"])
        );
    }
    let answer = json(&api.ask("POST", "explain", &[], r#"{"user_id": "mallory"}"#).await);
    assert_eq!(answer["hidden"], json!([]));
    assert!(
        answer["flags"].as_array().unwrap().iter().any(|flag| flag["name"] == "old_key" && flag["enabled"] == true)
    );
}

#[tokio::test]
async fn a_file_that_is_cut_off_does_not_tell_who_is_named() {
    for (name, whole, cut) in [
        (
            "flags.toml",
            "[flags.a]\npercentage = 5\nallowed_users = [\"mallory\"]\n# end\n",
            "[flags.a]\npercentage = 5\nallowed_users = [\"mallory\"]\n",
        ),
        ("flags.json", r#"{"flags": {"a": {"users": ["mallory"]}}}"#, r#""mallory""#),
        ("flags.json", r#"{"flags": {"a": {"users": ["mallory"]}}}"#, r#"{"flags": "mallory"}"#),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, whole).unwrap();
        let store = FileStore::new(&path).unwrap();
        let api = Api::over(store).await;
        let viewer = api.as_viewer();
        assert_eq!(viewer.get("flags/a").await["flag"]["allowed_users"], 1);
        std::fs::write(&path, cut).unwrap();
        until(async || viewer.get("status").await["source"]["last_error"].is_string()).await;
        let mut stream = Client::open(api.address).await;
        let bearer = format!("Bearer {RESPONDER}");
        stream.ask("GET", "/events", &[("authorization", bearer.as_bytes())]).await;
        assert_eq!(stream.head().await.status, 200);
        let event = String::from_utf8(stream.frame().await.unwrap()).unwrap();
        assert!(event.contains("last_error") && !event.contains(SECRET), "{event}");
        for (method, path) in [
            ("GET", "status"),
            ("GET", "flags"),
            ("GET", "flags/a"),
            ("GET", "export"),
            ("GET", "history"),
            ("POST", "flags/a/kill"),
            ("GET", "flags/a"),
            ("GET", "status"),
        ] {
            hides(&api.as_responder().ask(method, path, &[], "").await, path);
        }
    }
}

#[tokio::test]
async fn an_application_may_show_users_to_viewers() {
    let (api, _folder) = place(true).await;
    for whom in [api.as_viewer(), api.as_responder()] {
        for path in ["flags", "export", "flags/canonical"] {
            assert!(whom.ask("GET", path, &[], "").await.text().contains(SECRET), "{path}");
        }
        assert_eq!(json(&whom.ask("POST", "explain", &[], "{}").await)["hidden"], json!([]));
    }
}

#[tokio::test]
async fn answers_to_a_responder_and_events_hide_users_too() {
    let store = store(&[("a", r#"{"enabled": true, "users": ["mallory"]}"#)]).await;
    let api = Api::over(store.clone()).await;
    let rita = api.as_responder();
    let mut stream = Client::open(api.address).await;
    let bearer = format!("Bearer {RESPONDER}");
    stream.ask("GET", "/events", &[("authorization", bearer.as_bytes())]).await;
    assert_eq!(stream.head().await.status, 200);

    // The tag of what a responder sees is good for what a responder may do.
    let etag = rita.etag("a").await;
    assert_ne!(etag, api.etag("a").await, "it is no digest of the users");
    let killed = rita.ask("POST", "flags/a/kill", &[("if-match", &etag)], "").await;
    assert_eq!((killed.status, &json(&killed)["flag"]["allowed_users"]), (200, &json!(1)), "{}", killed.text());
    hides(&killed, "kill");
    assert_eq!(Some(json(&killed)["etag"].as_str().unwrap()), killed.header("etag"));
    let stale = rita.ask("POST", "flags/a/restore", &[("if-match", &etag)], "").await;
    assert_eq!(problem(&stale), "stale");
    hides(&stale, "stale");
    assert_eq!(json(&stale)["current"]["etag"].as_str(), stale.header("etag"));
    let editor = api.ask("PATCH", "flags/a", &[("if-match", &rita.etag("a").await)], "{\"percentage\": 1}").await;
    assert_eq!(problem(&editor), "stale", "an editor's is the whole text");

    let mut events = String::new();
    while !events.contains("event: change") {
        events += &String::from_utf8(stream.frame().await.unwrap()).unwrap();
    }
    assert!(!events.contains(SECRET) && events.contains(r#""allowed_users":1"#), "{events}");

    // A text that cannot be restored says nothing of what is in it.
    let (api, _folder) = place(false).await;
    for (number, text) in BROKEN.iter().enumerate() {
        let flag = format!("flags/broken_{number}");
        for (method, path) in [("POST", "/restore"), ("POST", "/kill"), ("POST", "/restore"), ("GET", "")] {
            let path = format!("{flag}{path}");
            hides(&api.as_responder().ask(method, &path, &[], "").await, &format!("{path} of {text}"));
        }
    }
}
