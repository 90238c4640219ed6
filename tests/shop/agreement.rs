//! `GET /flags` against another program, which reads the design for itself: `tests/oracle`.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::SystemTime;

use serde_json::{Map, Value, json};

use crate::program::{Program, json};
use crate::support::Random;

const DOCUMENTS: usize = 12;
const FLAGS: usize = 40;
const CALLERS: usize = 16;

#[tokio::test]
async fn the_list_of_flags_agrees_with_an_independent_reading_of_the_design() {
    let mut random = Random(0x5EED_0F5E_ED00_0001);
    let now = tower_flags::Timestamp::from(SystemTime::now()).to_string();
    let requests: Vec<Value> = (0..DOCUMENTS)
        .map(|_| {
            let flags: Map<String, Value> =
                (0..FLAGS).map(|number| (name(number), some_flag(&mut random, number))).collect();
            let callers: Vec<Value> = (0..CALLERS).map(|_| some_caller(&mut random)).collect();
            json!({ "op": "evaluate", "text": json!({ "flags": flags }).to_string(), "now": now, "contexts": callers })
        })
        .collect();
    let mut reasons = BTreeSet::new();
    for (request, answer) in requests.iter().zip(oracle(&requests)) {
        assert_eq!(answer["refused"], Value::Null, "{answer}");
        compare(request, &answer, &mut reasons).await;
    }
    let reasons: Vec<&str> = reasons.iter().map(|reason| reason.split('(').next().unwrap_or_default()).collect();
    for reason in ["Anonymous", "Disabled", "Group", "Prerequisite", "Problem", "Rollout", "Rule", "Static", "User"] {
        assert!(reasons.contains(&reason), "the documents show no {reason}: {reasons:?}");
    }
}

async fn compare(request: &Value, answer: &Value, reasons: &mut BTreeSet<String>) {
    let text = request["text"].as_str().unwrap();
    let document: Value = serde_json::from_str(text).unwrap();
    let shop = Program::start("shop", text, &[]);
    for (number, caller) in request["contexts"].as_array().unwrap().iter().enumerate() {
        let groups: Vec<&str> =
            caller["groups"].as_array().unwrap().iter().map(|group| group.as_str().unwrap()).collect();
        let groups = groups.join(" , ");
        let mut headers: Vec<(&str, &str)> =
            caller["user"].as_str().map(|user| ("X-User-ID", user)).into_iter().collect();
        if !groups.is_empty() {
            headers.push(("X-User-Groups", &groups));
        }

        let (mut flags, mut variants) = (Map::new(), Map::new());
        for (name, expected) in answer["answers"][number].as_object().unwrap() {
            if document["flags"][name]["hidden"] == true {
                continue;
            }
            flags.insert(name.clone(), expected["enabled"].clone());
            if expected["variant"].is_string() {
                variants.insert(name.clone(), expected["variant"].clone());
            }
            if number == 0 {
                let found = json(&shop.ask(&format!("GET /flags/{name}"), &headers).await);
                assert_eq!(found["code"], expected["reason"], "{name} for {caller} in {text}");
                reasons.insert(found["code"].as_str().unwrap().to_owned());
            }
        }
        let found = json(&shop.ask("GET /flags", &headers).await);
        assert_eq!(found, json!({ "flags": flags, "variants": variants, "version": 1 }), "{caller} in {text}");
    }
}

/// What the other program answers.
fn oracle(requests: &[Value]) -> Vec<Value> {
    let mut python = Command::new("python3")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/oracle/oracle.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 has to be installed");
    let lines: String = requests.iter().map(|request| format!("{request}\n")).collect();
    let mut stdin = python.stdin.take().unwrap();
    // Beside the reading, since neither side keeps much.
    let writer = std::thread::spawn(move || stdin.write_all(lines.as_bytes()));
    let output = python.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

const USERS: [&str; 8] = ["alice", "bob", "carol", "dave", "user-42", "名前", "Alice", "a:b"];
const GROUPS: [&str; 4] = ["employees", "members", "beta testers", "名"];

fn name(number: usize) -> String {
    format!("flag-{number}")
}

fn some_caller(random: &mut Random) -> Value {
    let groups: Vec<&str> = GROUPS.into_iter().filter(|_| random.one_in(3)).collect();
    if random.one_in(6) {
        return json!({ "groups": groups });
    }
    json!({ "user": random.of(&USERS), "groups": groups })
}

/// 0 and 100 now and then, else with up to three decimals.
fn some_percentage(random: &mut Random) -> Value {
    match random.below(8) {
        0 => json!(0),
        1 => json!(100),
        2..5 => json!(random.below(100)),
        _ => json!(random.below(100_000) as f64 / 1000.0),
    }
}

/// A flag as people write them, now and then with a mistake in it.
fn some_flag(random: &mut Random, number: usize) -> Value {
    if random.one_in(8) {
        return json!(random.one_in(2));
    }
    let mut flag = Map::new();
    let mut set = |key: &str, value: Value| flag.insert(key.to_owned(), value);
    set("enabled", json!(!random.one_in(5)));
    if random.one_in(3) {
        let key = random.of(&["allowed_users", "users", "enabled_for_users"]);
        set(key, json!([random.of(&USERS), random.of(&USERS)]));
    }
    if random.one_in(5) {
        set("allowed_groups", json!([random.of(&GROUPS)]));
    }
    if random.one_in(6) {
        let step = json!({ "at": "2020-01-01T00:00:00+01:00", "percentage": some_percentage(random) });
        set("schedule", json!([step, { "at": "2199-12-31T23:59:59Z", "percentage": 100 }]));
    } else if !random.one_in(3) {
        set(random.of(&["percentage", "rollout_percentage"]), some_percentage(random));
    }
    let has_variants = random.one_in(3);
    if has_variants {
        let weight = random.below(101);
        set("variants", json!({ "b": weight, "a": { "weight": 100 - weight, "value": [1] } }));
    }
    if random.one_in(4) {
        set("rules", some_rules(random, has_variants));
    }
    if random.one_in(5) && number > 0 {
        let required = name(random.below(number));
        set("requires", if random.one_in(4) { json!([{ required: "a" }]) } else { json!([required]) });
    }
    if random.one_in(3) {
        set("bucketing", json!(random.of(&["flag:user", "user-flag", "flag:user/32", "user/32"])));
    }
    if random.one_in(6) {
        set("salt", json!("another"));
    }
    if random.one_in(10) {
        set("bucket_by", json!("plan"));
    }
    if random.one_in(6) {
        set("hidden", json!(true));
    }
    match random.below(30) {
        0 => set("percentge", json!(5)),
        1 => set("on", json!(true)),
        2 => set("requires", json!(["nobody"])),
        3 => set("kind", json!("x")),
        _ => None,
    };
    Value::Object(flag)
}

fn some_rules(random: &mut Random, has_variants: bool) -> Value {
    let clause = match random.below(4) {
        0 => json!({ "attribute": "user_id", "op": "starts_with", "values": ["a", "名"] }),
        1 => json!({ "attribute": "groups", "op": "one_of", "values": [random.of(&GROUPS)] }),
        2 => json!({ "attribute": "user_id", "op": "not_matches", "values": ["^[a-z]+$"] }),
        _ => json!({ "attribute": "plan", "op": "not_exists" }),
    };
    let serve = match random.below(4) {
        0 if has_variants => json!("a"),
        1 => json!(false),
        2 => json!({ "percentage": some_percentage(random) }),
        _ => json!(true),
    };
    json!([{ "when": [clause], "serve": serve }])
}
