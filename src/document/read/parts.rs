//! The parts of a flag that have a structure of their own.

use std::collections::BTreeMap;

use super::keys::{NAME_PATTERN, is_name, nearest};
use crate::document::clause::{Clause, Operator, Patterns, Test};
use crate::document::flag::{Requirement, Rule, Serve, Step, Variant};
use crate::document::number::WHOLE;
use crate::document::percentage::{self, Percentage};
use crate::document::problem::{Problem, quoted, shortened};
use crate::document::text::{Loss, Node, View};
use crate::document::texts::Texts;
use crate::document::timestamp::{Day, Timestamp};

/// Most variants of a flag; their numbers fit one byte beside "none".
const MAX_VARIANTS: usize = 255;
/// Most patterns of a flag.
const MAX_PATTERNS: usize = 64;
/// Most steps of a schedule.
pub(crate) const MAX_STEPS: usize = 100;

/// A problem and where the value it is about starts in the document.
#[derive(Debug)]
pub(crate) struct LocatedProblem {
    pub(crate) problem: Problem,
    pub(crate) offset: usize,
}

/// What reading a part gives: the part, or what is wrong with it.
pub(crate) type Reading<T> = Result<T, LocatedProblem>;

/// A problem with the value itself; the caller adds the path that leads to it.
pub(crate) fn wrong<T>(node: &Node<'_>, expected: impl Into<String>) -> Reading<T> {
    Err(located(node, Problem::new(expected, node.describe())))
}

pub(crate) fn located(node: &Node<'_>, problem: Problem) -> LocatedProblem {
    LocatedProblem { problem, offset: node.offset() }
}

/// Puts a key or position before the path of a problem.
pub(crate) fn under(step: impl std::fmt::Display) -> impl FnOnce(LocatedProblem) -> LocatedProblem {
    move |mut located| {
        located.problem.path = match located.problem.path.as_str() {
            "" => step.to_string(),
            rest => format!("{step}.{rest}"),
        };
        located
    }
}

pub(crate) fn boolean(node: &Node<'_>) -> Reading<bool> {
    match node.view() {
        View::Bool(value) => Ok(value),
        _ => wrong(node, "true or false"),
    }
}

pub(crate) fn text(node: &Node<'_>) -> Reading<String> {
    match node.view() {
        View::Text(text) => Ok(text.into_owned()),
        _ => wrong(node, "a text"),
    }
}

pub(crate) fn percentage(node: &Node<'_>) -> Reading<Percentage> {
    if let View::Number(digits) = node.view()
        && let Ok(percentage) = digits.parse()
    {
        return Ok(percentage);
    }
    let reading = wrong(node, Percentage::EXPECTED);
    match node.view() {
        View::Text(text) if text.parse::<Percentage>().is_ok() => reading
            .map_err(|located| LocatedProblem { problem: located.problem.with_help("remove the quotes"), ..located }),
        _ => reading,
    }
}

/// A number in thousandths, if it is exact in them and not above `most`.
pub(crate) fn thousandths(node: &Node<'_>, most: u32, expected: &str) -> Reading<u32> {
    let View::Number(digits) = node.view() else { return wrong(node, expected) };
    percentage::thousandths(&digits).filter(|&number| number <= most).map_or_else(|| wrong(node, expected), Ok)
}

pub(crate) fn instant(node: &Node<'_>) -> Reading<Timestamp> {
    match node.view() {
        View::Text(text) => text.parse().or_else(|_| wrong(node, Timestamp::EXPECTED)),
        _ => wrong(node, Timestamp::EXPECTED),
    }
}

pub(crate) fn day(node: &Node<'_>) -> Reading<Day> {
    match node.view() {
        View::Text(text) => text.parse().or_else(|_| wrong(node, Day::EXPECTED)),
        _ => wrong(node, Day::EXPECTED),
    }
}

pub(crate) fn list<'a>(node: &Node<'a>, expected: &str) -> Reading<Vec<Node<'a>>> {
    match node.view() {
        View::List(items) => Ok(items),
        _ => wrong(node, expected),
    }
}

/// The members of an object, none of them twice.
pub(crate) fn members<'a>(node: &Node<'a>, expected: &str) -> Reading<BTreeMap<String, Node<'a>>> {
    let View::Map(list) = node.view() else { return wrong(node, expected) };
    let mut members = BTreeMap::new();
    for (key, value) in list {
        let path = key.clone().into_owned();
        if members.insert(key.into_owned(), value.clone()).is_some() {
            let problem = Problem::new("each key once", format!("{} twice", quoted(&path)));
            return Err(under(&path)(located(&value, problem)));
        }
    }
    members.retain(|_, value| !value.is_null());
    Ok(members)
}

pub(crate) fn texts(node: &Node<'_>) -> Reading<Texts> {
    let items = list(node, "a list of texts")?;
    let read = |(at, item): (usize, &Node<'_>)| match item.view() {
        View::Text(text) => Ok(text.into_owned()),
        _ => wrong(item, "a text").map_err(under(at)),
    };
    items.iter().enumerate().map(read).collect::<Reading<Vec<String>>>().map(Texts::from_iter)
}

/// One of the values of a closed list of words.
pub(crate) fn word<T: Copy>(node: &Node<'_>, words: &[(&'static str, T)]) -> Reading<T> {
    if let View::Text(text) = node.view() {
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Ok(*value);
        }
        let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let mut problem = Problem::new(format!("one of {}", names.join(", ")), quoted(&text));
        if let Some(near) = nearest(&text, names) {
            problem = problem.with_help(format!("did you mean {near:?}?"));
        }
        return Err(located(node, problem));
    }
    wrong(node, "a text")
}

pub(crate) fn requires(node: &Node<'_>) -> Reading<Vec<Requirement>> {
    const EXPECTED: &str = "a flag's name, or an object from one name to a variant";
    let mut requirements = Vec::new();
    for (at, item) in list(node, "a list of flags")?.iter().enumerate() {
        match item.view() {
            View::Text(flag) => requirements.push(Requirement { flag: flag.into_owned(), variant: None }),
            View::Map(_) => {
                let entries = members(item, EXPECTED).map_err(under(at))?;
                let mut entries = entries.into_iter();
                let (Some((flag, variant)), None) = (entries.next(), entries.next()) else {
                    return wrong(item, EXPECTED).map_err(under(at));
                };
                let variant = Some(text(&variant).map_err(under(&flag)).map_err(under(at))?);
                requirements.push(Requirement { flag, variant });
            }
            _ => return wrong(item, EXPECTED).map_err(under(at)),
        }
    }
    Ok(requirements)
}

pub(crate) fn schedule(node: &Node<'_>) -> Reading<Vec<Step>> {
    let items = list(node, "a list of steps")?;
    if items.len() > MAX_STEPS {
        return wrong(node, format!("at most {MAX_STEPS} steps"));
    }
    let mut steps: Vec<Step> = Vec::with_capacity(items.len());
    for (number, item) in items.iter().enumerate() {
        let step = step(item).map_err(under(number))?;
        if let Some(before) = steps.last()
            && before.at >= step.at
        {
            let problem = Problem::new(format!("an instant after {}", before.at), step.at.to_string());
            return Err(under(number)(under("at")(located(item, problem))));
        }
        steps.push(step);
    }
    Ok(steps)
}

fn step(node: &Node<'_>) -> Reading<Step> {
    let mut members = members(node, "an object with at and percentage")?;
    let mut part = |key: &str| members.remove(key).map_or_else(|| missing(node, key), Ok);
    let at = part("at")?;
    let share = part("percentage")?;
    let step =
        Step { at: instant(&at).map_err(under("at"))?, percentage: percentage(&share).map_err(under("percentage"))? };
    no_more_keys(&members, ["at", "percentage"]).map(|()| step)
}

pub(crate) fn missing<T>(node: &Node<'_>, key: &str) -> Reading<T> {
    Err(under(key)(located(node, Problem::new(format!("the key {key:?}"), "none"))))
}

pub(crate) fn no_more_keys<const N: usize>(members: &BTreeMap<String, Node<'_>>, known: [&str; N]) -> Reading<()> {
    match members.first_key_value() {
        None => Ok(()),
        Some((key, node)) => {
            let mut problem = Problem::new(format!("only the keys {}", known.join(", ")), quoted(key));
            if let Some(near) = nearest(key, known) {
                problem = problem.with_help(format!("did you mean {near:?}?"));
            }
            Err(under(key)(located(node, problem)))
        }
    }
}

pub(crate) fn variants(node: &Node<'_>) -> Reading<Vec<Variant>> {
    let entries = members(node, "an object from names to weights")?;
    if entries.is_empty() || entries.len() > MAX_VARIANTS {
        return wrong(node, format!("1 to {MAX_VARIANTS} variants"));
    }
    let mut variants = Vec::with_capacity(entries.len());
    for (name, entry) in entries {
        if !is_name(&name) {
            return Err(under(&name)(located(&entry, Problem::new(NAME_PATTERN, quoted(&name)))));
        }
        let (weight, value) = weight_and_value(&entry).map_err(under(&name))?;
        variants.push(Variant { name, weight, value });
    }
    let sum: u64 = variants.iter().map(|variant| u64::from(variant.weight.thousandths())).sum();
    if sum != u64::from(Percentage::HUNDRED.thousandths()) {
        let found = format!("{}.{:03}", sum / 1000, sum % 1000);
        let found = found.trim_end_matches('0').trim_end_matches('.');
        return Err(located(node, Problem::new("weights that sum to exactly 100", format!("a sum of {found}"))));
    }
    Ok(variants)
}

fn weight_and_value(node: &Node<'_>) -> Reading<(Percentage, Option<serde_json::Value>)> {
    if !matches!(node.view(), View::Map(_)) {
        return Ok((percentage(node)?, None));
    }
    let mut members = members(node, "an object with weight and value")?;
    let Some(weight) = members.remove("weight") else { return missing(node, "weight") };
    let weight = percentage(&weight).map_err(under("weight"))?;
    let value = match members.remove("value") {
        None => None,
        Some(value) => {
            let read = exact(&value, "JSON of at most 128 levels with each key once");
            Some(read.map_err(under("value"))?)
        }
    };
    no_more_keys(&members, ["weight", "value"])?;
    Ok((weight, value))
}

/// A value that keeps all digits of its whole numbers.
pub(crate) fn exact(node: &Node<'_>, expected: &str) -> Reading<serde_json::Value> {
    node.to_exact_value().or_else(|unkept| match unkept {
        Loss::Value => wrong(node, expected),
        Loss::Number(digits) => {
            let problem = Problem::new(WHOLE, shortened(&digits)).with_help("put a longer number in quotes");
            Err(located(node, problem))
        }
    })
}

/// Rules may serve variants by name, so the variants are read first.
pub(crate) fn rules(node: &Node<'_>, variants: &[Variant]) -> Reading<Vec<Rule>> {
    let items = list(node, "a list of rules")?;
    let read = |(at, item): (usize, &Node<'_>)| rule(item, variants).map_err(under(at));
    let mut rules = items.iter().enumerate().map(read).collect::<Reading<Vec<Rule>>>()?;
    let mut count = 0;
    for clause in rules.iter_mut().flat_map(|rule| &mut rule.when) {
        if let Test::Matches(Patterns { first, patterns }) = &mut clause.test {
            *first = count;
            count += patterns.len();
        }
    }
    if count > MAX_PATTERNS {
        let problem =
            Problem::new(format!("at most {MAX_PATTERNS} regular expressions in one flag"), count.to_string());
        return Err(located(node, problem));
    }
    Ok(rules)
}

fn rule(node: &Node<'_>, variants: &[Variant]) -> Reading<Rule> {
    let mut members = members(node, "an object with when and serve")?;
    let Some(when) = members.remove("when") else { return missing(node, "when") };
    let Some(serve) = members.remove("serve") else { return missing(node, "serve") };
    no_more_keys(&members, ["when", "serve"])?;
    Ok(Rule {
        when: clauses(&when).map_err(under("when"))?,
        serve: self::serve(&serve, variants).map_err(under("serve"))?,
    })
}

fn serve(node: &Node<'_>, variants: &[Variant]) -> Reading<Serve> {
    match node.view() {
        View::Bool(true) => Ok(Serve::On),
        View::Bool(false) => Ok(Serve::Off),
        View::Text(name) => match variants.iter().zip(0_u8..).find(|(variant, _)| variant.name == name) {
            Some((_, number)) => Ok(Serve::Variant(number)),
            None => {
                let mut problem = Problem::new("the name of a variant of this flag", quoted(&name));
                if let Some(near) = nearest(&name, variants.iter().map(Variant::name)) {
                    problem = problem.with_help(format!("did you mean {near:?}?"));
                }
                Err(located(node, problem))
            }
        },
        View::Map(_) => {
            let mut members = members(node, "an object with percentage")?;
            let Some(share) = members.remove("percentage") else { return missing(node, "percentage") };
            let share = percentage(&share).map_err(under("percentage"))?;
            no_more_keys(&members, ["percentage"])?;
            Ok(Serve::Percentage(share))
        }
        _ => wrong(node, "true, false, a variant's name or an object with percentage"),
    }
}

fn clauses(node: &Node<'_>) -> Reading<Vec<Clause>> {
    let items = list(node, "a list of clauses")?;
    if items.is_empty() {
        return Err(located(
            node,
            Problem::new("at least one clause", "none").with_help("a rule for everybody is a percentage of 100"),
        ));
    }
    items.iter().enumerate().map(|(at, item)| clause(item).map_err(under(at))).collect()
}

fn clause(node: &Node<'_>) -> Reading<Clause> {
    let mut members = members(node, "an object with attribute, op and values")?;
    let Some(attribute) = members.remove("attribute") else { return missing(node, "attribute") };
    let Some(op) = members.remove("op") else { return missing(node, "op") };
    let values = members.remove("values");
    no_more_keys(&members, ["attribute", "op", "values"])?;
    let attribute = text(&attribute).map_err(under("attribute"))?;
    let (operator, negated) = operator(&op).map_err(under("op"))?;
    let values = match (operator, &values) {
        (Operator::Exists, None) => Vec::new(),
        (Operator::Exists, Some(values)) => return wrong(values, "no values with exists").map_err(under("values")),
        (_, None) => return missing(node, "values"),
        (_, Some(values)) => {
            let items = list(values, "a list of values").map_err(under("values"))?;
            if items.is_empty() {
                return wrong(values, "at least one value").map_err(under("values"));
            }
            items
        }
    };
    let test = Test::read(operator, &values)
        .map_err(|(at, problem)| under("values")(under(at)(located(&values[at], problem))))?;
    Ok(Clause { attribute, negated, test })
}

fn operator(node: &Node<'_>) -> Reading<(Operator, bool)> {
    let name = text(node)?;
    Operator::parse(&name).ok_or_else(|| {
        let mut problem = Problem::new("an operator", quoted(&name));
        let (not, plain) = match name.strip_prefix("not_") {
            Some(plain) => ("not_", plain),
            None => ("", name.as_str()),
        };
        if let Some(near) = nearest(plain, Operator::names()) {
            problem = problem.with_help(format!("did you mean \"{not}{near}\"?"));
        }
        located(node, problem)
    })
}
