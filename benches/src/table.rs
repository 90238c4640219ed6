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

/// One line of the table: a number that has to stay at or below a limit.
#[derive(Clone, Debug)]
pub struct Goal {
    /// What is measured.
    pub what: String,
    /// The limit.
    pub must: f64,
    /// What would be better still.
    pub aim: f64,
    /// What came out.
    pub measured: f64,
}

/// Prints the table; returns how many limits do not hold.
pub fn print(goals: &[Goal]) -> usize {
    let width = goals.iter().map(|goal| goal.what.len()).max().unwrap_or_default();
    println!("{:<width$}  {:>7} {:>7} {:>9}", "what", "must", "aim", "measured");
    for Goal { what, must, aim, measured } in goals {
        let verdict = match measured {
            measured if measured <= aim => "ok, aim reached",
            measured if measured <= must => "ok",
            _ => "NOT REACHED",
        };
        println!("{what:<width$}  {must:>7} {aim:>7} {measured:>9.3}  {verdict}");
    }
    goals.iter().filter(|goal| goal.measured > goal.must).count()
}
