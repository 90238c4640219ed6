//! The regular expressions of one flag, within its budget.
//!
//! What a pattern costs is not seen from its text, so a flag has a budget of bytes that its patterns may compile to.

use super::clause::{Patterns, Test};
use super::flag::Flag;
use super::pattern::Pattern;
use super::problem::Problem;

/// Most bytes of all compiled patterns of a flag.
const MAX_FLAG: usize = 2 * 1024 * 1024;

/// The patterns of a flag in the order of its rules, with where they stand.
fn placed(flag: &Flag) -> impl Iterator<Item = (Place, &Pattern)> {
    flag.rules().iter().enumerate().flat_map(|(rule, rules)| {
        rules.when.iter().enumerate().flat_map(move |(clause, clauses)| {
            let patterns = match &clauses.test {
                Test::Matches(Patterns { patterns, .. }) => patterns.as_slice(),
                _ => &[],
            };
            patterns.iter().enumerate().map(move |(value, pattern)| (Place { rule, clause, value }, pattern))
        })
    })
}

/// Where a pattern stands in its flag.
#[derive(Clone, Copy, Debug)]
struct Place {
    rule: usize,
    clause: usize,
    value: usize,
}

impl Place {
    fn path(self) -> String {
        format!("rules.{}.when.{}.values.{}", self.rule, self.clause, self.value)
    }
}

/// The patterns of a flag in the order of its rules.
pub(crate) fn patterns(flag: &Flag) -> impl Iterator<Item = &Pattern> {
    placed(flag).map(|(_, pattern)| pattern)
}

/// The size of all patterns of a flag together, each text counted once; `size_of` compiles one.
///
/// # Errors
///
/// One cannot be compiled, or all together are too large.
pub(crate) fn size_of_patterns<'a>(
    flag: &'a Flag,
    mut size_of: impl FnMut(&'a Pattern) -> Result<usize, Problem>,
) -> Result<usize, Problem> {
    let mut texts: Vec<&str> = Vec::new();
    let mut size = 0;
    for (place, pattern) in placed(flag) {
        if texts.contains(&pattern.as_str()) {
            continue;
        }
        texts.push(pattern.as_str());
        size += size_of(pattern).map_err(|problem| problem.at_path(place.path()))?;
        if size > MAX_FLAG {
            let expected = format!("regular expressions of one flag that compile to at most {MAX_FLAG} bytes");
            return Err(Problem::new(expected, "more").at_path("rules"));
        }
    }
    Ok(size)
}

/// Whether the patterns of a flag keep to its budget.
///
/// # Errors
///
/// One cannot be compiled, or all together are too large.
pub(crate) fn check_patterns(flag: &Flag) -> Result<(), Problem> {
    size_of_patterns(flag, |pattern| pattern.compile().map(|regex| regex.size())).map(|_| ())
}
