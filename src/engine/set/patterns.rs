//! The regular expressions of a set, compiled within budgets.
//!
//! What a pattern costs is not seen from its text, so each flag and each set has budgets: a flag over its own is refused
//! alone, and of those that are together over the budget of the set the most expensive are. Each text is compiled once,
//! and not again where the set before has it. Of a text that was refused the size alone is kept, so that a refused flag
//! costs nothing at the next update either.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use crate::document::{Definition, Flag, MAX_COMPILED, Pattern, Problem, Regex, patterns, size_of_patterns, too_large};

/// Most bytes of all compiled patterns of a set.
const MAX_SET: usize = 16 * 1024 * 1024;
/// Most bytes that are compiled for a set, those included that are refused then. It takes less than a second.
const MAX_WORK: usize = 32 * 1024 * 1024;
/// What compiling costs in bytes at least, for each byte of a pattern.
const WORK_A_BYTE: usize = 32;

/// The compiled patterns of each flag that has any.
#[derive(Debug, Default)]
pub(super) struct Patterns {
    flags: Box<[OfFlag]>,
    sizes: Sizes,
}

/// The sizes of texts that were compiled and are not used, with `None` for those that are too large by themselves. They
/// are at most 1 MiB of text, as [`MAX_WORK`] and [`WORK_A_BYTE`] have it.
pub(super) type Sizes = HashMap<Box<str>, Option<usize>>;

#[derive(Debug)]
struct OfFlag {
    flag: u32,
    /// In the order of its rules.
    compiled: Box<[Arc<Regex>]>,
}

impl Patterns {
    /// Each flag that has any, with those, in the order of its rules.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &[Arc<Regex>])> {
        self.flags.iter().map(|OfFlag { flag, compiled }| (*flag, &**compiled))
    }

    /// What is known of the texts that are not used.
    pub(super) fn sizes(&self) -> &Sizes {
        &self.sizes
    }

    /// Those of one flag, in the order of its rules.
    pub(super) fn of(&self, flag: u32) -> &[Arc<Regex>] {
        match self.flags.binary_search_by_key(&flag, |of_flag| of_flag.flag) {
            Ok(at) => &self.flags[at].compiled,
            Err(_) => &[],
        }
    }
}

/// All patterns by their texts, each compiled once.
#[derive(Default)]
pub(super) struct Compiler<'a> {
    /// Of the set before.
    known: HashMap<&'a str, &'a Arc<Regex>>,
    /// Of texts that the set before has compiled and does not use.
    sizes: Option<&'a Sizes>,
    compiled: HashMap<&'a str, Result<CompiledPattern, Problem>>,
    work: usize,
}

/// A pattern that can be compiled.
enum CompiledPattern {
    Regex(Arc<Regex>),
    /// It was compiled for an earlier set, and is compiled again if it is used.
    Size(usize),
}

impl CompiledPattern {
    fn size(&self) -> usize {
        match self {
            Self::Regex(regex) => regex.size(),
            Self::Size(size) => *size,
        }
    }
}

impl<'a> Compiler<'a> {
    /// One that compiles nothing again of what the previous set has compiled for its flags, or has refused.
    pub(super) fn after(
        previous: impl Iterator<Item = (&'a Flag, &'a [Arc<Regex>])>,
        sizes: Option<&'a Sizes>,
    ) -> Self {
        let mut known = HashMap::new();
        for (flag, compiled) in previous {
            known.extend(patterns(flag).map(Pattern::as_str).zip(compiled));
        }
        Self { known, sizes, ..Self::default() }
    }

    /// The flags whose patterns keep to all budgets; what is wrong with the others comes back.
    pub(super) fn admit(
        &mut self,
        definitions: &'a [Definition],
        previous: impl Fn(u32) -> Option<&'a Flag>,
    ) -> Vec<(u32, Problem)> {
        let mut candidates: Vec<(u64, u32, &Flag)> = with_patterns(definitions)
            .map(|(number, flag)| (patterns(flag).map(Pattern::cost).fold(0, u64::saturating_add), number, flag))
            .collect();
        candidates.sort_unstable_by_key(|(cost, number, _)| (*cost, *number));
        let mut faults = Vec::new();
        let mut fitting: Vec<(usize, u32, &Flag)> = Vec::new();
        for (_, number, flag) in candidates {
            match size_of_patterns(flag, |pattern| self.pattern(pattern)) {
                Ok(size) => fitting.push((size, number, flag)),
                Err(problem) => faults.push((number, problem)),
            }
        }
        // An earlier definition stays in effect where the new one does not fit, so its place is kept until then.
        let mut held = TextsInUse::default();
        let earlier = |number: u32| previous(number).into_iter().flat_map(patterns).map(Pattern::as_str);
        for number in (0_u32..).take(definitions.len()) {
            earlier(number).for_each(|text| held.add(text, self.size(text)));
        }
        // Those that grow come last, the smallest first: the others only make room.
        let size_before = |number: u32| {
            let texts: BTreeSet<&str> = earlier(number).collect();
            texts.into_iter().map(|text| self.size(text)).sum::<usize>()
        };
        let mut fitting: Vec<(bool, usize, u32, &Flag)> =
            fitting.into_iter().map(|(size, number, flag)| (size > size_before(number), size, number, flag)).collect();
        fitting.sort_unstable_by_key(|(grows, size, number, _)| (*grows, *size, *number));
        for (grows, size, number, flag) in fitting {
            let texts = || patterns(flag).map(Pattern::as_str);
            earlier(number).for_each(|text| held.remove(text));
            texts().for_each(|text| held.add(text, self.size(text)));
            let is_too_much = grows && held.bytes > MAX_SET;
            let used = if is_too_much { Ok(()) } else { self.compile_sized(flag) };
            if is_too_much || used.is_err() {
                texts().for_each(|text| held.remove(text));
                earlier(number).for_each(|text| held.add(text, self.size(text)));
            }
            if let Err(problem) = used {
                faults.push((number, problem));
            } else if is_too_much {
                let expected = format!("regular expressions of all flags that compile to at most {MAX_SET} bytes");
                let problem = Problem::new(expected, format!("{size} bytes of this flag beside those of the others"));
                let help = "definitions in effect keep their place, and smaller ones come before larger ones";
                faults.push((number, problem.at_path("rules").with_help(help)));
            }
        }
        faults.sort_unstable_by_key(|(number, _)| *number);
        faults
    }

    /// Compiles one pattern, unless its text is known, and gives its size.
    fn pattern(&mut self, pattern: &'a Pattern) -> Result<usize, Problem> {
        let entry = match self.compiled.entry(pattern.as_str()) {
            Entry::Occupied(known) => return known.get().as_ref().map(CompiledPattern::size).map_err(Clone::clone),
            Entry::Vacant(entry) => entry,
        };
        if self.work > MAX_WORK {
            let problem = Problem::new(
                format!(
                    "at most {MAX_WORK} bytes of compiled regular expressions for all flags, refused ones included"
                ),
                "more",
            );
            return Err(problem.with_help("flags with cheaper ones come first"));
        }
        let size = self.sizes.and_then(|sizes| sizes.get(pattern.as_str()));
        let compiled = match (self.known.get(pattern.as_str()), size) {
            (Some(known), _) => Ok(CompiledPattern::Regex(Arc::clone(known))),
            (None, Some(Some(size))) => Ok(CompiledPattern::Size(*size)),
            (None, Some(None)) => Err(too_large(pattern.as_str())),
            (None, None) => pattern.compile().map(|regex| CompiledPattern::Regex(Arc::new(regex))),
        };
        // Also where nothing was to do: what is refused does not depend on what was there before.
        let bytes = compiled.as_ref().map_or(MAX_COMPILED, CompiledPattern::size);
        self.work += bytes.max(pattern.as_str().len() * WORK_A_BYTE);
        entry.insert(compiled).as_ref().map(CompiledPattern::size).map_err(Clone::clone)
    }

    /// Compiles the patterns of a flag that is used after all, of which only the sizes are known.
    fn compile_sized(&mut self, flag: &'a Flag) -> Result<(), Problem> {
        let compile = |pattern: &'a Pattern| {
            let text = pattern.as_str();
            if let Some(Ok(CompiledPattern::Size(_))) = self.compiled.get(text) {
                self.compiled.insert(text, Ok(CompiledPattern::Regex(Arc::new(pattern.compile()?))));
            }
            Ok(self.size(text))
        };
        size_of_patterns(flag, compile).map(|_| ())
    }

    fn find(&self, text: &str) -> Option<&Arc<Regex>> {
        match self.compiled.get(text) {
            Some(Ok(CompiledPattern::Regex(regex))) => Some(regex),
            _ => self.known.get(text).copied(),
        }
    }

    fn size(&self, text: &str) -> usize {
        match self.compiled.get(text) {
            Some(Ok(compiled)) => compiled.size(),
            _ => self.known.get(text).map_or(0, |regex| regex.size()),
        }
    }

    /// The patterns of the definitions that are in effect in the end.
    pub(super) fn finish(&self, definitions: &[Definition]) -> Patterns {
        let compiled =
            |flag: &Flag| patterns(flag).filter_map(|pattern| self.find(pattern.as_str())).map(Arc::clone).collect();
        let of_flag = |(number, flag)| OfFlag { flag: number, compiled: compiled(flag) };
        let used: HashSet<&str> =
            with_patterns(definitions).flat_map(|(_, flag)| patterns(flag)).map(Pattern::as_str).collect();
        let unused = self.compiled.iter().filter(|(text, _)| !used.contains(*text));
        let sizes = unused.filter_map(|(text, compiled)| match compiled {
            Ok(compiled) => Some((Box::from(*text), Some(compiled.size()))),
            Err(problem) if *problem == too_large(text) => Some((Box::from(*text), None)),
            Err(_) => None,
        });
        Patterns { flags: with_patterns(definitions).map(of_flag).collect(), sizes: sizes.collect() }
    }
}

fn with_patterns(definitions: &[Definition]) -> impl Iterator<Item = (u32, &Flag)> {
    definitions.iter().zip(0_u32..).filter_map(|(definition, number)| match definition {
        Definition::Good(flag) if flag.has_patterns() => Some((number, flag.as_ref())),
        _ => None,
    })
}

/// Texts in use, and the size of what they compile to.
#[derive(Default)]
struct TextsInUse<'a> {
    texts: HashMap<&'a str, (usize, usize)>,
    bytes: usize,
}

impl<'a> TextsInUse<'a> {
    fn add(&mut self, text: &'a str, size: usize) {
        let (uses, _) = self.texts.entry(text).or_insert((0, size));
        if *uses == 0 {
            self.bytes += size;
        }
        *uses += 1;
    }

    fn remove(&mut self, text: &str) {
        if let Some((uses, size)) = self.texts.get_mut(text) {
            *uses -= 1;
            if *uses == 0 {
                self.bytes -= *size;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;
    use crate::context::Context;
    use crate::document::{Document, Timestamp};
    use crate::engine::{FlagSet, Identity, Query};

    /// A flag with these patterns, on for whom one matches.
    fn flag(patterns: impl IntoIterator<Item = impl AsRef<str>>) -> String {
        let patterns: Vec<String> = patterns.into_iter().map(|pattern| format!("{:?}", pattern.as_ref())).collect();
        format!(
            r#"{{"rules": [{{"when": [{{"attribute": "user_id", "op": "matches", "values": [{}]}}], "serve": true}}]}}"#,
            patterns.join(",")
        )
    }

    /// About 97 KB each, and no two alike.
    fn large(count: usize, salt: char) -> impl Iterator<Item = String> {
        (0..count).map(move |number| format!(r"{salt}{number}\w{{5}}"))
    }

    fn document(flags: &[(&str, String)]) -> Document {
        let mut text = String::from(r#"{"flags": {"#);
        for (at, (name, flag)) in flags.iter().enumerate() {
            write!(text, r#"{}"{name}": {flag}"#, if at == 0 { "" } else { ",\n" }).unwrap();
        }
        Document::from_json(&(text + "}}")).unwrap()
    }

    fn compiled(flags: &[(&str, String)], previous: Option<&FlagSet>) -> Arc<FlagSet> {
        FlagSet::compile_after(&document(flags), previous, Identity::default(), Timestamp::MIN)
    }

    fn is_on(set: &Arc<FlagSet>, flag: &str, user: &str) -> bool {
        set.answer(&Query::new(&Context::user(user), Timestamp::MIN)).is_enabled(flag)
    }

    fn refused(set: &FlagSet) -> Vec<&str> {
        set.problems().iter().filter_map(|problem| problem.flag.as_deref()).collect()
    }

    fn regex<'a>(set: &'a FlagSet, flag: &str) -> &'a Arc<Regex> {
        &set.core().patterns.of(set.number(flag).unwrap())[0]
    }

    #[test]
    fn each_clause_has_its_own_patterns() {
        let clause = |pattern: &str| {
            format!(r#"{{"attribute": "user_id", "op": "matches", "values": ["{pattern}", "^{pattern}$"]}}"#)
        };
        let rules = format!(
            r#"{{"rules": [{{"when": [{}, {}], "serve": false}}, {{"when": [{}], "serve": true}}]}}"#,
            clause("a"),
            clause("b"),
            clause("c")
        );
        let set = compiled(&[("x", rules)], None);
        assert!(is_on(&set, "x", "c") && is_on(&set, "x", "ac") && is_on(&set, "x", "bc"));
        assert!(!is_on(&set, "x", "abc") && !is_on(&set, "x", "ab") && !is_on(&set, "x", "x"));
    }

    #[test]
    fn a_text_is_compiled_once_for_all_flags_and_not_again_in_the_next_set() {
        let first = compiled(&[("a", flag(["^x"])), ("b", flag(["^x"])), ("c", flag(["^y"]))], None);
        assert!(Arc::ptr_eq(regex(&first, "a"), regex(&first, "b")));
        let second = compiled(&[("b", flag(["^y", "^z"])), ("d", flag(["^x"]))], Some(&first));
        assert!(Arc::ptr_eq(regex(&first, "a"), regex(&second, "d")));
        assert!(Arc::ptr_eq(regex(&first, "c"), regex(&second, "b")));
        assert!(is_on(&second, "b", "z") && is_on(&second, "d", "x") && !is_on(&second, "d", "y"));
    }

    #[test]
    fn what_is_refused_is_not_compiled_again_until_it_is_used() {
        use crate::document::COMPILED;

        let flags = |own: usize, more: &str| -> Vec<(&str, String)> {
            let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
            let mut flags: Vec<(&str, String)> =
                names.map(|name| (name, flag(large(own, name.chars().next().unwrap())))).into();
            flags.extend([("x", flag([r"\w{99}"])), ("y", flag(large(30, 'y'))), ("z", flag([more]))]);
            flags
        };
        // About 182 fit.
        let first = compiled(&flags(20, "^1"), None);
        let refused_first: Vec<String> = refused(&first).into_iter().map(str::to_owned).collect();
        assert!(refused_first.contains(&"j".to_owned()), "{refused_first:?}");
        let before = COMPILED.get();
        let second = compiled(&flags(20, "^2"), Some(&first));
        assert_eq!(COMPILED.get() - before, 1, "what is new");
        let third = compiled(&flags(20, "^3"), Some(&second));
        assert_eq!(COMPILED.get() - before, 2);
        assert_eq!(refused(&third), refused_first);
        assert_eq!(third.problems(), first.problems());
        // Room for it: it is compiled then, and matches.
        let mut fewer = flags(20, "^3");
        fewer.retain(|(name, _)| *name != "a" && *name != "b");
        let fourth = compiled(&fewer, Some(&third));
        assert_eq!(refused(&fourth), ["x", "y"]);
        assert!(is_on(&fourth, "j", "j19bbbbb") && is_on(&fourth, "z", "3"));
    }

    #[test]
    fn a_flag_over_its_own_budget_is_refused_alone() {
        let flags = [
            ("a", flag(["^alice$"])),
            ("b", flag(large(30, 'b'))),
            ("c", flag(large(15, 'c'))),
            ("d", flag([r"\w{99}"])),
        ];
        let set = compiled(&flags, None);
        assert_eq!(refused(&set), ["b", "d"]);
        assert!(is_on(&set, "a", "alice") && is_on(&set, "c", "c14ünäly"));
        let said = set.problems()[0].to_string();
        let expected = "line 2, column 6: flag \"b\", rules: expected regular expressions of one flag that compile to at most \
                        2097152 bytes, found more";
        assert_eq!(said, expected);
        assert!(
            set.problems()[1]
                .to_string()
                .starts_with("line 4, column 6: flag \"d\", rules.0.when.0.values.0: expected a")
        );
    }

    #[test]
    fn a_refused_flag_keeps_its_earlier_definition_and_takes_a_kill() {
        let first = compiled(&[("a", flag(["^alice$"]))], None);
        let second = compiled(&[("a", flag(large(30, 'a')))], Some(&first));
        assert_eq!(refused(&second), ["a"]);
        assert!(is_on(&second, "a", "alice") && !is_on(&second, "a", "a0bbbbb"));
        let killed = flag(large(30, 'a')).replacen('{', r#"{"enabled": false, "#, 1);
        let third = compiled(&[("a", killed)], Some(&second));
        assert!(!is_on(&third, "a", "alice"));
    }

    #[test]
    fn of_flags_that_are_too_much_together_the_smallest_are_used() {
        let names: Vec<String> = ('a'..='m').map(String::from).collect();
        let flags = |sizes: &dyn Fn(usize) -> usize| -> Vec<(&str, String)> {
            let flag_of =
                |(at, name): (usize, &'static str)| (name, flag(large(sizes(at), name.chars().next().unwrap())));
            ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m"]
                .into_iter()
                .enumerate()
                .map(flag_of)
                .collect()
        };
        // From 2 MB down to 0.9 MB.
        let set = compiled(&flags(&|at| 22 - at), None);
        let expected = "definitions in effect keep their place, and smaller ones come before larger ones";
        assert_eq!(set.problems()[0].help.as_deref(), Some(expected), "{:?}", set.problems());
        let count = refused(&set).len();
        assert!((1..5).contains(&count), "{count}");
        assert_eq!(BTreeSet::from_iter(refused(&set)), names[..count].iter().map(String::as_str).collect());
        assert!(is_on(&set, "m", "m0bbbbb") && !is_on(&set, "a", "a0bbbbb"));
        // What is in effect stays so beside smaller ones.
        let grown = compiled(&flags(&|at| if at < count { 5 } else { 20 }), Some(&set));
        assert!(is_on(&grown, "m", "m0bbbbb"), "{:?}", grown.problems());
    }

    #[test]
    fn no_more_is_compiled_once_enough_was_though_all_of_it_is_refused() {
        let names: Vec<String> = ('a'..='t').map(String::from).collect();
        let each = names.iter().map(|name| (name.as_str(), flag(large(30, name.chars().next().unwrap()))));
        let flags: Vec<(&str, String)> = each.chain([("x", flag(["^alice$"]))]).collect();
        let set = compiled(&flags, None);
        assert_eq!(refused(&set), names);
        let problems: Vec<String> = set.problems().iter().map(ToString::to_string).collect();
        let own = "expected regular expressions of one flag that compile to at most 2097152 bytes";
        let all =
            "expected at most 33554432 bytes of compiled regular expressions for all flags, refused ones included";
        assert!(problems[0].contains(own) && !problems[0].contains(all), "{problems:#?}");
        assert!(problems[19].contains(all), "{problems:#?}");
        assert!(is_on(&set, "x", "alice"), "cheap ones come first");
    }

    #[test]
    fn what_shrinks_makes_room_for_what_grows_in_the_same_update() {
        let flags = |a: usize, b: usize| -> Vec<(&str, String)> {
            let rest = ["c", "d", "e", "f", "g", "h"].map(|name| (name, flag(large(22, name.chars().next().unwrap()))));
            let mut flags = vec![("a", flag(large(a, 'a'))), ("b", flag(large(b, 'b'))), ("i", flag(large(10, 'i')))];
            flags.extend(rest);
            flags
        };
        // 180 of about 182 that fit: six more are too many.
        let first = compiled(&flags(16, 22), None);
        assert_eq!(refused(&first), [""; 0]);
        let second = compiled(&flags(22, 16), Some(&first));
        assert_eq!(refused(&second), [""; 0]);
        assert!(is_on(&second, "a", "a21bbbbb"));
    }

    #[test]
    fn all_flags_change_at_once_within_the_budget() {
        let flags = |salt: char| -> Vec<(&str, String)> {
            let of = |name: &'static str| (name, flag(large(20, salt).map(|text| format!("{name}{text}"))));
            ["a", "b", "c", "d", "e", "f", "g", "h"].into_iter().map(of).collect()
        };
        let first = compiled(&flags('x'), None);
        assert_eq!(refused(&first), [""; 0]);
        let second = compiled(&flags('y'), Some(&first));
        assert_eq!(refused(&second), [""; 0]);
        assert!(is_on(&second, "h", "hy19bbbbb") && !is_on(&second, "h", "hx19bbbbb"));
    }
}
