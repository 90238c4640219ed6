//! From definitions back to canonical JSON.

use serde::ser::{Serialize, SerializeMap, Serializer};

use super::clause::{Clause, Patterns, Scalar, Test, TextOperator};
use super::definitions::Document;
use super::flag::{Flag, Requirement, Rule, Serve, Variant};
use super::pattern::Pattern;
use super::read::{Definition, Key, spelling_of};
use super::texts::Texts;

/// The canonical object: canonical spellings, `enabled` always, other keys where they are set.
impl Serialize for Flag {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        let mut entry = Entries { map: &mut map };
        entry.some(Key::Enabled, &Some(self.enabled))?;
        entry.some(Key::Percentage, &self.percentage)?;
        entry.some(Key::AllowedUsers, &self.allowed_users)?;
        entry.some(Key::AllowedGroups, &self.allowed_groups)?;
        let rules: Option<Vec<_>> =
            self.rules.as_ref().map(|rules| rules.iter().map(|rule| InFlag { part: rule, flag: self }).collect());
        entry.some(Key::Rules, &rules)?;
        entry.set(Key::Requires, !self.requires.is_empty(), &self.requires)?;
        entry.some(Key::Schedule, &self.schedule.as_ref().map(|schedule| &schedule.steps))?;
        entry.some(Key::PausedAt, &self.schedule.as_ref().and_then(|schedule| schedule.paused_at))?;
        entry.some(Key::BucketBy, &self.bucket_by)?;
        entry.set(Key::Variants, !self.variants.is_empty(), &Variants(&self.variants))?;
        entry.set(Key::Bucketing, self.bucketing != super::Scheme::default(), &self.bucketing)?;
        entry.some(Key::Salt, &self.salt)?;
        entry.set(Key::Overridable, self.overridable, &self.overridable)?;
        entry.set(Key::Hidden, self.hidden, &self.hidden)?;
        entry.set(Key::Kind, self.kind != super::Kind::default(), &self.kind)?;
        let bookkeeping = &self.bookkeeping;
        entry.some(Key::Owner, &bookkeeping.owner)?;
        entry.some(Key::Ticket, &bookkeeping.ticket)?;
        entry.some(Key::Description, &bookkeeping.description)?;
        entry.set(Key::Tags, !bookkeeping.tags.is_empty(), &bookkeeping.tags)?;
        entry.some(Key::CreatedAt, &bookkeeping.created_at)?;
        entry.some(Key::ExpiresAt, &bookkeeping.expires_at)?;
        entry.some(Key::Metadata, &bookkeeping.metadata)?;
        map.end()
    }
}

struct Entries<'a, M> {
    map: &'a mut M,
}

impl<M: SerializeMap> Entries<'_, M> {
    fn some<T: Serialize>(&mut self, key: Key, part: &Option<T>) -> Result<(), M::Error> {
        match part {
            Some(part) => self.set(key, true, part),
            None => Ok(()),
        }
    }

    fn set<T: Serialize>(&mut self, key: Key, is_set: bool, part: &T) -> Result<(), M::Error> {
        if is_set { self.map.serialize_entry(spelling_of(key), part) } else { Ok(()) }
    }
}

/// A part that needs its flag to be written: rules name variants by number.
struct InFlag<'a, T> {
    part: &'a T,
    flag: &'a Flag,
}

impl Serialize for InFlag<'_, Rule> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("when", &self.part.when)?;
        map.serialize_entry("serve", &InFlag { part: &self.part.serve, flag: self.flag })?;
        map.end()
    }
}

impl Serialize for InFlag<'_, Serve> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.part {
            Serve::On => serializer.serialize_bool(true),
            Serve::Off => serializer.serialize_bool(false),
            Serve::Variant(number) => serializer.serialize_str(&self.flag.variants[usize::from(*number)].name),
            Serve::Percentage(percentage) => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("percentage", percentage)?;
                map.end()
            }
        }
    }
}

impl Serialize for Clause {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("attribute", &self.attribute)?;
        map.serialize_entry("op", &self.operator_name())?;
        match &self.test {
            Test::Equals(values) => map.serialize_entry("values", values)?,
            Test::Text(TextOperator::Contains | TextOperator::StartsWith | TextOperator::EndsWith, values) => {
                map.serialize_entry("values", values)?;
            }
            Test::Matches(Patterns { patterns, .. }) => {
                map.serialize_entry("values", &patterns.iter().map(Pattern::as_str).collect::<Vec<_>>())?;
            }
            Test::Number(_, values) => map.serialize_entry("values", values)?,
            Test::Version(_, values) => {
                map.serialize_entry("values", &values.iter().map(ToString::to_string).collect::<Vec<_>>())?;
            }
            Test::Timestamp(_, values) => map.serialize_entry("values", values)?,
            Test::Exists => {}
        }
        map.end()
    }
}

impl Serialize for Scalar {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Number(value) => value.serialize(serializer),
            Self::Text(value) => serializer.serialize_str(value),
        }
    }
}

impl Serialize for Texts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl Serialize for Requirement {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.variant {
            None => serializer.serialize_str(&self.flag),
            Some(variant) => serializer.collect_map([(&self.flag, variant)]),
        }
    }
}

struct Variants<'a>(&'a [Variant]);

impl Serialize for Variants<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|variant| (&variant.name, variant)))
    }
}

impl Serialize for Variant {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.value {
            None => self.weight.serialize(serializer),
            Some(value) => {
                let mut map = serializer.serialize_map(Some(2))?;
                map.serialize_entry("weight", &self.weight)?;
                map.serialize_entry("value", value)?;
                map.end()
            }
        }
    }
}

/// `{"flags": {...}}` with the canonical object of every usable flag. A refused flag that is killed
/// is written as `false`; other refused flags are left out.
impl Serialize for Document {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        struct Flags<'a>(&'a Document);
        impl Serialize for Flags<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut map = serializer.serialize_map(None)?;
                for (name, definition) in &self.0.flags {
                    match definition {
                        Definition::Good(flag) => map.serialize_entry(name, flag)?,
                        Definition::Refused { is_killed: true, .. } => map.serialize_entry(name, &false)?,
                        Definition::Refused { is_killed: false, .. } => {}
                    }
                }
                map.end()
            }
        }
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry("flags", &Flags(self))?;
        map.end()
    }
}
