//! Edits of stored flags however they are laid out: what is not named stays byte for byte, and what
//! comes out is a flag with the new values.

use proptest::prelude::*;
use serde_json::{Value, json};
use tower_flags::document::Edit;
use tower_flags::{Document, Flag, Timestamp};
use tower_flags_properties::{Generator, Random, Tree};

const NAME: &str = "new_search";
const NOW: &str = "2026-12-02T10:20:30Z";

/// The spellings of every key, the one that is written for a new key first.
const KEYS: [&[&str]; 23] = [
    &["enabled", "on"],
    &["percentage", "rollout_percentage"],
    &["allowed_users", "users", "enabled_for_users"],
    &["allowed_groups"],
    &["rules"],
    &["requires"],
    &["schedule"],
    &["paused_at"],
    &["bucket_by"],
    &["variants"],
    &["bucketing"],
    &["salt"],
    &["overridable"],
    &["hidden"],
    &["kind", "type"],
    &["name"],
    &["owner"],
    &["ticket", "jira_ticket"],
    &["description"],
    &["tags"],
    &["created_at"],
    &["expires_at"],
    &["metadata"],
];
const FOREIGN: [&str; 5] = ["rollout_stages", "rollout_started", "current_stage", "stage_started", "rolled_back_at"];
const UNKNOWN: [&str; 4] = ["colour", "", "Enabled", "percentge"];

/// The spellings of the key that this is one of.
fn spellings(spelling: &str) -> Option<&'static [&'static str]> {
    KEYS.into_iter().find(|spellings| spellings.contains(&spelling))
}

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

// ---------------------------------------------------------------------------------------------- stored flags

/// A member of an object, as it is written.
#[derive(Clone, Debug, PartialEq)]
struct Member {
    key: String,
    /// From the key to the end of the value.
    text: String,
    value: String,
}

/// The members of an object that is known to be JSON, found by its brackets and quotes alone.
fn members(object: &str) -> Vec<Member> {
    const SPACE: [char; 4] = [' ', '\t', '\n', '\r'];
    let mut rest = object.trim_matches(SPACE).strip_prefix('{').unwrap();
    let mut members = Vec::new();
    loop {
        rest = rest.trim_start_matches(SPACE).trim_start_matches(',').trim_start_matches(SPACE);
        if rest == "}" {
            return members;
        }
        let key = &rest[..value_end(rest)];
        let after = rest[key.len()..].trim_start_matches(SPACE).strip_prefix(':').unwrap();
        let value = after.trim_start_matches(SPACE);
        let end = value_end(value);
        let len = rest.len() - value.len() + end;
        members.push(Member {
            key: serde_json::from_str(key).unwrap(),
            text: rest[..len].to_owned(),
            value: value[..end].to_owned(),
        });
        rest = &rest[len..];
    }
}

fn value_end(text: &str) -> usize {
    let (mut depth, mut is_quoted, mut is_escaped) = (0, false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_quoted => is_escaped = true,
            b'"' => {
                is_quoted = !is_quoted;
                if !is_quoted && depth == 0 {
                    return at + 1;
                }
            }
            _ if is_quoted => {}
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth > 1 => depth -= 1,
            b'}' | b']' if depth == 1 => return at + 1,
            b'}' | b',' | b' ' | b'\t' | b'\n' | b'\r' if depth == 0 => return at,
            _ => {}
        }
    }
    text.len()
}

/// Writes a value with any white space wherever JSON lets it stand.
fn lay_out(tree: &Tree, random: &mut Random, out: &mut String) {
    match tree {
        Tree::List(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                separate(at, random, out);
                lay_out(item, random, out);
            }
            space(random, out);
            out.push(']');
        }
        Tree::Map(members) => {
            out.push('{');
            for (at, (key, value)) in members.iter().enumerate() {
                separate(at, random, out);
                lay_out_key(key, random, out);
                space(random, out);
                out.push(':');
                space(random, out);
                lay_out(value, random, out);
            }
            space(random, out);
            out.push('}');
        }
        leaf => out.push_str(&leaf.to_json()),
    }
}

fn separate(at: usize, random: &mut Random, out: &mut String) {
    if at > 0 {
        space(random, out);
        out.push(',');
    }
    space(random, out);
}

fn space(random: &mut Random, out: &mut String) {
    out.push_str(random.pick(&["", "", " ", "\n", "\t", "\r\n  ", "\n    ", "  "]));
}

/// Now and then with an escape where none is needed.
fn lay_out_key(key: &str, random: &mut Random, out: &mut String) {
    match key.chars().next() {
        Some(first) if first.is_ascii_lowercase() && random.chance(5) => {
            out.push_str(&format!("\"\\u{:04x}{}", u32::from(first), &Tree::text(&key[1..]).to_json()[1..]));
        }
        _ => out.push_str(&Tree::text(key).to_json()),
    }
}

/// The text of a stored flag; some of them have something wrong.
fn stored(random: &mut Random) -> String {
    let mut generator = Generator::new(random.number());
    let mut tree = generator.flag(NAME, &["a", "b"]);
    if let Tree::Map(members) = &mut tree {
        for spellings in KEYS {
            if random.chance(8) {
                members.push((random.pick(spellings).to_owned(), Tree::Null));
            }
        }
        for foreign in random.some(&FOREIGN, 15) {
            members.push((foreign.to_owned(), generator.anything()));
        }
        // What is there already stays as it is, unless something is to be wrong.
        let mut seen = Vec::new();
        let allows_twice = random.chance(3);
        members.retain(|(key, _)| {
            allows_twice
                || !seen.contains(key) && {
                    seen.push(key.clone());
                    true
                }
        });
        if random.chance(5) {
            members.push((random.pick(&UNKNOWN).to_owned(), generator.anything()));
        }
        if random.chance(5) {
            let place = 1 + random.below(tree.size());
            tree.replace(place, generator.anything());
        }
    }
    if let Tree::Map(members) = &mut tree {
        random.shuffle(members);
    }
    let mut text = String::new();
    space(random, &mut text);
    lay_out(&tree, random, &mut text);
    space(random, &mut text);
    text
}

// ---------------------------------------------------------------------------------------------- edits

/// Keys as they are spelt; `None` removes.
type Changes = Vec<(String, Option<Value>)>;

fn changes(random: &mut Random) -> Changes {
    let count = random.below(4);
    (0..count)
        .map(|_| {
            let spellings: &[&str] = match random.below(20) {
                0 => &FOREIGN,
                1 => &UNKNOWN,
                2..=8 => KEYS[random.below(2)],
                9 | 10 => KEYS[6 + random.below(2)],
                _ => KEYS[random.below(KEYS.len())],
            };
            let spelling = random.pick(spellings);
            let value = (!random.chance(20)).then(|| value(spelling, random));
            (spelling.to_owned(), value)
        })
        .collect()
}

/// A value for a key, mostly of its kind.
fn value(spelling: &str, random: &mut Random) -> Value {
    if random.chance(5) {
        return Value::Null;
    }
    if random.chance(5) {
        let odd = [json!(101), json!("gold"), json!([1]), json!({"a": ", \"on\": 1}"}), json!(true), json!(-0.5)];
        return odd[random.below(odd.len())].clone();
    }
    match spellings(spelling).map_or("", |spellings| spellings[0]) {
        "enabled" => json!(random.chance(40)),
        "percentage" => json!(random.below(100_001) as f64 / 1000.0),
        "allowed_users" | "allowed_groups" | "tags" => json!(random.some(&["alice", "größe", "a\"b\\", "]}, {["], 50)),
        "rules" => json!([{"when": [{"attribute": "plan", "op": "equals", "values": ["pro"]}], "serve": true}]),
        "requires" => json!(random.some(&["a", "b"], 50)),
        "schedule" => {
            json!([
                {"at": "2026-12-01T09:00:00Z", "percentage": 1},
                {"at": "2027-01-01T00:00:00Z", "percentage": 5.5},
            ])
        }
        "paused_at" => json!("2026-11-01T00:00:00+01:00"),
        "variants" => json!({"a": 33.3, "b": {"weight": 66.7, "value": [1.5, null]}}),
        "bucketing" => json!("user/32"),
        "overridable" | "hidden" => json!(random.chance(50)),
        "kind" => json!("ops"),
        "name" => json!(random.pick(&[NAME, NAME, "other"])),
        "created_at" | "expires_at" => json!(random.pick(&["2026-12-24", "2026-13-24"])),
        "metadata" => json!({"x": [1, {"y": null}]}),
        _ => json!(random.pick(&["", "payments", "a, \"b\": {\n"])),
    }
}

fn edit(changes: &Changes) -> Edit {
    changes.iter().fold(Edit::new(), |edit, (spelling, value)| match value {
        Some(value) => edit.set(spelling, value.clone()),
        None => edit.remove(spelling),
    })
}

// ---------------------------------------------------------------------------------------------- what should come of it

/// A key as it is spelt and its value's text.
type Plain = Vec<(String, String)>;

fn position(object: &Plain, key: &str) -> Option<usize> {
    let is_it = |(spelling, _): &&(String, String)| spellings(spelling).is_some_and(|spellings| spellings[0] == key);
    let best = object.iter().filter(is_it).find(|(_, value)| value != "null").or_else(|| object.iter().find(is_it))?;
    object.iter().position(|member| member == best)
}

fn has(object: &Plain, key: &str) -> bool {
    position(object, key).is_some_and(|at| object[at].1 != "null")
}

fn put(object: &mut Plain, key: &str, value: Option<String>) {
    match (position(object, key), value) {
        (Some(at), Some(value)) => object[at].1 = value,
        (Some(at), None) => drop(object.remove(at)),
        (None, Some(value)) => object.push((key.to_owned(), value)),
        (None, None) => {}
    }
}

/// The flag of these members, if it is accepted, read on its own rather than by the edit.
fn accepted(object: &Plain) -> Option<Flag> {
    let members: Vec<String> =
        object.iter().map(|(key, value)| format!("{}: {value}", Tree::text(key).to_json())).collect();
    let text = format!("{{\"flags\": {{\"{NAME}\": {{{}}}}}}}", members.join(", "));
    Document::from_json(&text).unwrap().flag(NAME).cloned()
}

/// Whether a pause is still to come, which whoever switches the flag brings to the present.
fn lies_ahead(paused_at: &str) -> bool {
    let at = serde_json::from_str::<String>(paused_at).ok().and_then(|text| text.parse::<Timestamp>().ok());
    at.is_some_and(|at| at > now())
}

/// The rules of `Edit` in their plainest form, or a part of the reason why it is refused.
fn model(stored: &str, changes: &Changes) -> Result<Plain, String> {
    let mut object: Plain = match stored.trim() {
        switch @ ("true" | "false") => vec![("enabled".to_owned(), switch.to_owned())],
        text if text.starts_with('{') => members(text).into_iter().map(|member| (member.key, member.value)).collect(),
        _ => return Err("a JSON object, true or false".into()),
    };
    if (1..object.len()).any(|at| object[..at].iter().any(|(key, _)| *key == object[at].0)) {
        return Err("expected each key once".into());
    }
    let names_percentage = changes.iter().any(|(key, _)| matches!(key.as_str(), "percentage" | "rollout_percentage"));
    let in_force = accepted(&object).filter(|_| !names_percentage).map(|flag| flag.percentage_at(NOW.parse().unwrap()));
    let was_on = accepted(&object).is_some_and(|flag| flag.is_enabled());
    for (spelling, value) in changes {
        let Some(spellings) = spellings(spelling) else {
            return Err(format!("expected a known key, found {spelling:?}"));
        };
        if *value == Some(Value::Null) {
            return Err("expected a value, found null".into());
        }
        put(&mut object, spellings[0], value.as_ref().map(Value::to_string));
    }
    let Some(flag) = accepted(&object) else { return Err(String::new()) };
    let of_enabled = |(spelling, _): &&(String, Option<Value>)| matches!(spelling.as_str(), "enabled" | "on");
    let switch = changes.iter().rfind(of_enabled).and_then(|(_, value)| value.as_ref()?.as_bool());
    let pause = position(&object, "paused_at").map(|at| object[at].1.as_str());
    let is_ahead = has(&object, "schedule") && pause.is_some_and(lies_ahead);
    let stops = match switch {
        Some(false) => has(&object, "schedule") && !has(&object, "paused_at") || is_ahead,
        Some(true) => !was_on && is_ahead,
        None => false,
    };
    let names_pause = changes.iter().any(|(key, _)| key == "paused_at");
    if stops && !(names_pause && has(&object, "paused_at")) {
        put(&mut object, "paused_at", Some(format!("\"{NOW}\"")));
    }
    if !has(&object, "enabled") {
        put(&mut object, "enabled", Some(flag.is_enabled().to_string()));
    }
    if !has(&object, "schedule") && !has(&object, "percentage") {
        let names_someone = ["allowed_users", "allowed_groups", "rules"].iter().any(|key| has(&object, key));
        let default = if names_someone { "0" } else { "100" }.to_owned();
        let percentage = in_force.map_or(default, |percentage| serde_json::to_string(&percentage).unwrap());
        put(&mut object, "percentage", Some(percentage));
    }
    Ok(object)
}

// ---------------------------------------------------------------------------------------------- properties

/// What became of one edit.
enum Outcome {
    Edited,
    Paused,
    Refused,
}

fn check(stored: &str, changes: &Changes) -> Outcome {
    let what = || format!("{changes:?} of\n{stored}\n");
    let (edited, expected) = match (edit(changes).apply(NAME, Some(stored), now()), model(stored, changes)) {
        (Ok(edited), Ok(expected)) => (edited, expected),
        (Err(problem), Err(why)) => {
            assert_eq!(problem.flag.as_deref(), Some(NAME), "{}{problem}", what());
            assert!(problem.to_string().contains(&why), "{}{problem}", what());
            // Neither a stored flag nor an edit of values makes what is no JSON.
            assert!(!problem.to_string().contains("a JSON document"), "{}{problem}", what());
            return Outcome::Refused;
        }
        (Ok(edited), Err(why)) => panic!("{}should be refused ({why}), but gives\n{edited}", what()),
        (Err(problem), Ok(expected)) => panic!("{}is refused, but should give {expected:?}: {problem}", what()),
    };
    let what = || format!("{}became\n{edited}", what());

    serde_json::from_str::<Value>(&edited).unwrap_or_else(|error| panic!("{}: {error}", what()));
    let after = members(&edited);
    let plain: Plain = after.iter().map(|member| (member.key.clone(), member.value.clone())).collect();
    assert_eq!(plain, expected, "{}", what());

    // Said once more without the model, so that the two cannot err together.
    let flag: Flag = accepted(&plain).unwrap_or_else(|| panic!("{}", what()));
    assert_eq!(edited.parse::<Flag>().unwrap(), flag);
    let written = |key: &str| {
        let mut values = after.iter().filter(|member| spellings(&member.key).is_some_and(|keys| keys[0] == key));
        values.find(|member| member.value != "null").map(|member| member.value.clone())
    };
    assert_eq!(written("enabled"), Some(flag.is_enabled().to_string()), "{}", what());
    assert_ne!(written("percentage").is_some(), written("schedule").is_some(), "{}", what());

    let before = if stored.trim().starts_with('{') { members(stored) } else { Vec::new() };
    let was_written = |key: &str| {
        before.iter().any(|member| spellings(&member.key).is_some_and(|keys| keys[0] == key) && member.value != "null")
    };
    let names = |key: &str| changes.iter().any(|(spelling, _)| spellings(spelling).is_some_and(|keys| keys[0] == key));
    let is_brought_here = |member: &Member| {
        names("enabled")
            && member.key == "paused_at"
            && lies_ahead(&member.value)
            && written("paused_at") == Some(format!("\"{NOW}\""))
    };
    let may_change = |member: &Member| match spellings(&member.key) {
        None => false,
        Some(_) if is_brought_here(member) => true,
        Some(keys) => {
            names(keys[0]) || matches!(keys[0], "enabled" | "percentage" | "paused_at") && member.value == "null"
        }
    };
    let kept: Vec<&Member> = before.iter().filter(|member| !may_change(member)).collect();
    let found: Vec<&Member> = after.iter().filter(|member| kept.contains(member)).collect();
    assert_eq!(found, kept, "byte for byte and in order: {}", what());

    for (at, (spelling, value)) in changes.iter().enumerate() {
        let key = spellings(spelling).unwrap()[0];
        let is_last = changes[at + 1..].iter().all(|(later, _)| spellings(later).unwrap()[0] != key);
        if let Some(value) = value.as_ref().filter(|_| is_last) {
            assert_eq!(written(key), Some(value.to_string()), "{}", what());
        }
    }
    let was_paused = was_written("paused_at");
    let is_paused = !names("paused_at") && !was_paused && written("paused_at").is_some();
    if is_paused {
        assert!(written("schedule").is_some() && !flag.is_enabled(), "{}", what());
        assert_eq!(written("paused_at"), Some(format!("\"{NOW}\"")));
    }
    if names("enabled") && !flag.is_enabled() && written("schedule").is_some() {
        assert!(written("paused_at").is_some(), "{}", what());
    }
    if !names("paused_at") && was_paused && !before.iter().any(is_brought_here) {
        assert!(kept.iter().any(|member| member.key == "paused_at"), "{}", what());
    }
    if changes.iter().all(|(_, value)| value.is_some()) {
        assert_layout_is_kept(stored.trim(), &edited, &before, &after, &what);
    }

    // An edit that is done has nothing left to do, and none at all changes nothing more.
    assert_eq!(Edit::new().apply(NAME, Some(&edited), now()).unwrap(), edited);
    if changes.iter().all(|(_, value)| value.is_some()) {
        assert_eq!(edit(changes).apply(NAME, Some(&edited), now()).unwrap(), edited, "{}", what());
    }
    if is_paused { Outcome::Paused } else { Outcome::Edited }
}

/// Where no member goes, all that stands between the values stays as it is.
fn assert_layout_is_kept(stored: &str, edited: &str, before: &[Member], after: &[Member], what: &impl Fn() -> String) {
    if before.is_empty() {
        return;
    }
    let mut expected = String::new();
    let mut rest = stored;
    for (old, new) in before.iter().zip(after) {
        let start = rest.find(&old.text).unwrap() + old.text.len() - old.value.len();
        expected.push_str(&rest[..start]);
        expected.push_str(&new.value);
        rest = &rest[start + old.value.len()..];
    }
    assert!(edited.starts_with(&expected) && edited.ends_with(rest), "{}", what());
    if before.len() == after.len() {
        assert_eq!(edited, expected + rest, "{}", what());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_edit_of_every_stored_flag_does_what_it_says_and_nothing_else(seed in any::<u64>()) {
        let mut random = Random::new(seed);
        check(&stored(&mut random), &changes(&mut random));
    }

    /// Whatever it says, it does not panic, and what comes out of it is read again.
    #[test]
    fn any_text_can_be_stored(text in ".{0,40}", seed in any::<u64>()) {
        let mut random = Random::new(seed);
        let (flag, changes) = (stored(&mut random), changes(&mut random));
        let cut = flag.char_indices().map(|(at, _)| at).nth(random.below(flag.len().max(1))).unwrap_or(flag.len());
        for stored in [text.as_str(), &flag[..cut], &flag.replacen(',', &text, 1)] {
            if let Ok(edited) = edit(&changes).apply(NAME, Some(stored), now()) {
                prop_assert!(edited.parse::<Flag>().is_ok(), "{changes:?} of\n{stored}\nbecame\n{edited}");
            }
        }
    }
}

#[test]
fn many_edits_are_made_and_many_refused() {
    let (mut edited, mut paused, mut refused) = (0, 0, 0);
    for seed in 0..4_000 {
        let mut random = Random::new(seed);
        match check(&stored(&mut random), &changes(&mut random)) {
            Outcome::Edited => edited += 1,
            Outcome::Paused => paused += 1,
            Outcome::Refused => refused += 1,
        }
    }
    assert!(
        edited > 1_000 && paused > 20 && refused > 500,
        "{edited} edited, {paused} of them paused beside, {refused} refused"
    );
}

#[test]
fn a_kill_leaves_any_layout_as_it_is() {
    for (stored, killed) in [
        (r#"{"enabled":true,"percentage":5}"#, r#"{"enabled":false,"percentage":5}"#),
        (r#"{"enabled": true , "percentage": 5}"#, r#"{"enabled": false , "percentage": 5}"#),
        (r#"{"enabled": true , "owner": "a"}"#, r#"{"enabled": false , "owner": "a", "percentage": 100}"#),
        ("{ \"percentage\" : 5\n, \"on\" :true }", "{ \"percentage\" : 5\n, \"on\" :false }"),
        ("{\n  \"on\": null\n, \"percentage\": 5\n}", "{\n  \"on\": false\n, \"percentage\": 5\n}"),
    ] {
        assert_eq!(Edit::new().set("enabled", false).apply(NAME, Some(stored), now()).unwrap(), killed);
    }
}

#[test]
fn an_empty_object_is_refused_for_what_it_lacks() {
    for stored in ["{}", "{ }", " {\n} "] {
        let problem = Edit::new().apply(NAME, Some(stored), now()).unwrap_err();
        assert!(problem.to_string().contains("expected the key \"enabled\", found none"), "{stored:?}: {problem}");
    }
}
