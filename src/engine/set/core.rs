//! The tables of a set, which hold whatever the time.

use std::sync::Arc;

use super::bits::Bits;
use super::hashed::Variants;
use super::identity::Identity;
use super::index::{Index, Place};
use super::joined_names::JoinedNames;
use super::patterns::Patterns;
use super::requires::Requirements;
use crate::document::{Definition, Flag, Problem, Regex, Texts};
use crate::engine::reason::Reason;

/// What a set holds whatever the time.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) identity: Identity,
    /// Why a name that is not here is off.
    pub(super) absent: Reason,
    /// In ascending byte order; a flag's number is its position.
    pub(super) names: Box<[Arc<str>]>,
    pub(super) joined_names: JoinedNames,
    pub(super) definitions: Box<[Definition]>,
    pub(super) by_name: Index,
    pub(super) users: Index,
    pub(super) groups: Index,
    /// Flags that require others, each after those it requires.
    pub(super) requirements: Requirements,
    pub(super) patterns: Patterns,
    /// Flags with variants, ascending; the position is the slot of the variant in the answers.
    pub(super) split: Box<[u32]>,
    /// The same flags.
    pub(super) with_variants: Bits,
    pub(super) variants: Variants,
    /// Flags that are switched off.
    pub(super) killed: Bits,
    pub(super) hidden: Bits,
    /// Whether another engine decides; the flags here are its names, variants and values.
    pub(super) is_of_engine: bool,
    pub(super) problems: Box<[Problem]>,
}

/// What the tables are built from.
#[derive(Default)]
pub(super) struct Tables {
    /// In ascending byte order.
    pub(super) names: Vec<Arc<str>>,
    pub(super) definitions: Vec<Definition>,
    pub(super) requirements: Requirements,
    pub(super) patterns: Patterns,
    pub(super) problems: Vec<Problem>,
}

impl Core {
    pub(super) fn build(tables: Tables, identity: Identity, absent: Reason, is_of_engine: bool) -> Self {
        let Tables { names, definitions, requirements, patterns, problems } = tables;
        let flags = |wanted: fn(&Flag) -> bool| {
            definitions.iter().zip(0_u32..).filter_map(move |(definition, number)| match definition {
                Definition::Good(flag) if wanted(flag) => Some((number, flag.as_ref())),
                _ => None,
            })
        };
        let index = |list: fn(&Flag) -> Option<&Texts>| {
            Index::build(flags(|flag| flag.enabled).flat_map(move |(flag, definition)| {
                list(definition)
                    .into_iter()
                    .flat_map(|texts| texts.iter().zip(0_u32..))
                    .map(move |(text, entry)| (Place { flag, entry }, text))
            }))
        };
        let by_name =
            Index::build(names.iter().zip(0_u32..).map(|(name, flag)| (Place { flag, entry: 0 }, name.as_ref())));
        let [mut killed, mut hidden, mut with_variants] = std::array::from_fn(|_| Bits::zero(names.len()));
        for (definition, number) in definitions.iter().zip(0_u32..) {
            if definition.is_killed() {
                killed.set(number);
            }
            if definition.is_hidden() {
                hidden.set(number);
            }
        }
        let varied = || flags(|flag| !flag.variants.is_empty());
        let split = varied().map(|(number, _)| number).collect();
        varied().for_each(|(number, _)| with_variants.set(number));
        // What is switched off keeps its slot and is not hashed.
        let hashed = (0..).zip(varied()).filter(|(_, (_, flag))| flag.enabled);
        let variants =
            Variants::new(hashed.map(|(slot, (number, flag))| (slot, names[number as usize].as_ref(), flag)));
        Self {
            by_name,
            users: index(|flag| flag.allowed_users.as_ref()),
            groups: index(|flag| flag.allowed_groups.as_ref()),
            requirements,
            patterns,
            split,
            with_variants,
            variants,
            killed,
            hidden,
            identity,
            absent,
            is_of_engine,
            problems: problems.into_boxed_slice(),
            joined_names: JoinedNames::of(&names),
            names: names.into_boxed_slice(),
            definitions: definitions.into_boxed_slice(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    #[inline]
    pub(super) fn number(&self, name: &str) -> Option<u32> {
        let candidates = self.by_name.candidates(name.as_bytes());
        candidates.iter().find(|place| *self.names[place.flag as usize] == *name).map(|place| place.flag)
    }

    pub(super) fn shared_flag(&self, name: &str) -> Option<&Arc<Flag>> {
        match &self.definitions[self.number(name)? as usize] {
            Definition::Good(flag) => Some(flag),
            Definition::Refused { .. } => None,
        }
    }

    /// The flags that have patterns, with these compiled.
    pub(super) fn compiled_patterns(&self) -> impl Iterator<Item = (&Flag, &[Arc<Regex>])> {
        self.patterns.iter().filter_map(|(number, compiled)| match &self.definitions[number as usize] {
            Definition::Good(flag) => Some((flag.as_ref(), compiled)),
            Definition::Refused { .. } => None,
        })
    }

    pub(super) fn name(&self, number: u32) -> &str {
        &self.names[number as usize]
    }

    pub(super) fn enabled_flags(&self) -> impl Iterator<Item = (u32, &Flag)> {
        self.definitions.iter().zip(0_u32..).filter_map(|(definition, number)| match definition {
            Definition::Good(flag) if flag.enabled => Some((number, flag.as_ref())),
            _ => None,
        })
    }

    /// Whether an enabled flag lists the user.
    pub(super) fn allows_user(&self, number: u32, user: &[u8]) -> bool {
        self.lists(&self.users, |flag| flag.allowed_users.as_ref(), number, user)
    }

    /// Whether an enabled flag lists the group.
    pub(super) fn allows_group(&self, number: u32, group: &[u8]) -> bool {
        self.lists(&self.groups, |flag| flag.allowed_groups.as_ref(), number, group)
    }

    fn lists(&self, index: &Index, list: fn(&Flag) -> Option<&Texts>, number: u32, text: &[u8]) -> bool {
        index.candidates(text).iter().any(|&place| place.flag == number && self.allows(list, place, text))
    }

    pub(super) fn allows(&self, list: fn(&Flag) -> Option<&Texts>, place: Place, text: &[u8]) -> bool {
        match &self.definitions[place.flag as usize] {
            Definition::Good(flag) => {
                list(flag).is_some_and(|texts| texts.get(place.entry as usize).as_bytes() == text)
            }
            Definition::Refused { .. } => false,
        }
    }
}
