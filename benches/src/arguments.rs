//! What criterion is asked to do: it does not say.

/// Whether criterion takes times, and does not only list the benchmarks or try them out.
#[must_use]
pub fn is_measuring() -> bool {
    let is_given = |option: &str| std::env::args().any(|argument| argument == option);
    is_given("--bench") && !is_given("--test") && !is_given("--list")
}

/// Whether the benchmark is among those asked for.
#[must_use]
pub fn is_wanted(name: &str) -> bool {
    let arguments: Vec<String> = std::env::args().collect();
    // What follows an option is its value; only the one that cargo adds has none.
    let is_value = |option: &str| option.starts_with("--") && option != "--bench";
    let filter = arguments.windows(2).find(|pair| !pair[1].starts_with('-') && !is_value(&pair[0]));
    filter.is_none_or(|pair| name.contains(&pair[1]))
}
