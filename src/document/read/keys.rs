//! The keys of a flag, their other spellings, and the keys that are only carried along.

use crate::document::problem::{Problem, quoted};

/// A key of a flag, whichever way it is spelt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key {
    Enabled,
    Percentage,
    AllowedUsers,
    AllowedGroups,
    Rules,
    Requires,
    Schedule,
    PausedAt,
    BucketBy,
    Variants,
    Bucketing,
    Salt,
    Overridable,
    Hidden,
    Kind,
    Name,
    Owner,
    Ticket,
    Description,
    Tags,
    CreatedAt,
    ExpiresAt,
    Metadata,
}

/// Every spelling; the canonical one of a key comes first.
const SPELLINGS: [(&str, Key); 29] = [
    ("enabled", Key::Enabled),
    ("on", Key::Enabled),
    ("percentage", Key::Percentage),
    ("rollout_percentage", Key::Percentage),
    ("allowed_users", Key::AllowedUsers),
    ("users", Key::AllowedUsers),
    ("enabled_for_users", Key::AllowedUsers),
    ("allowed_groups", Key::AllowedGroups),
    ("rules", Key::Rules),
    ("requires", Key::Requires),
    ("schedule", Key::Schedule),
    ("paused_at", Key::PausedAt),
    ("bucket_by", Key::BucketBy),
    ("variants", Key::Variants),
    ("bucketing", Key::Bucketing),
    ("salt", Key::Salt),
    ("overridable", Key::Overridable),
    ("hidden", Key::Hidden),
    ("kind", Key::Kind),
    ("type", Key::Kind),
    ("name", Key::Name),
    ("owner", Key::Owner),
    ("ticket", Key::Ticket),
    ("jira_ticket", Key::Ticket),
    ("description", Key::Description),
    ("tags", Key::Tags),
    ("created_at", Key::CreatedAt),
    ("expires_at", Key::ExpiresAt),
    ("metadata", Key::Metadata),
];

/// Keys that other writers of the same store use: carried along, never interpreted.
const FOREIGN: [&str; 5] = ["rollout_stages", "rollout_started", "current_stage", "stage_started", "rolled_back_at"];

/// What a key of a flag object is.
pub(crate) enum KnownKey {
    Key(Key),
    Foreign,
    /// With the nearest known spelling, where one is near.
    Unknown(Option<&'static str>),
}

pub(crate) fn lookup(spelling: &str) -> KnownKey {
    if let Some((_, key)) = SPELLINGS.iter().find(|(known, _)| *known == spelling) {
        return KnownKey::Key(*key);
    }
    if FOREIGN.contains(&spelling) {
        return KnownKey::Foreign;
    }
    KnownKey::Unknown(nearest(spelling, SPELLINGS.iter().map(|(known, _)| *known).chain(FOREIGN)))
}

/// The canonical spelling of a key.
pub(crate) fn spelling_of(key: Key) -> &'static str {
    SPELLINGS.iter().find(|(_, known)| *known == key).map_or("", |(spelling, _)| spelling)
}

/// The canonical spelling of a key that is read, in any spelling.
#[cfg(feature = "admin")]
pub(crate) fn canonical_key(spelling: &str) -> Option<&'static str> {
    match lookup(spelling) {
        KnownKey::Key(key) => Some(spelling_of(key)),
        _ => None,
    }
}

/// Whether it is one of the keys that are carried along and never interpreted.
#[cfg(feature = "admin")]
pub(crate) fn is_foreign_key(spelling: &str) -> bool {
    matches!(lookup(spelling), KnownKey::Foreign)
}

/// The candidate with the fewest edits to `word`, if at most a third of it has to change.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > 64 {
        return None;
    }
    candidates
        .into_iter()
        // So many edits at least, without looking further.
        .filter(|candidate| word.len().abs_diff(candidate.len()) * 3 <= candidate.len().max(word.len()))
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, candidate)| distance * 3 <= candidate.len().max(word.len()))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

pub(crate) const NAME_PATTERN: &str =
    "a name of 1 to 128 characters A-Z, a-z, 0-9, '.', '_' and '-' that starts with a letter or digit";

/// A flag cannot have this name.
pub(crate) fn not_a_name(name: &str) -> Problem {
    Problem::new(NAME_PATTERN, quoted(name)).of_flag(name)
}

/// Whether a text can name a flag or a variant: `[A-Za-z0-9][A-Za-z0-9._-]{0,127}`.
pub(crate) fn is_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() <= 128
        && bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_key_is_named_only_when_it_is_near() {
        assert_eq!(nearest("percentge", ["percentage", "owner"]), Some("percentage"));
        assert_eq!(nearest("colour", ["percentage", "owner"]), None);
        assert!(matches!(lookup("rollout_pct"), KnownKey::Unknown(_)));
        assert!(matches!(lookup("rolled_back_at"), KnownKey::Foreign));
    }

    #[test]
    fn names_are_plain_ascii() {
        for name in ["a", "0", "A.b_c-d", &"x".repeat(128)] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", "-a", ".a", "_a", "a b", "a,b", "名前", "a\r\n", &"x".repeat(129)] {
            assert!(!is_name(name), "{name}");
        }
    }
}
