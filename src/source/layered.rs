//! Several sources of definitions as one.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};

use super::board::{Board, Subscriber, log_problems};
use super::traits::{Freshness, Source, Status};
use crate::document::{Definition, Document, Flag, FlagName, MAX_FLAGS, Problem, Severity, kept};
use crate::engine::{Answers, Query, SourceId};

/// A source that can be a part of [`Layered`]: one that has definitions rather than answers.
///
/// Implemented by the sources of this crate; foreign engines answer by themselves, so layers are
/// nested for them instead.
pub trait Definitions: Source + sealed::Part {
    /// What the part is called where a flag comes from it: `env`, `memory`, or a file's path.
    fn name(&self) -> &str;
}

pub(crate) mod sealed {
    use std::sync::{Arc, Weak};

    use super::{Document, Flag, Subscriber};

    pub trait Part {
        /// The definitions in effect; `below` holds those of the parts below, if there are any, and the flags that they have
        /// lost.
        fn document(&self, below: Option<&Document>) -> Arc<Document>;

        /// The flags that are no longer in effect because their store has lost them, as they were.
        fn lost(&self) -> Vec<(Arc<str>, Arc<Flag>)> {
            Vec::new()
        }

        /// Whom to tell of changes.
        fn on_change(&self, listener: Weak<dyn Subscriber>);
    }
}

/// Several sources of definitions merged flag by flag into one: an upper one decides alone on the
/// flags it has.
///
/// 1. Whole flags are merged, never single keys; `requires` sees the flag that won.
/// 2. A flag that the upper part refuses comes from the part below, switched off if the refused text
///    legibly says so.
/// 3. A change of any part is in force when it is in force there.
///
/// ```
/// use tower_flags::source::{Env, Layered, Memory, Source};
/// use tower_flags::{Context, Flag, Timestamp};
///
/// let memory = Memory::new();
/// memory.set("new-search", true)?;
/// memory.set("dark_mode", true)?;
/// let source = Layered::over(memory).with(Env::from_pairs([("FF_NEW_SEARCH", "off")]));
/// assert_eq!(source.part_of("new-search").as_deref(), Some("env"));
/// assert_eq!(source.part_of("dark_mode").as_deref(), Some("memory"));
/// # Ok::<(), tower_flags::Problem>(())
/// ```
#[derive(Clone)]
pub struct Layered {
    merged: Arc<Merge>,
}

struct Merge {
    board: Board,
    /// From the bottom up.
    parts: Vec<Arc<dyn Definitions>>,
    /// Which part a flag comes from.
    part_of: RwLock<BTreeMap<Arc<str>, usize>>,
    /// The problems of the parts together that were logged last.
    logged: Mutex<Vec<Problem>>,
}

impl std::fmt::Debug for Layered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let parts: Vec<&str> = self.merged.parts.iter().map(|part| part.name()).collect();
        f.debug_struct("Layered").field("parts", &parts).finish_non_exhaustive()
    }
}

impl Layered {
    /// The lowest part.
    #[must_use]
    pub fn over(bottom: impl Definitions) -> Self {
        Self::of(vec![Arc::new(bottom)])
    }

    /// Puts a part above all others.
    #[must_use]
    pub fn with(self, upper: impl Definitions) -> Self {
        let mut parts = self.merged.parts.clone();
        parts.push(Arc::new(upper));
        Self::of(parts)
    }

    fn of(parts: Vec<Arc<dyn Definitions>>) -> Self {
        let merged =
            Arc::new(Merge { board: Board::new(), parts, part_of: RwLock::default(), logged: Mutex::default() });
        for part in &merged.parts {
            let listener: Arc<dyn Subscriber> = merged.clone();
            part.on_change(Arc::downgrade(&listener));
        }
        merged.merge();
        Self { merged }
    }

    /// The rules in force.
    #[cfg(feature = "admin")]
    pub(crate) fn set(&self) -> Arc<crate::engine::FlagSet> {
        self.merged.board.set()
    }

    /// Whether it has other clones, or its parts are shared with other sources.
    #[cfg(feature = "admin")]
    pub(crate) fn is_shared(&self) -> bool {
        Arc::strong_count(&self.merged) > 1 || self.merged.parts.iter().any(|part| Arc::strong_count(part) > 1)
    }

    /// The name of the part that a flag's definition comes from.
    #[must_use]
    pub fn part_of(&self, flag: impl FlagName) -> Option<String> {
        let name = flag.name();
        let part_of = self.merged.part_of.read().unwrap_or_else(PoisonError::into_inner);
        part_of.get(name).map(|&part| self.merged.parts[part].name().to_owned())
    }
}

impl Merge {
    fn merge(&self) {
        self.board.publish(|_| {
            // Nothing is in force before some part has something, so that `NotLoaded` is told from
            // `Unknown`.
            if self.parts.iter().all(|part| part.status().version == 0) {
                return None;
            }
            let mut merged = Document::new();
            let mut left_out = 0;
            let mut part_of = BTreeMap::new();
            let mut lost = BTreeMap::new();
            for (number, part) in self.parts.iter().enumerate() {
                let below = with_lost(&merged, &lost);
                let document = part.document((number > 0).then_some(&*below));
                lost.extend(part.lost());
                for (name, definition) in &document.flags {
                    if merged.flags.len() >= MAX_FLAGS && !merged.flags.contains_key(name) {
                        left_out += 1;
                        continue;
                    }
                    let winner = match (definition, merged.flags.get(name)) {
                        (&Definition::Refused { is_killed, is_hidden }, Some(Definition::Good(below)))
                            if is_killed || is_hidden =>
                        {
                            Definition::Good(kept(below, is_killed, is_hidden))
                        }
                        (Definition::Refused { is_killed: false, .. }, Some(_)) => continue,
                        _ => definition.clone(),
                    };
                    merged.flags.insert(Arc::clone(name), winner);
                    part_of.insert(Arc::clone(name), number);
                }
                merged.places.extend(document.places.clone());
                merged.problems.extend(document.problems.iter().map(|problem| problem.clone().in_source(part.name())));
            }
            if left_out > 0 {
                let found = format!("{left_out} more in upper ones, which are left out");
                merged.problems.push(Problem::new(format!("at most {MAX_FLAGS} flags in all parts"), found));
            }
            *self.part_of.write().unwrap_or_else(PoisonError::into_inner) = part_of;
            let revisions =
                self.parts.iter().map(|part| part.status().revision).filter(|revision| !revision.is_empty());
            let revisions: Vec<String> = revisions.collect();
            Some((merged, revisions.join("+")))
        });
        self.log_own_problems();
    }

    /// Logs what only the parts together have wrong, once: each part has logged its own.
    fn log_own_problems(&self) {
        let reported = self.problems_of_parts();
        let of_parts: HashSet<ProblemKey<'_>> = reported.iter().map(ProblemKey::of).collect();
        let set = self.board.set();
        let is_own = |problem: &&Problem| !of_parts.contains(&ProblemKey::of(problem));
        let own: Vec<Problem> = set.problems().iter().filter(is_own).cloned().collect();
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        if *logged != own {
            log_problems("layered", &own);
            *logged = own;
        }
    }

    /// What is wrong in the parts, with their names.
    fn problems_of_parts(&self) -> Vec<Problem> {
        let problems_of = |part: &Arc<dyn Definitions>| {
            let part = Arc::clone(part);
            part.status().problems.into_iter().map(move |problem| problem.in_source(part.name()))
        };
        self.parts.iter().flat_map(problems_of).collect()
    }
}

/// What the parts below define, and have lost.
fn with_lost<'a>(below: &'a Document, lost: &BTreeMap<Arc<str>, Arc<Flag>>) -> Cow<'a, Document> {
    let mut below = Cow::Borrowed(below);
    for (name, flag) in lost {
        if !below.flags.contains_key(name) {
            below.to_mut().flags.insert(Arc::clone(name), Definition::Good(Arc::clone(flag)));
        }
    }
    below
}

/// Everything of a problem but what to do about it. A set may have 10 000 problems, so they are looked up by this and
/// not compared one by one.
#[derive(PartialEq, Eq, Hash)]
struct ProblemKey<'a> {
    severity: Severity,
    flag: Option<&'a str>,
    path: &'a str,
    expected: &'a str,
    found: &'a str,
    source: Option<&'a str>,
    place: (Option<usize>, Option<usize>),
}

impl<'a> ProblemKey<'a> {
    fn of(problem: &'a Problem) -> Self {
        let Problem { severity, flag, path, expected, found, help: _, source, line, column } = problem;
        let (flag, source) = (flag.as_deref(), source.as_deref());
        Self { severity: *severity, flag, path, expected, found, source, place: (*line, *column) }
    }
}

impl Subscriber for Merge {
    fn changed(&self) {
        self.merge();
    }
}

impl Source for Layered {
    fn answer(&self, query: &Query<'_>) -> Answers {
        self.merged.board.answer(query)
    }

    /// As fresh as the least fresh part.
    fn status(&self) -> Status {
        let mut status = self.merged.board.status();
        for part in &self.merged.parts {
            let part_status = part.status();
            status.freshness = match (status.freshness, part_status.freshness) {
                (Freshness::NeverLoaded, _) | (_, Freshness::NeverLoaded) => Freshness::NeverLoaded,
                (Freshness::StaleSince(a), Freshness::StaleSince(b)) => Freshness::StaleSince(a.min(b)),
                (Freshness::StaleSince(since), _) | (_, Freshness::StaleSince(since)) => Freshness::StaleSince(since),
                _ => Freshness::Fresh,
            };
            if let Some(error) = part_status.last_error {
                // Sources of this crate name themselves in their errors.
                status.last_error.get_or_insert(error);
            }
        }
        let reported = self.merged.problems_of_parts();
        // The part knows more by now, such as why a kill is not in its store yet.
        let helps: HashMap<ProblemKey<'_>, &Option<String>> =
            reported.iter().map(|problem| (ProblemKey::of(problem), &problem.help)).collect();
        for shown in &mut status.problems {
            let help = helps.get(&ProblemKey::of(shown)).copied();
            if let Some(help) = help {
                shown.help.clone_from(help);
            }
        }
        // What rejected a part as a whole never came to the merged set.
        let mut shown: HashSet<ProblemKey<'_>> = status.problems.iter().map(ProblemKey::of).collect();
        let mut more = Vec::new();
        for problem in reported.iter().filter(|problem| problem.flag.is_none()) {
            if shown.insert(ProblemKey::of(problem)) {
                more.push(problem.clone());
            }
        }
        status.problems.extend(more);
        status
    }

    fn id(&self) -> Option<SourceId> {
        Some(self.merged.board.id())
    }
}

impl Definitions for Layered {
    fn name(&self) -> &str {
        "layered"
    }
}

impl sealed::Part for Layered {
    fn document(&self, _: Option<&Document>) -> Arc<Document> {
        self.merged.board.document()
    }

    fn lost(&self) -> Vec<(Arc<str>, Arc<Flag>)> {
        self.merged.parts.iter().flat_map(|part| part.lost()).collect()
    }

    fn on_change(&self, listener: Weak<dyn Subscriber>) {
        self.merged.board.on_change(listener);
    }
}
