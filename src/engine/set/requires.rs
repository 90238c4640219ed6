//! Which flags wait for which: order, cycles, depth. All of it at compile time, so that deciding
//! needs no cycle logic.

/// A required flag, and the number of the variant it must have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Need {
    pub(super) flag: u32,
    pub(super) variant: Option<u8>,
}

/// Flags that require others, each after those it requires.
pub(super) type Requirements = Box<[(u32, Box<[Need]>)]>;

/// Longest chain of `requires`.
pub(super) const MAX_DEPTH: u32 = 32;

/// Flags by number, each with the numbers of the flags it requires.
#[derive(Debug, Default)]
pub(super) struct Graph {
    /// Ascending by flag; only flags that require something.
    pub(super) edges: Vec<(u32, Vec<u32>)>,
}

/// What is wrong with a flag's place in the graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Cycle,
    TooDeep,
}

impl Graph {
    fn requires(&self, flag: u32) -> &[u32] {
        match self.edges.binary_search_by_key(&flag, |(flag, _)| *flag) {
            Ok(at) => &self.edges[at].1,
            Err(_) => &[],
        }
    }

    /// The flags that require something, each after those it requires; or the faulty ones.
    pub(super) fn order(&self) -> Result<Vec<u32>, Vec<(u32, Fault)>> {
        let components = self.components();
        let is_cycle = |component: &[u32]| component.len() > 1 || self.requires(component[0]).contains(&component[0]);
        let cyclic: Vec<_> = components
            .iter()
            .filter(|component| is_cycle(component))
            .flatten()
            .map(|&flag| (flag, Fault::Cycle))
            .collect();
        if !cyclic.is_empty() {
            return Err(cyclic);
        }
        let order: Vec<u32> =
            components.into_iter().flatten().filter(|&flag| !self.requires(flag).is_empty()).collect();
        // Only the first flags of a chain that are too deep are refused; those above them then
        // require a broken flag and are judged again.
        let mut depths = std::collections::HashMap::new();
        let mut too_deep = Vec::new();
        for &flag in &order {
            let deepest = self.requires(flag).iter().map(|required| depths.get(required).copied().unwrap_or(0)).max();
            let depth = deepest.unwrap_or(0) + 1;
            if depth > MAX_DEPTH {
                too_deep.push((flag, Fault::TooDeep));
            }
            depths.insert(flag, if depth > MAX_DEPTH { 0 } else { depth });
        }
        if too_deep.is_empty() { Ok(order) } else { Err(too_deep) }
    }

    /// Strongly connected components, required ones first (Tarjan 1972, with its own stack: a
    /// chain may be 10 000 flags long).
    fn components(&self) -> Vec<Vec<u32>> {
        #[derive(Clone, Copy, Default)]
        struct Visit {
            number: u32,
            low: u32,
            is_on_stack: bool,
        }
        let mut visits: std::collections::HashMap<u32, Visit> = std::collections::HashMap::new();
        let (mut stack, mut components) = (Vec::new(), Vec::new());
        let mut next_number = 0;
        for &(root, _) in &self.edges {
            if visits.contains_key(&root) {
                continue;
            }
            let mut calls = vec![(root, 0)];
            while let Some((flag, edge)) = calls.pop() {
                if edge == 0 {
                    visits.insert(flag, Visit { number: next_number, low: next_number, is_on_stack: true });
                    next_number += 1;
                    stack.push(flag);
                }
                let mut low = visits[&flag].low;
                if edge > 0 {
                    let child = self.requires(flag)[edge - 1];
                    if visits[&child].is_on_stack {
                        low = low.min(visits[&child].low);
                    }
                }
                let mut descend = None;
                let mut next_edge = edge;
                for &child in &self.requires(flag)[edge..] {
                    next_edge += 1;
                    match visits.get(&child) {
                        None => {
                            descend = Some(child);
                            break;
                        }
                        Some(visit) if visit.is_on_stack => low = low.min(visit.number),
                        Some(_) => {}
                    }
                }
                if let Some(visit) = visits.get_mut(&flag) {
                    visit.low = low;
                }
                if let Some(child) = descend {
                    calls.push((flag, next_edge));
                    calls.push((child, 0));
                } else if low == visits[&flag].number {
                    let start = stack.iter().rposition(|&on_stack| on_stack == flag).unwrap_or(0);
                    let component = stack.split_off(start);
                    for member in &component {
                        if let Some(visit) = visits.get_mut(member) {
                            visit.is_on_stack = false;
                        }
                    }
                    components.push(component);
                }
            }
        }
        components
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(edges: &[(u32, &[u32])]) -> Graph {
        Graph { edges: edges.iter().map(|(flag, required)| (*flag, required.to_vec())).collect() }
    }

    #[test]
    fn required_flags_come_first() {
        let order = graph(&[(0, &[1, 2]), (1, &[3]), (2, &[3]), (3, &[9])]).order().unwrap();
        let at = |flag| order.iter().position(|&other| other == flag).unwrap();
        assert!(at(3) < at(1) && at(3) < at(2) && at(1) < at(0) && at(2) < at(0));
        assert_eq!(order.len(), 4);
    }

    #[test]
    fn only_members_of_a_cycle_are_faulty() {
        let mut faulty = graph(&[(0, &[1]), (1, &[2]), (2, &[1]), (3, &[3]), (4, &[0, 3])]).order().unwrap_err();
        faulty.sort_unstable_by_key(|(flag, _)| *flag);
        assert_eq!(faulty, [(1, Fault::Cycle), (2, Fault::Cycle), (3, Fault::Cycle)]);
    }

    #[test]
    fn a_chain_of_32_is_allowed_and_the_next_is_not() {
        let chain = |length: u32| Graph { edges: (0..length).map(|flag| (flag, vec![flag + 1])).collect() };
        assert!(chain(32).order().is_ok());
        assert_eq!(chain(33).order().unwrap_err(), [(0, Fault::TooDeep)]);
        assert_eq!(chain(10_000).order().unwrap_err().len(), 303);
    }
}
