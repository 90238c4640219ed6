//! A whole document: its frame, its limits, and each flag by itself.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::flag::{self, FlagReading, MAX_FLAG};
use super::keys::{is_name, nearest, not_a_name};
use super::parts::{LocatedProblem, Reading, located};
use crate::document::flag::Flag;
use crate::document::problem::{Place, Problem, Severity, quoted};
use crate::document::text::{self, Node, View};

/// Most bytes of a document.
pub(crate) const MAX_DOCUMENT: usize = 4 * 1024 * 1024;
/// Most flags of a document.
pub(crate) const MAX_FLAGS: usize = 10_000;
/// Most bytes of all texts of a set, where each flag has its own.
const MAX_TEXTS: usize = 64 * 1024 * 1024;
/// Most bytes of all texts that are looked at: those beyond [`MAX_TEXTS`] are refused, but a kill among them is taken.
#[cfg(any(feature = "postgres", feature = "redis", feature = "sqlite"))]
pub(crate) const MAX_LOOKED_AT: usize = 2 * MAX_TEXTS;

/// The formats a document is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Json,
    #[cfg(feature = "file")]
    Toml,
}

/// What a document says of one flag.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Definition {
    Good(Arc<Flag>),
    /// Not usable; `is_killed` when it legibly says that the flag is off, `is_hidden` when it says that
    /// clients are not to be told of it.
    Refused {
        is_killed: bool,
        is_hidden: bool,
    },
}

/// Definitions by name.
type Flags = BTreeMap<Arc<str>, Definition>;

/// What a document comes to.
#[derive(Debug, Default)]
pub(crate) struct DocumentReading {
    pub(crate) flags: Flags,
    pub(crate) problems: Vec<Problem>,
    /// Where the flags stand that require others or have patterns: only a set tells whether they can.
    pub(crate) places: BTreeMap<Arc<str>, Place>,
}

/// The same before offsets are turned into lines.
#[derive(Default)]
struct OffsetProblem {
    flags: Flags,
    problems: Vec<LocatedProblem>,
    places: Vec<(Arc<str>, usize)>,
}

/// Reads a document. Errors are those that refuse it as a whole.
pub(crate) fn read(text: &str, format: Format) -> Result<DocumentReading, Problem> {
    if text.len() > MAX_DOCUMENT {
        let found = format!("one of {}", text.len());
        return Err(Problem::new(format!("a document of at most {MAX_DOCUMENT} bytes"), found));
    }
    match format {
        Format::Json => read_root(&text::json(text)?),
        #[cfg(feature = "file")]
        Format::Toml => read_root(&text::TomlDocument::parse(text)?.root().into()),
    }
    .map(|unplaced| unplaced.placed_in(text))
    .map_err(|LocatedProblem { problem, offset }| problem.at_offset(text, offset))
}

/// The text of one flag, as a store has given it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Raw<'a> {
    Text(&'a [u8]),
    /// A text of this length that was left where it is: it is longer than a flag may be, or there are too many.
    #[cfg_attr(
        not(any(feature = "postgres", feature = "redis", feature = "sqlite")),
        expect(dead_code, reason = "other stores have all texts in memory")
    )]
    Unread(usize),
}

/// Reads flags each of which has a text of its own, in JSON. Only too many of them refuse all.
pub(crate) fn read_each<'a>(flags: impl IntoIterator<Item = (&'a str, Raw<'a>)>) -> Result<DocumentReading, Problem> {
    let flags: Vec<(&str, Raw<'_>)> = flags.into_iter().collect();
    let is_too_much = beyond_texts(&flags);
    let mut reading = DocumentReading::default();
    for ((name, raw), is_too_much) in flags.into_iter().zip(is_too_much) {
        if reading.flags.len() >= MAX_FLAGS {
            return Err(Problem::new(format!("at most {MAX_FLAGS} flags"), "more").at_path("flags"));
        }
        let DocumentReading { flags, problems, places } = match raw {
            Raw::Text(bytes) if is_too_much => read_switches(name, bytes),
            Raw::Text(bytes) => read_one(name, bytes).unwrap_or_else(|problem| refused(name, problem, false, false)),
            Raw::Unread(length) if length > MAX_FLAG => refused(name, too_long(length), false, false),
            Raw::Unread(length) => refused(name, one_too_many(length), false, false),
        };
        reading.problems.extend(problems);
        for (name, definition) in flags {
            // As in one document: which of the two was meant nobody can say, but a kill among them is taken.
            let definition = match reading.flags.get(&name) {
                None => definition,
                Some(first) => {
                    let problem = Problem::new("each flag once", format!("{} twice", quoted(&name)));
                    reading.problems.push(problem.of_flag(&name));
                    Definition::Refused {
                        is_killed: definition.is_killed() || first.is_killed(),
                        is_hidden: definition.is_hidden() || first.is_hidden(),
                    }
                }
            };
            reading.flags.insert(name, definition);
        }
        reading.places.extend(places);
    }
    reading.problems.sort_by_key(|problem| problem.severity == Severity::Warning);
    Ok(reading)
}

/// The texts that do not fit into [`MAX_TEXTS`].
fn beyond_texts(flags: &[(&str, Raw<'_>)]) -> Vec<bool> {
    let length = |raw: &Raw<'_>| match raw {
        Raw::Text(bytes) if bytes.len() <= MAX_FLAG => bytes.len(),
        // Nothing of them is kept.
        Raw::Text(_) | Raw::Unread(_) => 0,
    };
    let lengths: Vec<(&str, usize)> = flags.iter().map(|(name, raw)| (*name, length(raw))).collect();
    beyond(&lengths, MAX_TEXTS)
}

/// For each text, by name and length, whether it does not fit into `most` bytes: the shortest texts come first.
pub(crate) fn beyond(texts: &[(&str, usize)], most: usize) -> Vec<bool> {
    let mut is_beyond = vec![false; texts.len()];
    if texts.iter().map(|(_, length)| length).sum::<usize>() > most {
        let mut shortest_first: Vec<usize> = (0..texts.len()).collect();
        shortest_first.sort_by_key(|&at| (texts[at].1, texts[at].0));
        let mut together = 0;
        for at in shortest_first {
            together += texts[at].1;
            is_beyond[at] = together > most;
        }
    }
    is_beyond
}

/// A flag of which nothing is used, except that it is switched off or hidden.
fn refused(name: &str, problem: Problem, is_killed: bool, is_hidden: bool) -> DocumentReading {
    let refused = Definition::Refused { is_killed, is_hidden };
    let flags = is_name(name).then(|| (Arc::from(name), refused)).into_iter().collect();
    DocumentReading { flags, problems: vec![problem.of_flag(name)], places: BTreeMap::new() }
}

fn too_long(length: usize) -> Problem {
    Problem::new(format!("a flag of at most {MAX_FLAG} bytes"), format!("one of {length}"))
}

fn one_too_many(length: usize) -> Problem {
    let expected = format!("definitions of at most {MAX_TEXTS} bytes together");
    Problem::new(expected, format!("{length} bytes of this one beside those of the others"))
        .with_help("shorter definitions come before longer ones")
}

/// A flag for which there is no room.
fn read_switches(name: &str, bytes: &[u8]) -> DocumentReading {
    let read = read_one(name, bytes).unwrap_or_default();
    let (is_killed, is_hidden) = read
        .flags
        .values()
        .next()
        .map(|definition| (definition.is_killed(), definition.is_hidden()))
        .unwrap_or_default();
    refused(name, one_too_many(bytes.len()), is_killed, is_hidden)
}

/// Bytes as text, or where they are none.
pub(crate) fn utf_8(bytes: &[u8]) -> Result<&str, Problem> {
    std::str::from_utf8(bytes).map_err(|error| {
        let valid = error.valid_up_to();
        let before = std::str::from_utf8(&bytes[..valid]).unwrap_or_default();
        Problem::new("UTF-8", format!("the byte 0x{:02x}", bytes[valid])).at_offset(before, valid)
    })
}

/// A flag in a text of its own; an error is one that nothing of it can be read for.
fn read_one(name: &str, bytes: &[u8]) -> Result<DocumentReading, Problem> {
    if bytes.len() > MAX_FLAG {
        return Err(too_long(bytes.len()));
    }
    let text = utf_8(bytes)?;
    let node = text::json(text)?;
    Ok(read_flags(vec![(Cow::Borrowed(name), node)]).placed_in(text))
}

fn read_root(root: &Node<'_>) -> Reading<OffsetProblem> {
    let View::Map(members) = root.view() else {
        return Err(located(root, Problem::new("an object with the key \"flags\"", root.kind())));
    };
    let (mut flags, mut has_schema) = (None, false);
    for (key, node) in members {
        match key.as_ref() {
            "flags" if flags.is_none() => flags = Some(node),
            "$schema" if !has_schema => has_schema = true,
            "flags" | "$schema" => {
                let problem = Problem::new("each key once", format!("{} twice", quoted(&key)));
                return Err(located(&node, problem.at_path(key)));
            }
            other => {
                let mut problem = Problem::new("only the keys flags and $schema", quoted(other));
                problem = match nearest(other, ["flags", "$schema"]) {
                    Some(near) => problem.with_help(format!("did you mean {near:?}?")),
                    None => problem.with_help("flags stand under the key \"flags\""),
                };
                return Err(located(&node, problem));
            }
        }
    }
    let Some(flags) = flags else {
        return Err(located(root, Problem::new("an object with the key \"flags\"", root.kind())));
    };
    let View::Map(members) = flags.view() else {
        let problem = Problem::new("an object from names to flags", flags.kind()).at_path("flags");
        return Err(located(&flags, problem));
    };
    if members.len() > MAX_FLAGS {
        let problem = Problem::new(format!("at most {MAX_FLAGS} flags"), members.len().to_string());
        return Err(located(&flags, problem.at_path("flags")));
    }
    Ok(read_flags(members))
}

fn read_flags(members: Vec<(Cow<'_, str>, Node<'_>)>) -> OffsetProblem {
    let OffsetProblem { flags: mut definitions, mut problems, mut places } = OffsetProblem::default();
    let mut seen = HashSet::new();
    for (name, node) in members {
        let is_first = seen.insert(name.clone());
        if is_first && node.is_null() {
            continue;
        }
        if !is_name(&name) {
            problems.push(located(&node, not_a_name(&name)));
            continue;
        }
        let FlagReading { flag, is_killed, is_hidden, errors, warnings } = flag::read(Some(&name), &node);
        let mut add = |mut located: LocatedProblem| {
            located.problem = located.problem.of_flag(&name);
            problems.push(located);
        };
        errors.into_iter().chain(warnings).for_each(&mut add);
        let definition = match flag {
            Some(flag) if is_first => Definition::Good(Arc::new(flag)),
            None if is_first => Definition::Refused { is_killed, is_hidden },
            // Which of the two was meant nobody can say, but a kill among them is taken.
            _ => {
                add(located(&node, Problem::new("each flag once", format!("{} twice", quoted(&name)))));
                let first = definitions.get(name.as_ref());
                Definition::Refused {
                    is_killed: is_killed || first.is_some_and(Definition::is_killed),
                    is_hidden: is_hidden || first.is_some_and(Definition::is_hidden),
                }
            }
        };
        let name: Arc<str> = Arc::from(name.as_ref());
        if matches!(&definition, Definition::Good(flag) if !flag.requires.is_empty() || flag.has_patterns()) {
            places.push((Arc::clone(&name), node.offset()));
        }
        definitions.insert(name, definition);
    }
    OffsetProblem { flags: definitions, problems, places }
}

impl OffsetProblem {
    fn placed_in(self, text: &str) -> DocumentReading {
        let Self { flags, problems, mut places } = self;
        places.sort_by_key(|(_, offset)| *offset);
        let mut walk = Walk::over(text);
        let places = places.into_iter().map(|(name, offset)| (name, walk.to(offset))).collect();
        DocumentReading { flags, problems: with_positions(problems, text), places }
    }
}

impl Definition {
    pub(crate) fn is_killed(&self) -> bool {
        match self {
            Self::Good(flag) => !flag.enabled,
            Self::Refused { is_killed, .. } => *is_killed,
        }
    }

    pub(crate) fn is_hidden(&self) -> bool {
        match self {
            Self::Good(flag) => flag.hidden,
            Self::Refused { is_hidden, .. } => *is_hidden,
        }
    }
}

/// Turns offsets into lines and columns; errors come before warnings, each in the order of the
/// document.
fn with_positions(mut problems: Vec<LocatedProblem>, text: &str) -> Vec<Problem> {
    problems.sort_by_key(|located| located.offset);
    let mut walk = Walk::over(text);
    let mut positioned: Vec<Problem> =
        problems.into_iter().map(|LocatedProblem { problem, offset }| problem.at_place(&walk.to(offset))).collect();
    positioned.sort_by_key(|problem| problem.severity == Severity::Warning);
    positioned
}

/// A walk through a text that knows in which line and column it is.
struct Walk<'a> {
    text: &'a str,
    walked: usize,
    place: Place,
}

impl<'a> Walk<'a> {
    fn over(text: &'a str) -> Self {
        Self { text, walked: 0, place: Place { source: None, line: 1, column: 1 } }
    }

    /// Goes on to an offset, which is not behind.
    fn to(&mut self, offset: usize) -> Place {
        let mut rest = &self.text[self.walked..offset];
        if let Some((before, last_line)) = rest.rsplit_once('\n') {
            self.place.line += before.matches('\n').count() + 1;
            self.place.column = 1;
            rest = last_line;
        }
        self.place.column += rest.chars().count();
        self.walked = offset;
        self.place.clone()
    }
}
