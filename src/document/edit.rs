//! Changing a stored flag without touching what the change does not name.

use std::collections::HashSet;

use serde::Serialize;
use serde_json::Value;

use super::definitions::Document;
use super::flag::Flag;
use super::name::FlagName;
use super::problem::{Problem, quoted};
use super::read::{Definition, Key, KnownKey, accepted_flag, flag_from_json, lookup, spelling_of};
use super::text::{Plain, members, position};
use super::timestamp::Timestamp;

/// A change of some keys of a stored flag, as JSON text.
///
/// 1. Keys that are not named stay as they are and as they are spelt, byte for byte, foreign keys
///    included. A named key is written in place of whichever spelling is there, and else at the end.
/// 2. `enabled` and the percentage in force are written out where they were left to their defaults
///    (the percentage not beside a `schedule`), so that other readers of the store go on
///    understanding it. In force is what was before the edit: taking the last list off a flag that
///    was for that list alone does not turn it on for everybody.
/// 3. Turning `enabled` off also sets `paused_at` to now if there is a schedule that is not paused yet:
///    the plan pauses with the flag. Turning it on again sets nothing else, unless `paused_at` lies
///    ahead, as written by a process whose clock runs ahead: it then becomes now, so that the plan stays
///    paused.
/// 4. What comes out is a flag that is accepted; otherwise the edit is refused and nothing changes.
///
/// ```
/// use tower_flags::document::Edit;
///
/// let now = "2026-12-01T09:00:00Z".parse().unwrap();
/// let stored = r#"{ "on": true, "rollout_percentage": 25.0, "rollout_stages": [ 1, 2 ] }"#;
/// let edited = Edit::new().set("percentage", 50).apply("search", Some(stored), now)?;
/// assert_eq!(edited, r#"{ "on": true, "rollout_percentage": 50, "rollout_stages": [ 1, 2 ] }"#);
///
/// let killed = Edit::new().set("enabled", false).apply("search", Some("true"), now)?;
/// assert_eq!(killed, r#"{"enabled":false,"percentage":100}"#);
/// # Ok::<(), tower_flags::Problem>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "an edit does nothing until it is applied"]
pub struct Edit {
    /// Keys as the caller spells them; `None` removes.
    changes: Vec<(String, Option<Plain>)>,
}

impl Edit {
    /// An edit without changes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a key, in any spelling that is read. `null`, which is also what numbers that JSON cannot
    /// say become, is refused when the edit is applied.
    pub fn set(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.changes.push((key.to_owned(), Some(value.into().into())));
        self
    }

    /// Sets a key to a value whose numbers keep their digits.
    #[cfg(feature = "admin")]
    pub(crate) fn set_plain(mut self, key: &str, value: Plain) -> Self {
        self.changes.push((key.to_owned(), Some(value)));
        self
    }

    /// Removes a key, whichever way it is spelt in the store.
    pub fn remove(mut self, key: &str) -> Self {
        self.changes.push((key.to_owned(), None));
        self
    }

    /// The stored text of flag `name` with the changes; `None` for a flag that is not there yet.
    ///
    /// # Errors
    ///
    /// The stored text is no JSON object, `true` or `false`, has a key twice, a change names an unknown
    /// key, or what comes out is no accepted flag.
    pub fn apply(&self, name: impl FlagName, stored: Option<&str>, now: Timestamp) -> Result<String, Problem> {
        let (name, edited) = (name.name(), self.text(name.name(), stored, now)?);
        // What an edit leaves as it is does not hold it up.
        if self.brings_patterns() {
            accepted_flag(Some(name), &edited)?;
        }
        Ok(edited)
    }

    /// Whether the edited text may have regular expressions that the stored one does not have.
    pub(crate) fn brings_patterns(&self) -> bool {
        self.names(Key::Rules)
    }

    fn names(&self, wanted: Key) -> bool {
        self.changes.iter().any(|(spelling, _)| matches!(lookup(spelling), KnownKey::Key(key) if key == wanted))
    }

    /// Like [`apply`](Self::apply), but compiles no regular expression, which takes a while.
    pub(crate) fn text(&self, name: &str, stored: Option<&str>, now: Timestamp) -> Result<String, Problem> {
        let mut text = Text::of(stored).map_err(|problem| problem.of_flag(name))?;
        let in_force = stored.and_then(|stored| flag_from_json(Some(name), stored).ok());
        for (spelling, value) in &self.changes {
            let KnownKey::Key(key) = lookup(spelling) else {
                return Err(Problem::new("a known key", quoted(spelling)).of_flag(name));
            };
            if *value == Some(Plain::Null) {
                let problem = Problem::new("a value", "null").with_help("a key is removed by `remove`");
                return Err(problem.of_flag(name).at_path(spelling));
            }
            text.put(key, value.as_ref().map(Plain::to_compact));
        }
        let was_on = in_force.as_ref().is_some_and(Flag::is_enabled);
        let in_force = in_force.filter(|_| !self.names(Key::Percentage)).map(|flag| flag.percentage_at(now));
        let switch = self.changes.iter().rev().find_map(|(spelling, value)| {
            matches!(lookup(spelling), KnownKey::Key(Key::Enabled)).then_some(value.as_ref())
        });
        let flag = flag_from_json(Some(name), &text.joined())?;
        let stops = match switch {
            Some(Some(Plain::Bool(false))) => {
                text.has(Key::Schedule) && !text.has(Key::PausedAt) || flag.pauses_after(now)
            }
            // A future pause of a flag that is on was written on purpose.
            Some(Some(Plain::Bool(true))) => !was_on && flag.pauses_after(now),
            _ => false,
        };
        if stops && !(self.names(Key::PausedAt) && text.has(Key::PausedAt)) {
            text.put(Key::PausedAt, Some(written(&now)));
        }
        if !text.has(Key::Enabled) {
            text.put(Key::Enabled, Some(written(&flag.is_enabled())));
        }
        if !text.has(Key::Schedule) && !text.has(Key::Percentage) {
            text.put(Key::Percentage, Some(written(&in_force.unwrap_or(flag.default_percentage()))));
        }
        let edited = text.joined();
        flag_from_json(Some(name), &edited)?;
        Ok(edited)
    }
}

/// The text of a flag with `enabled` off, where it is no accepted flag: the rest stays for whoever mends it. What
/// holds nothing that could be kept becomes `false`.
pub(crate) fn killed(name: &str, stored: &str) -> String {
    let off = Text::of(Some(stored)).map(|mut text| {
        text.put(Key::Enabled, Some(written(&false)));
        text.joined()
    });
    let is_off = |text: &String| {
        Document::from_texts([(name, text.as_bytes())])
            .is_ok_and(|document| document.flags.get(name).is_some_and(Definition::is_killed))
    };
    off.ok().filter(is_off).unwrap_or_else(|| "false".to_owned())
}

/// A JSON object in pieces: joined they are the text again.
#[derive(Debug)]
struct Text {
    members: Vec<Member>,
    /// From the end of the last member to the end of the object, `}` included.
    end: String,
}

#[derive(Debug)]
struct Member {
    /// Comma or brace, white space, the key and the colon, as written.
    before: String,
    key: String,
    value: String,
}

impl Text {
    fn of(stored: Option<&str>) -> Result<Self, Problem> {
        let stored = match stored.map(str::trim) {
            None => return Ok(Self { members: Vec::new(), end: "}".into() }),
            Some(switch @ ("true" | "false")) => {
                let member = Member { before: "{\"enabled\":".into(), key: "enabled".into(), value: switch.into() };
                return Ok(Self { members: vec![member], end: "}".into() });
            }
            Some(stored) => stored,
        };
        let Some(list) = members(stored).filter(|_| stored.starts_with('{')) else {
            return Err(Problem::new("a JSON object, true or false", quoted(stored)));
        };
        let mut at = 0;
        let mut pieces: Vec<Member> = Vec::with_capacity(list.len());
        let mut keys = HashSet::with_capacity(list.len());
        for (key, value) in list {
            if !keys.insert(key.clone()) {
                return Err(Problem::new("each key once", format!("{} twice", quoted(&key))));
            }
            let start = position(stored, value.get());
            pieces.push(Member {
                before: stored[at..start].to_owned(),
                key: key.into_owned(),
                value: value.get().to_owned(),
            });
            at = start + value.get().len();
        }
        let end = if pieces.is_empty() { "}" } else { &stored[at..] };
        Ok(Self { members: pieces, end: end.to_owned() })
    }

    fn position(&self, key: Key) -> Option<usize> {
        let is_it = |member: &Member| matches!(lookup(&member.key), KnownKey::Key(known) if known == key);
        // A spelling beside it that is null counts as absent.
        let is_set = |member: &Member| is_it(member) && member.value != "null";
        self.members.iter().position(is_set).or_else(|| self.members.iter().position(is_it))
    }

    fn has(&self, key: Key) -> bool {
        self.position(key).is_some_and(|at| self.members[at].value != "null")
    }

    /// Sets a key to a JSON text, or removes it.
    fn put(&mut self, key: Key, value: Option<String>) {
        match (self.position(key), value) {
            (Some(at), Some(value)) => self.members[at].value = value,
            (Some(at), None) => self.remove(at),
            (None, Some(value)) => self.append(spelling_of(key), value),
            (None, None) => {}
        }
    }

    fn remove(&mut self, at: usize) {
        let removed = self.members.remove(at);
        if at == 0 {
            match self.members.first_mut() {
                // What opened the object opens it still; the comma goes.
                Some(first) => {
                    let opening = opening(&removed.before).to_owned();
                    let key = first.before.trim_start().trim_start_matches(',').trim_start().to_owned();
                    first.before = opening + &key;
                }
                None => self.end = "}".into(),
            }
        }
    }

    /// Puts a member at the end, set off like the one before it.
    fn append(&mut self, key: &str, value: String) {
        let before = match self.members.last() {
            None => {
                self.end = "}".into();
                format!("{{\"{key}\":")
            }
            Some(last) => {
                let gap = &opening(&last.before)[1..];
                let colon = &last.before[last.before.rfind('"').map_or(0, |quote| quote + 1)..];
                format!(",{gap}\"{key}\"{colon}")
            }
        };
        self.members.push(Member { before, key: key.to_owned(), value });
    }

    fn joined(&self) -> String {
        let mut text = String::new();
        if self.members.is_empty() {
            text.push('{');
        }
        for member in &self.members {
            text.push_str(&member.before);
            text.push_str(&member.value);
        }
        text + &self.end
    }
}

fn written(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("values of flags are JSON")
}

/// What stands before the key: brace or comma, and white space.
fn opening(before: &str) -> &str {
    let before = before.trim_start();
    &before[..before.find('"').unwrap_or(before.len())]
}

impl Flag {
    /// The JSON text that stores this flag, with `enabled` and the percentage written out, so that
    /// other readers of the store understand it.
    #[must_use]
    pub fn to_stored(&self) -> String {
        let mut text = Text::of(serde_json::to_string(self).ok().as_deref())
            .unwrap_or(Text { members: Vec::new(), end: "}".into() });
        if !text.has(Key::Schedule) && !text.has(Key::Percentage) {
            text.put(Key::Percentage, Some(written(&self.default_percentage())));
        }
        text.joined()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-12-01T09:00:00Z".parse().unwrap()
    }

    fn edit(stored: &str, edit: &Edit) -> String {
        edit.apply("x", Some(stored), now()).unwrap()
    }

    #[test]
    fn keys_that_are_not_named_stay_byte_for_byte() {
        let stored = "{\n  \"on\" : true,\n  \"rollout_percentage\": 2.50e1,\n  \"metadata\": {\"b\":1.10, \"a\" : [ ] },\n  \"rollout_stages\": [{\"h\": 1.0}]\n}";
        assert_eq!(
            edit(stored, &Edit::new().set("enabled", false).set("owner", "ünal")),
            "{\n  \"on\" : false,\n  \"rollout_percentage\": 2.50e1,\n  \"metadata\": {\"b\":1.10, \"a\" : [ ] },\n  \"rollout_stages\": [{\"h\": 1.0}],\n  \"owner\": \"ünal\"\n}"
        );
        assert_eq!(
            edit(stored, &Edit::new().remove("percentage")),
            "{\n  \"on\" : true,\n  \"metadata\": {\"b\":1.10, \"a\" : [ ] },\n  \"rollout_stages\": [{\"h\": 1.0}],\n  \"percentage\": 100\n}"
        );
    }

    #[test]
    fn commas_may_stand_anywhere() {
        let killed = edit(r#"{"enabled": true , "owner": "a"}"#, &Edit::new().set("enabled", false));
        assert_eq!(killed, r#"{"enabled": false , "owner": "a", "percentage": 100}"#);
        let killed = edit("{ \"on\": true\n, \"owner\": \"a\"\n}", &Edit::new().set("enabled", false));
        assert_eq!(killed, "{ \"on\": false\n, \"owner\": \"a\", \"percentage\": 100\n}");
    }

    #[test]
    fn the_first_and_the_only_key_can_go() {
        let edited = edit("{ \"owner\": \"a\", \"enabled\": true, \"percentage\": 5 }", &Edit::new().remove("owner"));
        assert_eq!(edited, "{ \"enabled\": true, \"percentage\": 5 }");
        let edited = edit("{ \"enabled\": true }", &Edit::new().remove("enabled").set("percentage", 5));
        assert_eq!(edited, "{\"percentage\":5,\"enabled\":true}");
    }

    #[test]
    fn defaults_are_written_out() {
        assert_eq!(edit("true", &Edit::new()), r#"{"enabled":true,"percentage":100}"#);
        assert_eq!(
            edit(r#"{"users":["a"]}"#, &Edit::new().set("owner", "me")),
            r#"{"users":["a"],"owner":"me","enabled":true,"percentage":0}"#
        );
        let created = Edit::new().set("percentage", 12.5).apply("x", None, now()).unwrap();
        assert_eq!(created, r#"{"percentage":12.5,"enabled":true}"#);
        assert_eq!(Flag::on().to_stored(), r#"{"enabled":true,"percentage":100}"#);
    }

    #[test]
    fn who_gets_the_flag_changes_only_by_what_is_named() {
        let edited = edit(r#"{"users":["a"]}"#, &Edit::new().remove("allowed_users").set("enabled", true));
        assert_eq!(edited, r#"{"enabled":true,"percentage":0}"#);
        let edited = edit("true", &Edit::new().set("allowed_users", vec!["a"]));
        assert_eq!(edited, r#"{"enabled":true,"allowed_users":["a"],"percentage":100}"#);
        let stored = r#"{"enabled":true,"schedule":[{"at":"2026-12-01T00:00:00Z","percentage":5}]}"#;
        assert_eq!(edit(stored, &Edit::new().remove("schedule")), r#"{"enabled":true,"percentage":5}"#);
        let edited = edit(r#"{"enabled":true,"percentage":5}"#, &Edit::new().remove("percentage"));
        assert_eq!(edited, r#"{"enabled":true,"percentage":100}"#);
    }

    #[test]
    fn a_kill_pauses_the_schedule_and_a_restore_leaves_it_so() {
        let stored = r#"{"enabled":true,"schedule":[{"at":"2026-12-01T00:00:00Z","percentage":5}]}"#;
        let killed = edit(stored, &Edit::new().set("enabled", false));
        assert!(killed.ends_with(r#","paused_at":"2026-12-01T09:00:00Z"}"#), "{killed}");
        assert!(killed.starts_with(r#"{"enabled":false,"#), "{killed}");
        let restored = edit(&killed, &Edit::new().set("enabled", true));
        assert!(restored.ends_with(r#","paused_at":"2026-12-01T09:00:00Z"}"#), "{restored}");
        let earlier = r#"{"enabled":true,"schedule":[],"paused_at":"2026-11-01T00:00:00Z"}"#;
        assert!(edit(earlier, &Edit::new().set("enabled", false)).contains("2026-11-01"));
        let later = r#"{"enabled":false,"schedule":[],"paused_at":"2027-01-01T00:00:00Z"}"#;
        for enabled in [false, true] {
            assert!(
                edit(later, &Edit::new().set("enabled", enabled)).contains(r#""paused_at":"2026-12-01T09:00:00Z""#)
            );
        }
    }

    #[test]
    fn null_is_absent_and_an_alias_keeps_its_spelling() {
        let edited =
            edit(r#"{"enabled":true,"users":null,"percentage":1}"#, &Edit::new().set("allowed_users", vec!["a"]));
        assert_eq!(edited, r#"{"enabled":true,"users":["a"],"percentage":1}"#);
        let edited =
            edit(r#"{"enabled":true,"percentage":1,"rollout_percentage":null}"#, &Edit::new().set("percentage", 2));
        assert_eq!(edited, r#"{"enabled":true,"percentage":2,"rollout_percentage":null}"#);
    }

    #[test]
    fn what_would_not_be_accepted_is_refused() {
        let refused = |stored: &str, edit: Edit| edit.apply("x", Some(stored), now()).unwrap_err().to_string();
        assert_eq!(
            refused("true", Edit::new().set("percentage", 101)),
            "line 1, column 30: flag \"x\", percentage: expected a number from 0 to 100 with at most three decimals, found 101"
        );
        assert_eq!(refused("true", Edit::new().set("colour", 1)), "flag \"x\": expected a known key, found \"colour\"");
        assert_eq!(
            refused(r#"{"percentage":5}"#, Edit::new().set("percentage", f64::NAN)),
            "flag \"x\", percentage: expected a value, found null; a key is removed by `remove`"
        );
        assert_eq!(refused("[]", Edit::new()), "flag \"x\": expected a JSON object, true or false, found \"[]\"");
        assert_eq!(
            refused(r#"{"on":true,"on":false}"#, Edit::new()),
            "flag \"x\": expected each key once, found \"on\" twice"
        );
    }
}
