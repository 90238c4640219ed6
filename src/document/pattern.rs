//! Regular expressions of rules: as text in a definition, compiled in a set.
//!
//! A definition holds the text alone, whose syntax is checked when it is read. Compiling costs far more: a pattern of
//! five bytes can take a millisecond and 100 KB. So a set compiles patterns within budgets, each text once.

use regex_automata::meta;
use regex_automata::nfa::thompson::WhichCaptures;
use regex_syntax::ast::{self, Ast, ClassSet, ClassSetItem, Flag, Flags, GroupKind, RepetitionKind, RepetitionRange};

use super::problem::{Problem, quoted};

/// Longest pattern of `matches`, in bytes.
const MAX_PATTERN: usize = 512;
/// Largest compiled form of a pattern, in bytes.
pub(crate) const MAX_COMPILED: usize = 256 * 1024;
/// Most characters in ranges whose case a pattern ignores: each is looked up.
const MAX_FOLDED: u64 = 200_000;
/// Longest text in which a pattern is searched for, in bytes. What searching takes grows with it, for each pattern of a set.
const MAX_TEXT: usize = 2048;
/// What each pattern counts beside its compiled form: about the memory in which a thread searches with a small one.
const SEARCH: usize = 3 * 1024;
/// Most memory, in bytes, in which a thread remembers what it has searched for with one pattern.
const MEMORY: usize = 6 * 1024;

/// A pattern as it is written, of good syntax.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern {
    text: Box<str>,
    /// About how large it is compiled, in no unit: so that cheap patterns are compiled first.
    cost: u64,
}

impl Pattern {
    pub(crate) fn read(text: &str) -> Result<Self, Problem> {
        if text.len() > MAX_PATTERN {
            let found = format!("one of {}", text.len());
            return Err(Problem::new(format!("a regular expression of at most {MAX_PATTERN} bytes"), found));
        }
        let ast = ast::parse::Parser::new().parse(text).map_err(|error| not_a_pattern(text, &error.to_string()))?;
        let mut weighing = PatternWeight::default();
        let cost = weighing.cost(&ast);
        if weighing.is_folding && weighing.characters > MAX_FOLDED {
            let expected =
                format!("a regular expression that ignores the case of at most {MAX_FOLDED} characters in ranges");
            return Err(Problem::new(expected, format!("{} in {}", weighing.characters, quoted(text))));
        }
        Ok(Self { text: text.into(), cost })
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    pub(crate) fn cost(&self) -> u64 {
        self.cost
    }

    pub(crate) fn compile(&self) -> Result<Regex, Problem> {
        let config = meta::Config::new()
            // Whether it matches is all that is asked, of short texts: what makes searching through long ones faster
            // costs several times the memory and the time to compile.
            .which_captures(WhichCaptures::None)
            .nfa_size_limit(Some(MAX_COMPILED))
            .onepass(false)
            .dfa(false)
            .auto_prefilter(false)
            .hybrid(self.cost <= CHEAP)
            .hybrid_cache_capacity(MEMORY);
        #[cfg(test)]
        COMPILED.set(COMPILED.get() + 1);
        let compiled = meta::Builder::new().configure(config).build(&self.text).map_err(|error| {
            if error.size_limit().is_some() {
                return too_large(&self.text);
            }
            let syntax = error.syntax_error().map(ToString::to_string);
            not_a_pattern(&self.text, &syntax.unwrap_or_else(|| error.to_string()))
        })?;
        let size = compiled.memory_usage();
        if size > MAX_COMPILED { Err(too_large(&self.text)) } else { Ok(Regex { compiled, size: size + SEARCH }) }
    }
}

/// The problem of a pattern that compiles to more than [`MAX_COMPILED`] bytes.
pub(crate) fn too_large(text: &str) -> Problem {
    let expected = format!("a regular expression that compiles to at most {MAX_COMPILED} bytes");
    Problem::new(expected, quoted(text))
}

#[cfg(test)]
thread_local! {
    /// How many patterns this thread has compiled.
    pub(crate) static COMPILED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

fn not_a_pattern(text: &str, error: &str) -> Problem {
    let reason = error.lines().last().unwrap_or_default().trim_start_matches("error: ");
    Problem::new("a regular expression", format!("{} ({reason})", quoted(text)))
}

/// A compiled pattern.
#[derive(Debug)]
pub(crate) struct Regex {
    compiled: meta::Regex,
    size: usize,
}

impl Regex {
    /// Its share of the budgets, in bytes.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// Whether a text matches; one of more than [`MAX_TEXT`] bytes does not.
    pub(crate) fn is_match(&self, text: &str) -> bool {
        text.len() <= MAX_TEXT && self.compiled.is_match(text)
    }
}

/// What one class of Unicode costs, about the largest.
const CLASS: u64 = 1000;
/// Up to this cost, what a thread has searched for fits into [`MEMORY`].
const CHEAP: u64 = 500;
/// The last character with another case, about: of larger ones none is looked up.
const LAST_CASED: u32 = 0x1_E943;

/// What is known of a pattern from its syntax.
#[derive(Debug, Default)]
struct PatternWeight {
    /// Whether a part of it ignores case.
    is_folding: bool,
    /// The characters in ranges, each of which is looked up where case is ignored.
    characters: u64,
}

impl PatternWeight {
    /// The cost of a part. Parsing has bounded how deep it goes.
    fn cost(&mut self, ast: &Ast) -> u64 {
        match ast {
            Ast::Flags(flags) => {
                self.note(&flags.flags);
                1
            }
            Ast::Empty(_) | Ast::Literal(_) | Ast::Assertion(_) => 1,
            Ast::Dot(_) => 10,
            Ast::ClassUnicode(_) | Ast::ClassPerl(_) => CLASS,
            Ast::ClassBracketed(class) => self.set(&class.kind).saturating_mul(if class.negated { 4 } else { 1 }),
            Ast::Repetition(repetition) => {
                let times = match &repetition.op.kind {
                    RepetitionKind::Range(RepetitionRange::Exactly(times) | RepetitionRange::AtLeast(times)) => *times,
                    RepetitionKind::Range(RepetitionRange::Bounded(_, most)) => *most,
                    RepetitionKind::ZeroOrOne | RepetitionKind::ZeroOrMore | RepetitionKind::OneOrMore => 1,
                };
                self.cost(&repetition.ast).saturating_mul(u64::from(times.max(1))).saturating_add(1)
            }
            Ast::Group(group) => {
                if let GroupKind::NonCapturing(flags) = &group.kind {
                    self.note(flags);
                }
                self.cost(&group.ast).saturating_add(1)
            }
            Ast::Alternation(alternation) => self.sum(&alternation.asts),
            Ast::Concat(concat) => self.sum(&concat.asts),
        }
    }

    fn note(&mut self, flags: &Flags) {
        self.is_folding |= flags.flag_state(Flag::CaseInsensitive) == Some(true);
    }

    fn sum(&mut self, parts: &[Ast]) -> u64 {
        parts.iter().map(|part| self.cost(part)).fold(1, u64::saturating_add)
    }

    fn set(&mut self, set: &ClassSet) -> u64 {
        match set {
            ClassSet::Item(item) => self.item(item),
            ClassSet::BinaryOp(operation) => self.set(&operation.lhs).saturating_add(self.set(&operation.rhs)),
        }
    }

    fn item(&mut self, item: &ClassSetItem) -> u64 {
        match item {
            ClassSetItem::Empty(_) | ClassSetItem::Literal(_) | ClassSetItem::Ascii(_) => 1,
            ClassSetItem::Range(range) => {
                let (start, end) = (u32::from(range.start.c).min(LAST_CASED), u32::from(range.end.c).min(LAST_CASED));
                self.characters += u64::from(end.saturating_sub(start)) + 1;
                if range.end.c.is_ascii() { 1 } else { 20 }
            }
            ClassSetItem::Unicode(_) | ClassSetItem::Perl(_) => CLASS,
            ClassSetItem::Bracketed(class) => self.set(&class.kind),
            ClassSetItem::Union(union) => union.items.iter().map(|item| self.item(item)).fold(1, u64::saturating_add),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compiled(text: &str) -> Result<Regex, Problem> {
        Pattern::read(text)?.compile()
    }

    #[test]
    fn what_is_cheap_matches_as_what_is_not() {
        for (text, matching, other) in [
            (r"^[a-z0-9._%+-]+@[a-z0-9.-]+\.[a-z]{2,}$", "alice@example.com", "alice@example"),
            (r"^\w+@\w+$", "ünal@läden", "ünal@"),
            (r"(?i)^STAFF-\d{3}$", "staff-123", "staff-12"),
            (r"@example\.(com|org)$", "a@example.org", "a@example.net"),
            (r"\bbeta\b", "the beta test", "the betas"),
            ("", "anything", "\u{0}"),
        ] {
            let pattern = compiled(text).unwrap();
            assert!(pattern.is_match(matching), "{text}");
            assert!(!pattern.is_match(other) || text.is_empty(), "{text}");
        }
    }

    #[test]
    fn a_text_that_is_too_long_matches_nothing() {
        let pattern = compiled("").unwrap();
        assert!(pattern.is_match(&"x".repeat(MAX_TEXT)) && !pattern.is_match(&"x".repeat(MAX_TEXT + 1)));
    }

    #[test]
    fn what_cannot_be_compiled_says_why() {
        let said = |text: &str| compiled(text).unwrap_err().to_string();
        assert_eq!(said("("), "expected a regular expression, found \"(\" (unclosed group)");
        assert_eq!(
            said(r"\p{Klingon}"),
            r#"expected a regular expression, found "\\p{Klingon}" (Unicode property not found)"#
        );
        assert_eq!(said(&"a".repeat(513)), "expected a regular expression of at most 512 bytes, found one of 513");
        for large in [r"\w{100}", "(?:a{1000}){9}", ".{1000}"] {
            assert!(said(large).starts_with("expected a regular expression that compiles to at most 262144 bytes"));
        }
        let cased = |times: usize| format!("(?i:[{}])", "[a-\u{1e943}]".repeat(times));
        assert!(compiled(&cased(1)).is_ok() && compiled(&cased(20).replace("(?i:", "(?:")).is_ok());
        let expected = "expected a regular expression that ignores the case of at most 200000 characters in ranges, found 250310 in";
        assert!(said(&cased(2)).starts_with(expected), "{}", said(&cased(2)));
        assert!(Pattern::read(r"\w{100}").is_ok(), "its size is found when a set is compiled");
    }

    #[test]
    fn cheap_patterns_cost_less_than_large_ones() {
        let cost = |text: &str| Pattern::read(text).unwrap().cost();
        let ascending = ["a", "^[a-z]+@[a-z]+$", "^[^a]{30}$", r"\w+", r"\w{5}", r"[\w.]{9}", r"(\w{9}){9}"];
        for pair in ascending.windows(2) {
            assert!(cost(pair[0]) < cost(pair[1]), "{pair:?}");
        }
        assert_eq!(cost("((((a{1000}){1000}){1000}){1000}){1000}{1000}{1000}{1000}"), u64::MAX);
    }
}
