//! What the keys of one flag hold, and what definition that makes.

use std::borrow::Cow;

use redis::Value;

use super::connection::{bytes_of, text_of};
use crate::document::{Edit, Flag, MAX_FLAG, Percentage, Timestamp, flag_from_json};

/// What one key holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum KeyContent {
    #[default]
    Nothing,
    /// A text of this length; one that is longer than a flag may be is not here in full.
    Text { length: usize, bytes: Vec<u8> },
    /// A value of another type, by the type's name.
    Other(String),
}

impl KeyContent {
    /// From the answers to `TYPE`, `STRLEN` and `GETRANGE` up to one byte more than a flag may have; `None` where
    /// they do not go together.
    pub(super) fn of(kind: &Value, length: &Value, bytes: &Value) -> Option<Self> {
        Some(match (text_of(kind)?, length, bytes_of(bytes)) {
            ("none", Value::Int(0), Some(b"")) => Self::Nothing,
            ("string", Value::Int(length), Some(bytes)) => {
                let length =
                    usize::try_from(*length).ok().filter(|length| bytes.len() == (MAX_FLAG + 1).min(*length))?;
                Self::Text { length, bytes: bytes.to_vec() }
            }
            ("none" | "string", ..) => return None,
            (other, ..) => Self::Other(other.to_owned()),
        })
    }

    pub(super) fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Text { bytes, .. } => Some(bytes),
            _ => None,
        }
    }

    pub(super) fn is_something(&self) -> bool {
        *self != Self::Nothing
    }

    /// Whether it is a text longer than a flag may be: how long.
    pub(super) fn too_long(&self) -> Option<usize> {
        match self {
            Self::Text { length, .. } if *length > MAX_FLAG => Some(*length),
            _ => None,
        }
    }

    /// As a plain switch.
    pub(super) fn switch(&self) -> Switch {
        match self {
            Self::Nothing => Switch::None,
            // What is on for us is on for those who compare it with `true`; what looks off to anybody is off.
            Self::Text { bytes, .. } if bytes == b"true" => Switch::On,
            Self::Text { bytes, .. } if bytes.trim_ascii().eq_ignore_ascii_case(b"false") => Switch::Off,
            Self::Text { .. } | Self::Other(_) => Switch::Odd,
        }
    }
}

/// What a plain switch says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Switch {
    None,
    On,
    Off,
    /// Neither `true` nor `false`.
    Odd,
}

/// Both keys of one flag.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) flag: KeyContent,
    pub(super) switch: KeyContent,
}

impl Pair {
    /// The definition that both make, for editing: the flag's own, off where the switch is; else the switch.
    /// `None` where nothing is there.
    pub(super) fn definition(&self, name: &str) -> Option<String> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match (self.flag.bytes(), self.switch.switch()) {
            (Some(bytes), Switch::Off) => Some(switched_off(name, &text(bytes))),
            (Some(bytes), _) => Some(text(bytes)),
            (None, Switch::On) => Some("true".to_owned()),
            (None, Switch::Off) => Some("false".to_owned()),
            (None, _) => self.switch.bytes().map(text),
        }
    }

    /// What the switch has to say from now on beside this definition.
    pub(super) fn switch_beside(&self, name: &str, definition: Option<&str>) -> SwitchTo {
        let now = self.switch.switch();
        let Some(definition) = definition else {
            return if now == Switch::None { SwitchTo::Stays } else { SwitchTo::Goes };
        };
        let flag = flag_from_json(Some(name), definition).ok();
        match (now, flag) {
            (Switch::None, _) | (_, None) => SwitchTo::Stays,
            (_, Some(flag)) if !flag.is_enabled() => SwitchTo::Becomes("false"),
            (_, Some(flag)) if is_on_for_everybody(&flag) => SwitchTo::Becomes("true"),
            // On for some: who reads switches alone goes on as before, but nobody is switched on by that.
            (Switch::On, Some(_)) => SwitchTo::Stays,
            (Switch::Off | Switch::Odd, Some(_)) => SwitchTo::Goes,
        }
    }
}

/// What becomes of a plain switch with an edit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SwitchTo {
    Stays,
    Becomes(&'static str),
    Goes,
}

/// The definition with `enabled` off and everything else as it is: what somebody means who switches it off
/// elsewhere. A schedule runs on, as with every change by hand. What is no flag stays as it is.
fn switched_off(name: &str, text: &str) -> String {
    let Ok(flag) = flag_from_json(Some(name), text) else { return text.to_owned() };
    if !flag.is_enabled() {
        return text.to_owned();
    }
    // The instant is written only if a schedule pauses, and is removed again below. No pause lies after the last instant.
    let off = Edit::new().set("enabled", false).apply(name, Some(text), Timestamp::MAX);
    let off = match off {
        Ok(off) if flag.schedule.as_ref().is_some_and(|schedule| schedule.paused_at.is_none()) => {
            Edit::new().remove("paused_at").apply(name, Some(&off), Timestamp::MAX)
        }
        off => off,
    };
    off.unwrap_or_else(|_| text.to_owned())
}

/// Whether it is the same for everybody, at every time, whatever other flags say.
fn is_on_for_everybody(flag: &Flag) -> bool {
    flag.is_enabled()
        && flag.schedule.is_none()
        && flag.requires().next().is_none()
        && flag.rules().is_empty()
        && flag.percentage_at(Timestamp::MIN) == Percentage::HUNDRED
}

/// A type's name with its article.
pub(super) fn a(kind: &str) -> Cow<'_, str> {
    match kind {
        "zset" => Cow::Borrowed("a sorted set"),
        "ReJSON-RL" => Cow::Borrowed("a value of the JSON module"),
        other => Cow::Owned(format!("a {other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(text: &str) -> KeyContent {
        if text.is_empty() {
            return KeyContent::Nothing;
        }
        KeyContent::Text { length: text.len(), bytes: text.as_bytes().to_vec() }
    }

    fn pair(flag: &str, switch: &str) -> Pair {
        Pair { flag: held(flag), switch: held(switch) }
    }

    #[test]
    fn on_is_what_others_read_as_on_and_off_what_anybody_may() {
        let switch = |text: &str| held(text).switch();
        assert_eq!((switch("true"), switch("")), (Switch::On, Switch::None));
        for off in ["false", "False", "FALSE\n", " false "] {
            assert_eq!(switch(off), Switch::Off, "{off:?}");
        }
        for odd in ["True", "true\n", "1", "0", "on", "{\"enabled\":true}"] {
            assert_eq!(switch(odd), Switch::Odd, "{odd:?}");
        }
        assert_eq!(KeyContent::Other("hash".to_owned()).switch(), Switch::Odd);
    }

    #[test]
    fn answers_of_different_moments_do_not_go_together() {
        let of = |kind: &str, length: i64, bytes: &str| {
            KeyContent::of(&Value::SimpleString(kind.to_owned()), &Value::Int(length), &Value::BulkString(bytes.into()))
        };
        assert_eq!((of("none", 0, ""), of("string", 2, "ab")), (Some(KeyContent::Nothing), Some(held("ab"))));
        assert_eq!(of("hash", 0, ""), Some(KeyContent::Other("hash".to_owned())));
        for (kind, length, bytes) in [("none", 2, ""), ("none", 0, "ab"), ("string", 2, "abc"), ("string", 0, "a")] {
            assert_eq!(of(kind, length, bytes), None, "{kind} {length} {bytes:?}");
        }
    }

    #[test]
    fn the_definition_decides_and_a_switch_that_is_off_keeps_its_settings() {
        let definition = |flag, switch| pair(flag, switch).definition("x");
        let ten = r#"{"enabled": true, "percentage": 10, "rollout_stages": [1]}"#;
        assert_eq!(definition("", ""), None);
        assert_eq!(definition("", "true").as_deref(), Some("true"));
        assert_eq!(definition("", "False\n").as_deref(), Some("false"));
        assert_eq!(definition("", "on").as_deref(), Some("on"));
        for switch in ["", "true", "on"] {
            assert_eq!(definition(ten, switch).as_deref(), Some(ten), "{switch:?}");
        }
        let off = r#"{"enabled": false, "percentage": 10, "rollout_stages": [1]}"#;
        assert_eq!(
            definition(r#"{"enabled": true, "percentage": 10, "rollout_stages": [1]}"#, "false").as_deref(),
            Some(off)
        );
        assert_eq!(definition(off, "false").as_deref(), Some(off), "as it is written");
        assert_eq!(definition("{\"ena", "false").as_deref(), Some("{\"ena"));
    }

    #[test]
    fn a_switch_that_is_off_stops_no_schedule() {
        let steps = r#""schedule": [{"at": "2026-12-01T00:00:00Z", "percentage": 5}]"#;
        let off = pair(&format!(r#"{{"enabled": true, {steps}}}"#), "false").definition("x");
        assert_eq!(off.unwrap(), format!(r#"{{"enabled": false, {steps}}}"#));
        let paused = format!(r#"{{"enabled": true, {steps}, "paused_at": "2026-12-02T00:00:00Z"}}"#);
        let off = pair(&paused, "false").definition("x");
        assert_eq!(off.unwrap(), paused.replace("true", "false"));
    }

    #[test]
    fn a_switch_follows_the_definition_and_switches_nobody_on_who_is_not_meant() {
        let beside = |switch: &str, definition: Option<&str>| pair("true", switch).switch_beside("x", definition);
        let (off, all) = (Some(r#"{"enabled": false}"#), Some(r#"{"enabled": true, "percentage": 100}"#));
        for definition in [off, all, None, Some("true")] {
            assert_eq!(beside("", definition), SwitchTo::Stays, "none is made");
        }
        for switch in ["true", "false", "odd"] {
            assert_eq!(beside(switch, off), SwitchTo::Becomes("false"));
            assert_eq!(beside(switch, all), SwitchTo::Becomes("true"));
            assert_eq!(beside(switch, None), SwitchTo::Goes);
        }
        for some in [
            r#"{"percentage": 99.999}"#,
            r#"{"allowed_users": ["a"]}"#,
            r#"{"percentage": 100, "requires": ["y"]}"#,
            r#"{"percentage": 100, "rules": [{"when": [{"attribute": "a", "op": "exists"}], "serve": false}]}"#,
            r#"{"enabled": true, "schedule": [{"at": "2026-12-01T00:00:00Z", "percentage": 100}]}"#,
        ] {
            assert_eq!(beside("true", Some(some)), SwitchTo::Stays, "{some}");
            assert_eq!(beside("false", Some(some)), SwitchTo::Goes, "{some}");
        }
    }
}
