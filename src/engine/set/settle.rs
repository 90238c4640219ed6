//! Which definition of each flag is in force, after everything that one says of others is checked.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::bits::Bits;
use super::core::{Core, Tables};
use super::patterns::Compiler;
use super::requires::{Fault, Graph, MAX_DEPTH, Need, Requirements};
use crate::document::{Definition, Document, Problem, Requirement, kept, nearest, quoted};

/// Definitions after everything that one flag says of others is checked.
pub(super) struct Settlement {
    pub(super) tables: Tables,
    /// The definitions in effect of flags whose patterns are over a budget, and the problems.
    pub(super) unfit: Vec<(Arc<str>, Definition, Problem)>,
}

impl Settlement {
    /// Refuses flags whose patterns are over a budget, and those whose `requires` cannot be met by any set, until none is
    /// left: refusing one brings back an earlier definition, which may require something else.
    pub(super) fn from(document: &Document, previous: Option<&Core>) -> Self {
        let (names, read): (Vec<Arc<str>>, Vec<Definition>) =
            document.flags.iter().map(|(name, definition)| (Arc::clone(name), definition.clone())).unzip();
        let earlier = |number: u32| previous.and_then(|previous| previous.shared_flag(&names[number as usize]));
        let sizes = previous.map(|previous| previous.patterns.sizes());
        let mut compiler = Compiler::after(previous.into_iter().flat_map(Core::compiled_patterns), sizes);
        let over_budget = compiler.admit(&read, |number| earlier(number).map(AsRef::as_ref));
        let mut definitions = read.clone();
        let mut problems = document.problems.clone();
        let mut has_fallen_back = Bits::zero(names.len());
        let mut fall_back = |definitions: &mut [Definition], number: u32, problem: Problem| {
            let name = &names[number as usize];
            let definition = &mut definitions[number as usize];
            let (is_killed, is_hidden) = (definition.is_killed(), definition.is_hidden());
            let earlier = earlier(number).filter(|_| !has_fallen_back.get(number));
            has_fallen_back.set(number);
            *definition = match earlier {
                Some(earlier) => Definition::Good(kept(earlier, is_killed, is_hidden)),
                None => Definition::Refused { is_killed, is_hidden },
            };
            let problem = problem.of_flag(name);
            match document.places.get(name) {
                Some(place) => problem.at_place(place),
                None => problem,
            }
        };
        let mut unfit = Vec::with_capacity(over_budget.len());
        for (number, problem) in over_budget {
            let problem = fall_back(&mut definitions, number, problem);
            unfit.push((Arc::clone(&names[number as usize]), definitions[number as usize].clone(), problem.clone()));
            problems.push(problem);
        }
        let requirements = loop {
            match requirements(&names, &definitions) {
                Ok(requirements) => break requirements,
                Err(faults) => {
                    let faults = faults.into_iter();
                    problems.extend(faults.map(|(number, problem)| fall_back(&mut definitions, number, problem)));
                }
            }
        };
        let patterns = compiler.finish(&definitions);
        Self { tables: Tables { names, definitions, requirements, patterns, problems }, unfit }
    }
}

/// Resolves names to numbers and orders the flags, or says what is wrong with which.
fn requirements(names: &[Arc<str>], definitions: &[Definition]) -> Result<Requirements, Vec<(u32, Problem)>> {
    let mut needs: BTreeMap<u32, Box<[Need]>> = BTreeMap::new();
    let mut faults = Vec::new();
    for (definition, number) in definitions.iter().zip(0_u32..) {
        let Definition::Good(flag) = definition else { continue };
        if flag.requires.is_empty() {
            continue;
        }
        match flag
            .requires
            .iter()
            .enumerate()
            .map(|(at, requirement)| need(at, faults.len() < MAX_HINTS, requirement, names, definitions))
            .collect()
        {
            Ok(resolved) => {
                needs.insert(number, resolved);
            }
            Err(problem) => faults.push((number, problem)),
        }
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    let edges = needs.iter().map(|(&flag, needs)| (flag, needs.iter().map(|need| need.flag).collect())).collect();
    match (Graph { edges }).order() {
        Ok(order) => Ok(order.into_iter().filter_map(|flag| Some((flag, needs.remove(&flag)?))).collect()),
        Err(faults) => Err(faults
            .into_iter()
            .map(|(flag, fault)| {
                let problem = match fault {
                    Fault::Cycle => Problem::new("flags that do not wait for each other", "a cycle"),
                    Fault::TooDeep => {
                        Problem::new(format!("a chain of at most {MAX_DEPTH} required flags"), "a longer one")
                    }
                };
                (flag, problem.at_path("requires"))
            })
            .collect()),
    }
}

/// Faults of one compile that get a hint at the name that was meant; the search walks all names.
const MAX_HINTS: usize = 16;

fn need(
    position: usize,
    has_hint: bool,
    requirement: &Requirement,
    names: &[Arc<str>],
    definitions: &[Definition],
) -> Result<Need, Problem> {
    let path = format!("requires.{position}");
    let Ok(at) = names.binary_search_by(|name| name.as_ref().cmp(requirement.flag.as_str())) else {
        let mut problem = Problem::new("the name of another flag", quoted(&requirement.flag)).at_path(path);
        let names = names.iter().map(AsRef::as_ref).filter(|_| has_hint);
        if let Some(near) = nearest(&requirement.flag, names) {
            problem = problem.with_help(format!("did you mean {near:?}?"));
        }
        return Err(problem);
    };
    let flag = u32::try_from(at).expect("a set has at most 10 000 flags");
    let (Some(variant), Definition::Good(required)) = (&requirement.variant, &definitions[at]) else {
        return Ok(Need { flag, variant: None });
    };
    match required.variant_number(variant) {
        Some(number) => Ok(Need { flag, variant: Some(number) }),
        None => Err(Problem::new(format!("a variant of flag {:?}", requirement.flag), quoted(variant)).at_path(path)),
    }
}
