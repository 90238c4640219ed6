//! Actions on plans: what each makes of the answers, and what it is refused for.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use tower_flags::document::Scheme;
use tower_flags::engine::Query;
use tower_flags::source::{Live, Source};
use tower_flags::store::{Author, Change, HistoryPage, SqliteStore, Store, StoreExt};
use tower_flags::{Context, Flag, Timestamp};

use super::api::{Api, json, problem, shop};
use super::outage::{DOWN, Shaky, UP, until};
use super::support::{get_as, serve};

const PLAN: &str = r#"{"stages": [
    {"percentage": 5, "hours": 24}, {"percentage": 25, "hours": 48}, {"percentage": 100}
]}"#;
const ACTIONS: [&str; 6] = ["start", "pause", "resume", "advance", "back", "roll-back"];

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Somebody whose bucket is in this range, in percent.
fn user(percent: std::ops::Range<u32>) -> String {
    let mut users = (0..).map(|number| format!("user-{number}"));
    users.find(|user| percent.contains(&(Scheme::default().bucket("x", user).thousandths() / 1000))).unwrap()
}

/// Those who have the flag at 5 %, first at 25 %, and first at 100 %.
fn users() -> [String; 3] {
    [user(0..5), user(5..25), user(25..100)]
}

/// For how many of them the flag is on.
async fn has_it(shop: SocketAddr) -> usize {
    let mut answers = Vec::new();
    for user in users() {
        answers.push(get_as(shop, "/x", &user).await.text() == "on");
    }
    assert!(answers.is_sorted_by(|a, b| a >= b), "nobody has it before those with a smaller bucket: {answers:?}");
    answers.iter().filter(|is_on| **is_on).count()
}

async fn act(api: &Api, action: &str, headers: &[(&str, &str)]) -> super::support::Reply {
    let body = if action.starts_with("start") { PLAN } else { "" };
    api.ask("POST", &format!("flags/x/rollout/{action}"), headers, body).await
}

/// The answer to an action that is taken.
async fn done(api: &Api, action: &str) -> Value {
    let reply = act(api, action, &[]).await;
    assert_eq!(reply.status, 200, "{action}: {}", reply.text());
    json(&reply)
}

async fn refused(api: &Api, action: &str, reason: &str) {
    let reply = act(api, action, &[]).await;
    assert_eq!((reply.status, problem(&reply).as_str()), (422, "refused"), "{action}: {}", reply.text());
    let detail = json(&reply)["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains(reason), "{action}: {detail}");
}

#[tokio::test]
async fn each_action_is_seen_on_the_next_request() {
    let (api, store) = Api::with(&[("x", r#"{"percentage": 0, "rollout_stages": [ 1.0 ]}"#)]).await;
    let shop = serve(shop(api.source.clone())).await;
    assert_eq!(has_it(shop).await, 0);
    // What comes out: the stage, its percentage, how many of the three have it, and whether the plan moves.
    for (action, stage, percentage, has, moves) in [
        ("start", 0, 5, 1, true),
        ("advance", 1, 25, 2, true),
        ("pause", 1, 25, 2, false),
        ("resume", 1, 25, 2, true),
        ("back", 0, 5, 1, false),
        ("advance", 1, 25, 2, false),
        ("resume", 1, 25, 2, true),
        ("advance", 2, 100, 3, false),
        ("back", 1, 25, 2, false),
    ] {
        let before = store.read("x").await.unwrap().version;
        let shown = done(&api, &format!("{action}?reason=because%20{action}")).await;
        assert_eq!((&shown["stored"], &shown["changed"]), (&json!(true), &json!(true)), "{action}");
        assert_eq!(shown["version"], before + 1, "{action}");
        assert_eq!(shown["in_force"], json!({"version": before + 1, "enabled": true, "percentage": percentage}));
        assert_eq!((&shown["percentage"], &shown["rollout"]["current"]), (&json!(percentage), &json!(stage)));
        assert_eq!(shown["rollout"]["next_at"].is_string(), moves, "{action}: {}", shown["rollout"]);
        assert_eq!(shown["rollout"]["stages"].as_array().unwrap().len(), 3, "{action}");
        assert!(shown["text"].as_str().unwrap().contains(r#""rollout_stages": [ 1.0 ]"#), "{}", shown["text"]);
        assert_eq!(has_it(shop).await, has, "{action}");
        let entry = store.history(&HistoryPage::newest()).await.unwrap().remove(0);
        assert_eq!((entry.version, entry.actor.as_deref()), (before + 1, Some("alice")));
        assert_eq!(entry.reason, Some(format!("because {action}")));
    }
    let again = done(&api, "pause").await;
    assert_eq!((&again["changed"], &again["version"]), (&json!(false), &json!(10)), "it stands already");
    assert!(store.verify_history().await.unwrap().is_ok());
}

#[tokio::test]
async fn a_plan_of_days_that_began_is_where_it_would_be_by_now() {
    let (api, _store) = Api::with(&[("x", r#"{"percentage": 1}"#)]).await;
    let shop = serve(shop(api.source.clone())).await;
    let plan = json!({"start": ago(DAY * 2), "days": [
        {"day": 0, "percentage": 1}, {"day": 1, "percentage": 25}, {"day": 7, "percentage": 100}
    ]});
    let reply = api.ask("POST", "flags/x/rollout/start", &[], &plan.to_string()).await;
    let rollout = &json(&reply)["rollout"];
    assert_eq!((reply.status, &rollout["percentage"]), (200, &json!(25)), "{}", reply.text());
    assert_eq!(rollout["next_at"], ago(DAY * 2).checked_add(DAY * 7).unwrap().to_string());
    assert_eq!(has_it(shop).await, 2);
}

/// To the second, as people write instants.
fn ago(time: Duration) -> Timestamp {
    static NOW: std::sync::LazyLock<i64> = std::sync::LazyLock::new(|| now().unix_millis() / 1000 * 1000);
    Timestamp::from_unix_millis(*NOW).checked_sub(time).unwrap()
}

fn now() -> Timestamp {
    Timestamp::from(std::time::SystemTime::now())
}

#[tokio::test]
async fn an_action_for_another_version_is_refused_with_the_flag_as_it_is() {
    let (api, store) = Api::with(&[("x", r#"{"percentage": 0}"#)]).await;
    let old = api.etag("x").await;
    done(&api, "start").await;
    let text = store.read("x").await.unwrap().definition;
    for action in ACTIONS {
        let reply = act(&api, action, &[("if-match", &old)]).await;
        assert_eq!((reply.status, problem(&reply).as_str()), (412, "stale"), "{action}");
        let current = &json(&reply)["current"];
        assert_eq!((&current["version"], current["text"].as_str()), (&json!(2), text.as_deref()), "{action}");
        assert_eq!((reply.header("etag"), &current["rollout"]["current"]), (current["etag"].as_str(), &json!(0)));
    }
    assert_eq!(store.read("x").await.unwrap().version, 2, "nothing changed");
    // Each for what the one before has left.
    let mut etag = api.etag("x").await;
    for action in ["advance", "pause", "resume", "back", "start", "roll-back"] {
        let reply = act(&api, action, &[("if-match", &etag)]).await;
        assert_eq!(reply.status, 200, "{action}: {}", reply.text());
        etag = reply.header("etag").unwrap().to_owned();
    }
    assert_eq!(store.read("x").await.unwrap().version, 8);
}

#[tokio::test]
async fn a_plan_that_would_lower_a_percentage_or_run_backwards_is_refused_with_the_reason() {
    let (api, store) = Api::with(&[("x", r#"{"percentage": 10}"#)]).await;
    for (plan, path, reason) in [
        (
            r#"{"stages": [{"percentage": 5, "hours": 1}, {"percentage": 100}]}"#,
            "",
            "expected at least the 10 % in force, found a plan with 5 % first",
        ),
        (
            r#"{"stages": [{"percentage": 50, "hours": 1}, {"percentage": 20}]}"#,
            "stages.1.percentage",
            "expected at least the 50 % before it, found 20 %",
        ),
        (
            r#"{"stages": [{"percentage": 20, "hours": -1}, {"percentage": 100}]}"#,
            "stages.0.hours",
            "expected a number of hours with at most three decimals, found -1",
        ),
        (
            r#"{"stages": [{"percentage": 20, "hours": 0}, {"percentage": 100}]}"#,
            "stages.0.hours",
            "expected more than 0 hours, and at most 1000000, found 0 hours",
        ),
        (
            r#"{"days": [{"day": 3, "percentage": 20}, {"day": 2, "percentage": 100}]}"#,
            "days.1.day",
            "expected a day after 3, the one before it, found 2",
        ),
        (r#"{"days": []}"#, "days", "expected 1 to 100 stages, found none"),
        (r#"{"percentage": 20}"#, "percentage", "expected only the keys start, stages, days"),
        ("[]", "", "expected an object with stages or days, found a list of 0"),
    ] {
        let reply = api.ask("POST", "flags/x/rollout/start", &[], plan).await;
        assert_eq!((reply.status, problem(&reply).as_str()), (422, "refused"), "{plan}: {}", reply.text());
        let body = json(&reply);
        assert!(body["detail"].as_str().unwrap().contains(reason), "{plan}: {body}");
        assert_eq!(body["problems"][0]["path"], path, "{plan}: {body}");
    }
    let half = api.ask("POST", "flags/x/rollout/start", &[], r#"{"stages": "#).await;
    assert_eq!(problem(&half), "malformed");
    assert_eq!(store.read("x").await.unwrap().version, 1, "nothing changed");
    assert_eq!(api.get("flags/x").await["in_force"]["percentage"], 10);

    // What is in force stands until a plan goes higher, and counts where the plan of before stands.
    let higher = r#"{"stages": [{"percentage": 10, "hours": 1}, {"percentage": 100}]}"#;
    assert_eq!(api.ask("POST", "flags/x/rollout/start", &[], higher).await.status, 200);
    done(&api, "advance").await;
    let lower = api.ask("POST", "flags/x/rollout/start", &[], higher).await;
    assert_eq!(problem(&lower), "refused", "from 100 % to 10 %");
    assert_eq!(api.get("flags/x").await["in_force"]["percentage"], 100);
    assert_eq!(done(&api, "back").await["in_force"]["percentage"], 10, "an action may lower it");
}

#[tokio::test]
async fn what_has_no_plan_and_no_stage_to_come_says_so() {
    let (api, store) = Api::with(&[("x", r#"{"percentage": 0}"#), ("gone", "true")]).await;
    for action in ["pause", "resume", "advance", "back"] {
        refused(&api, action, "expected a plan, found none; start one first").await;
    }
    store.change("gone", Change::remove(), &Author::new("x")).await.unwrap();
    for action in ACTIONS {
        let body = if action == "start" { PLAN } else { "" };
        for flag in ["nobody", "gone", "-bad"] {
            let reply = api.ask("POST", &format!("flags/{flag}/rollout/{action}"), &[], body).await;
            assert_eq!(problem(&reply), "no-such-flag", "{action} {flag}");
        }
        let typo = act(&api, &format!("{action}?raeson=x"), &[]).await;
        assert_eq!(problem(&typo), "malformed", "{action}");
    }
    for action in &ACTIONS[1..] {
        let reply = api.ask("POST", &format!("flags/x/rollout/{action}"), &[], PLAN).await;
        assert_eq!(problem(&reply), "malformed", "{action}: a plan that would be overlooked");
    }
    assert_eq!(store.read("x").await.unwrap().version, 1, "nothing changed");

    done(&api, "start").await;
    refused(&api, "back", "expected a stage before the one in force, found the first one; rolling back switches").await;
    done(&api, "advance").await;
    done(&api, "advance").await;
    let last = "expected a stage to come, found the last one in force, at 100 %";
    refused(&api, "advance", last).await;
    refused(&api, "pause", last).await;
    done(&api, "back").await;
    assert_eq!(api.ask("POST", "flags/x/kill", &[], "").await.status, 200);
    for action in ["resume", "advance"] {
        refused(&api, action, "expected a flag that is switched on, found one that is switched off; restore it").await;
    }
    assert_eq!(store.read("x").await.unwrap().version, 6, "nothing but what was done");
}

#[tokio::test]
async fn no_plan_switches_on_what_is_off() {
    let (api, _store) = Api::with(&[("x", r#"{"enabled": false, "percentage": 100}"#)]).await;
    let shop = serve(shop(api.source.clone())).await;
    let shown = done(&api, "start").await;
    assert_eq!((&shown["flag"]["enabled"], &shown["rollout"]["is_killed"]), (&json!(false), &json!(true)));
    assert!(shown["rollout"]["paused_since"].is_string(), "{shown}");
    assert_eq!(has_it(shop).await, 0);
    let restored = json(&api.ask("POST", "flags/x/restore", &[], "").await);
    assert_eq!((&restored["percentage"], &restored["rollout"]["next_at"]), (&json!(5), &Value::Null));
    assert_eq!(has_it(shop).await, 1);
}

#[tokio::test]
async fn rolling_back_switches_off_keeps_the_plan_and_tells_when_and_why() {
    let (api, store) = Api::with(&[("x", r#"{"percentage": 0, "owner": "me"}"#)]).await;
    let shop = serve(shop(api.source.clone())).await;
    done(&api, "start").await;
    let moving = done(&api, "advance").await;
    assert_eq!(has_it(shop).await, 2);
    let shown = done(&api, "roll-back?reason=errors%20at%20checkout%2C%20INC-17").await;
    assert_eq!(has_it(shop).await, 0, "on the next request");
    let entry = store.history(&HistoryPage::newest().of("x")).await.unwrap().remove(0);
    assert_eq!((entry.actor.as_deref(), entry.reason.as_deref()), (Some("alice"), Some("errors at checkout, INC-17")));
    let mut expected = moving["flag"].clone();
    expected["enabled"] = false.into();
    expected["paused_at"] = entry.at.to_string().into();
    assert_eq!(shown["flag"], expected, "the plan and all else is kept");
    assert_eq!((&shown["rollout"]["is_killed"], &shown["rollout"]["next_at"]), (&json!(true), &Value::Null));
    let again = done(&api, "roll-back").await;
    assert_eq!((&again["changed"], &again["version"]), (&json!(false), &shown["version"]), "twice is once");

    let restored = json(&api.ask("POST", "flags/x/restore", &[], "").await);
    assert_eq!((&restored["percentage"], &restored["rollout"]["next_at"]), (&json!(25), &Value::Null), "it stands");
    assert_eq!(has_it(shop).await, 2);
    assert!(done(&api, "resume").await["rollout"]["next_at"].is_string());
    assert_eq!(has_it(shop).await, 2);
}

#[tokio::test]
async fn any_flag_can_be_rolled_back_also_while_the_store_is_away() {
    let store = Shaky::default();
    let setup = Author::new("setup");
    store.store.change("x", Change::put_text(r#"{"percentage": 5}"#), &setup).await.unwrap();
    let api = Api::over(store.clone()).await;
    let shop = serve(shop(api.source.clone())).await;
    assert_eq!(done(&api, "roll-back").await["flag"]["enabled"], false, "without a plan it is a kill");
    assert_eq!(api.ask("POST", "flags/x/restore", &[], "").await.status, 200);

    done(&api, "start").await;
    assert_eq!(has_it(shop).await, 1);
    store.is(DOWN);
    let reply = act(&api, "roll-back?reason=INC-17", &[]).await;
    assert_eq!((reply.status, &json(&reply)["scope"]), (202, &json!("this process")), "{}", reply.text());
    assert_eq!(has_it(shop).await, 0);
    for action in ["start", "pause", "resume", "advance", "back"] {
        assert_eq!(problem(&act(&api, action, &[]).await), "store-unavailable", "{action}");
    }
    store.is(UP);
    until(async || api.source.local_kills().is_empty()).await;
    assert_eq!(has_it(shop).await, 0);
    let entry = store.history(&HistoryPage::newest()).await.unwrap().remove(0);
    assert_eq!((entry.actor.as_deref(), entry.reason.as_deref()), (Some("alice"), Some("INC-17")));
    assert!(entry.after.unwrap().contains("schedule"));
}

fn answers(source: &Live, at: Timestamp) -> Vec<bool> {
    let is_on = |user: String| source.answer(&Query::new(&Context::user(user), at)).is_enabled("x");
    users().map(is_on).into()
}

#[tokio::test]
async fn two_processes_over_one_store_compute_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let open = || SqliteStore::at(folder.path().join("flags.db"));
    let put = Change::put_text(r#"{"percentage": 0}"#);
    open().change("x", put, &Author::new("setup")).await.unwrap();
    let processes = [Api::over(open()).await, Api::over(open()).await];
    let shops = [serve(shop(processes[0].source.clone())).await, serve(shop(processes[1].source.clone())).await];
    for (number, action) in
        ["start", "advance", "pause", "resume", "back", "resume", "roll-back", "restore"].into_iter().enumerate()
    {
        // Now the one acts, now the other.
        let (acting, other) = (&processes[number % 2], &processes[1 - number % 2]);
        let path = if action == "restore" { "flags/x/restore" } else { &format!("flags/x/rollout/{action}") };
        let reply = acting.ask("POST", path, &[], if action == "start" { PLAN } else { "" }).await;
        assert_eq!(reply.status, 200, "{action}: {}", reply.text());
        let shown = json(&reply);
        for process in [acting, other] {
            until(async || process.get("flags/x").await["in_force"]["version"] == shown["version"]).await;
        }
        assert_eq!(other.get("flags/x").await["rollout"], shown["rollout"], "{action}");
        let flag: Flag = shown["text"].as_str().unwrap().parse().unwrap();
        let days = (0..6).map(|day| now().checked_add(DAY * day).unwrap());
        for at in days {
            let share = flag.percentage_at(at).thousandths();
            let has_it = |user: &String| Scheme::default().bucket("x", user).thousandths() < share;
            let expected: Vec<bool> = users().iter().map(|user| flag.is_enabled() && has_it(user)).collect();
            for process in &processes {
                assert_eq!(answers(&process.source, at), expected, "{action}, at {at}");
            }
        }
        assert_eq!(has_it(shops[0]).await, has_it(shops[1]).await, "{action}");
    }
    // Through the one or the other, it is one history.
    assert!(open().verify_history().await.unwrap().is_ok());
    assert_eq!(open().history(&HistoryPage::newest()).await.unwrap().len(), 9);
}

#[tokio::test]
async fn a_plan_that_was_stopped_by_a_clock_ahead_stands_still_where_it_is_restored() {
    let at =
        |millis: i64| Timestamp::from_unix_millis(Timestamp::from(std::time::SystemTime::now()).unix_millis() + millis);
    let killed = |ahead: i64| {
        format!(
            r#"{{"enabled":false,"schedule":[{{"at":"{}","percentage":5}},{{"at":"{}","percentage":100}}],"paused_at":"{}"}}"#,
            at(-60_000),
            at(60_000),
            at(ahead)
        )
    };
    for (method, path, body) in [
        ("POST", "flags/x/restore", ""),
        ("PATCH", "flags/x", r#"{"enabled": true}"#),
        ("PATCH", "flags/x", r#"{"enabled": true, "owner": "me"}"#),
    ] {
        let (api, _store) = Api::with(&[("x", &killed(3_600_000))]).await;
        let restored = json(&api.ask(method, path, &[], body).await);
        assert!(restored["rollout"]["paused_since"].is_string(), "{method} {path}: {restored}");
        let notes = restored["notes"].as_array().unwrap();
        assert!(notes.len() == 1 && notes[0].as_str().unwrap().contains("clock runs ahead"), "{restored}");
    }
    // So it does where the whole definition is put, as the page's JSON editor does it.
    let (api, _store) = Api::with(&[("x", &killed(3_600_000))]).await;
    let on = killed(3_600_000).replace("false", "true");
    let put = json(&api.ask("PUT", "flags/x", &[("if-match", "*")], &on).await);
    assert_eq!(put["flag"]["enabled"], true, "{put}");
    assert!(put["rollout"]["paused_since"].is_string(), "{put}");
    let notes = put["notes"].as_array().unwrap();
    assert!(notes.len() == 1 && notes[0].as_str().unwrap().contains("clock runs ahead"), "{put}");
    // A pause to come of a flag that was on is meant, and so is a plan without one.
    let running = format!("{}}}", on.split(r#","paused_at""#).next().unwrap());
    for (stored, wanted) in [(on.clone(), &on), (killed(3_600_000), &running)] {
        let (api, _store) = Api::with(&[("x", &stored)]).await;
        let put = json(&api.ask("PUT", "flags/x", &[("if-match", "*")], wanted).await);
        assert_eq!((&put["rollout"]["paused_since"], &put["notes"]), (&Value::Null, &json!([])), "{put}");
    }
    // Nor does what is taken from before the kill bring the pause back.
    for what in ["revert", "import"] {
        let (api, _store) = Api::with(&[("x", &killed(3_600_000).replace("false", "true"))]).await;
        let killed = killed(3_600_000);
        let put = api.ask("PUT", "flags/x", &[("if-match", "*")], &killed).await;
        assert_eq!(put.status, 200, "{}", put.text());
        let plan = json(&put)["flag"]["schedule"].clone();
        let reply = if what == "revert" {
            api.ask("POST", "flags/x/revert", &[], r#"{"to": 1}"#).await
        } else {
            let document = json!({"flags": {"x": {"enabled": true, "schedule": plan}}});
            api.ask("POST", "import", &[], &document.to_string()).await
        };
        assert_eq!(reply.status, 200, "{what}: {}", reply.text());
        let restored = json(&api.ask("POST", "flags/x/restore", &[], "").await);
        assert!(restored["rollout"]["paused_since"].is_string(), "{what}: {restored}");
    }
}
