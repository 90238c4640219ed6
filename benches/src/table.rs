//! Medians, and the table of what is to be reached.

/// The middle value; sorts.
///
/// # Panics
///
/// Without values.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Which side of its limit a number has to stay on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sense {
    AtMost,
    AtLeast,
}

/// One line of the table: a number that has to keep to a limit.
#[derive(Clone, Debug)]
pub struct Goal {
    what: String,
    sense: Sense,
    must: f64,
    aim: Option<f64>,
    measured: f64,
}

impl Goal {
    /// A number that has to stay at or below a limit.
    #[must_use]
    pub fn at_most(must: f64, what: impl Into<String>, measured: f64) -> Self {
        Self { what: what.into(), sense: Sense::AtMost, must, aim: None, measured }
    }

    /// A number that has to stay at or above a limit.
    #[must_use]
    pub fn at_least(must: f64, what: impl Into<String>, measured: f64) -> Self {
        Self { what: what.into(), sense: Sense::AtLeast, must, aim: None, measured }
    }

    /// What would be better still.
    #[must_use]
    pub fn aim(self, aim: f64) -> Self {
        Self { aim: Some(aim), ..self }
    }

    fn holds(&self, limit: f64) -> bool {
        match self.sense {
            Sense::AtMost => self.measured <= limit,
            Sense::AtLeast => self.measured >= limit,
        }
    }

    fn verdict(&self) -> &'static str {
        match self.aim {
            _ if !self.holds(self.must) => "NOT REACHED",
            Some(aim) if self.holds(aim) => "ok, aim reached",
            _ => "ok",
        }
    }
}

/// Prints the table; returns how many limits do not hold.
pub fn print(goals: &[Goal]) -> usize {
    let width = goals.iter().map(|goal| goal.what.len()).max().unwrap_or_default();
    println!("{:<width$}  {:>7} {:>7} {:>9}", "what", "must", "aim", "measured");
    for goal in goals {
        let sign = if goal.sense == Sense::AtLeast { ">=" } else { "" };
        let limit = |limit: f64| format!("{sign}{limit}");
        let (must, aim) = (limit(goal.must), goal.aim.map(limit).unwrap_or_default());
        println!("{:<width$}  {must:>7} {aim:>7} {:>9.3}  {}", goal.what, goal.measured, goal.verdict());
    }
    goals.iter().filter(|goal| !goal.holds(goal.must)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_holds_on_its_side_of_the_limit() {
        let verdicts = |goal: fn(f64) -> Goal| [1.0, 2.0, 3.0].map(|measured| goal(measured).verdict());
        assert_eq!(
            verdicts(|measured| Goal::at_most(2.0, "", measured).aim(1.0)),
            ["ok, aim reached", "ok", "NOT REACHED"]
        );
        assert_eq!(verdicts(|measured| Goal::at_least(2.0, "", measured)), ["NOT REACHED", "ok", "ok"]);
        assert_eq!(Goal::at_most(2.0, "", f64::NAN).verdict(), "NOT REACHED");
    }
}
