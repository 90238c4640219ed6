//! Plans from JSON.

use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::plan::{MOST, Plan};
use crate::document::parts::{
    LocatedProblem, Reading, instant, list, located, members, missing, no_more_keys, percentage, thousandths, under,
};
use crate::document::{Node, Percentage, Problem, json};

/// A thousandth of an hour.
const THOUSANDTH: Duration = Duration::from_millis(3_600);

impl FromStr for Plan {
    type Err = Problem;

    /// Reads a plan from JSON, as the [module documentation](super) writes it. Numbers are taken exactly.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong, with where it is: unknown keys and keys that stand twice too.
    fn from_str(json_text: &str) -> Result<Self, Problem> {
        plan(&json(json_text)?).map_err(|LocatedProblem { problem, offset }| problem.at_offset(json_text, offset))
    }
}

/// Like [`Plan::from_str`], and from JSON alone: `serde_json` hands its text over as it is.
impl<'de> Deserialize<'de> for Plan {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Box::<RawValue>::deserialize(deserializer)?;
        // Lines and columns would be those of the part alone.
        let unplaced = |problem| Problem { line: None, column: None, ..problem };
        text.get().parse().map_err(|problem| serde::de::Error::custom(unplaced(problem)))
    }
}

fn plan(node: &Node<'_>) -> Reading<Plan> {
    let mut members = members(node, "an object with stages or days")?;
    let (start, stages, days) = (members.remove("start"), members.remove("stages"), members.remove("days"));
    no_more_keys(&members, ["start", "stages", "days"])?;
    let plan = match (stages, days) {
        (Some(stages), None) => Plan::stages(each(&stages, "stages", stage)?).map_err(|problem| (stages, problem)),
        (None, Some(days)) => Plan::days(each(&days, "days", day)?).map_err(|problem| (days, problem)),
        (stages, _) => {
            let found = if stages.is_some() { "both" } else { "neither" };
            return Err(located(node, Problem::new("either stages or days", found)));
        }
    };
    let plan = plan.map_err(|(node, problem)| located(&node, problem))?;
    let Some(node) = start else { return Ok(plan) };
    let start = instant(&node).map_err(under("start"))?;
    plan.starting_at(start).map_err(|problem| located(&node, problem))
}

fn each<T>(node: &Node<'_>, key: &str, read: fn(&Node<'_>, bool) -> Reading<T>) -> Reading<Vec<T>> {
    let items = list(node, "a list of stages").map_err(under(key))?;
    let read = |(number, item)| read(item, number + 1 == items.len()).map_err(under(number)).map_err(under(key));
    items.iter().enumerate().map(read).collect()
}

fn stage(node: &Node<'_>, is_last: bool) -> Reading<(Percentage, Duration)> {
    const EXPECTED: &str = "a number of hours with at most three decimals";
    let mut members = members(node, "an object with percentage and hours")?;
    let (share, hours) = (members.remove("percentage"), members.remove("hours"));
    no_more_keys(&members, ["percentage", "hours"])?;
    let Some(share) = share else { return missing(node, "percentage") };
    let lasts = match hours {
        Some(hours) => thousandths(&hours, MOST * 1000, EXPECTED).map_err(under("hours"))? * THOUSANDTH,
        None if is_last => Duration::ZERO,
        None => return missing(node, "hours"),
    };
    Ok((percentage(&share).map_err(under("percentage"))?, lasts))
}

fn day(node: &Node<'_>, _: bool) -> Reading<(u32, Percentage)> {
    const EXPECTED: &str = "a whole number of days";
    let mut members = members(node, "an object with day and percentage")?;
    let (day, share) = (members.remove("day"), members.remove("percentage"));
    no_more_keys(&members, ["day", "percentage"])?;
    let Some(day) = day else { return missing(node, "day") };
    let Some(share) = share else { return missing(node, "percentage") };
    let thousandths = thousandths(&day, MOST * 1000, EXPECTED).map_err(under("day"))?;
    if !thousandths.is_multiple_of(1000) {
        let problem = Problem::new(EXPECTED, day.describe()).with_help("stages can last a part of a day, in hours");
        return Err(under("day")(located(&day, problem)));
    }
    Ok((thousandths / 1000, percentage(&share).map_err(under("percentage"))?))
}
