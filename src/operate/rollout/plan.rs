//! What is to happen: percentages from offsets on, and where they count from.

use std::time::Duration;

use crate::document::parts::MAX_STEPS;
use crate::document::{Percentage, Problem, Step, Timestamp};

/// Longest stage in hours, and latest day.
pub(super) const MOST: u32 = 1_000_000;

const HOUR: u64 = 60 * 60;

/// Percentages to come, checked; see the [module documentation](super).
///
/// ```
/// use std::time::Duration;
/// use tower_flags::Percentage;
/// use tower_flags::operate::rollout::Plan;
///
/// let percent = |percent: u32| Percentage::from_thousandths(percent * 1000).unwrap();
/// let hours = |hours: u64| Duration::from_secs(hours * 60 * 60);
/// let stages = Plan::stages([(percent(5), hours(24)), (percent(25), hours(48)), (percent(100), hours(0))])?;
/// let days = Plan::days([(0, percent(5)), (1, percent(25)), (3, percent(100))])?;
/// assert_eq!(stages, days);
///
/// let backwards = r#"{"days": [{"day": 0, "percentage": 25}, {"day": 1, "percentage": 5}]}"#.parse::<Plan>();
/// assert_eq!(
///     backwards.unwrap_err().to_string(),
///     "line 1, column 10: days.1.percentage: expected at least the 25 % before it, found 5 %"
/// );
/// # Ok::<(), tower_flags::Problem>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// `None`: the instant of the edit.
    start: Option<Timestamp>,
    /// When each begins after the start, strictly ascending, and its percentage, never descending. At least one.
    stages: Vec<(Duration, Percentage)>,
}

impl Plan {
    /// Stages one after the other: a share of users, and for how long. How long the last one is changes nothing.
    ///
    /// # Errors
    ///
    /// No stages or more than 100, a percentage below the one before, or a stage but the last that has no length
    /// or one above 1 000 000 hours.
    pub fn stages(stages: impl IntoIterator<Item = (Percentage, Duration)>) -> Result<Self, Problem> {
        let stages: Vec<_> = stages.into_iter().take(MAX_STEPS + 1).collect();
        let longest = Duration::from_secs(u64::from(MOST) * HOUR);
        let mut begins = Duration::ZERO;
        let mut plan = Vec::with_capacity(stages.len());
        for (number, (percentage, lasts)) in stages.iter().copied().enumerate() {
            plan.push((begins, percentage));
            if number + 1 < stages.len() {
                if lasts.is_zero() || lasts > longest {
                    let expected = format!("more than 0 hours, and at most {MOST}");
                    let problem = Problem::new(expected, format!("{} hours", lasts.as_secs_f64() / HOUR as f64));
                    return Err(problem.at_path(format!("stages.{number}.hours")));
                }
                begins += lasts;
            }
        }
        Self::checked("stages", plan)
    }

    /// Percentages, each from a day on: so many times 24 hours after the start.
    ///
    /// # Errors
    ///
    /// No days or more than 100, a percentage below the one before, or a day that does not come after the one before
    /// or is above 1 000 000.
    pub fn days(days: impl IntoIterator<Item = (u32, Percentage)>) -> Result<Self, Problem> {
        let days: Vec<_> = days.into_iter().take(MAX_STEPS + 1).collect();
        for (number, (day, _)) in days.iter().enumerate() {
            let before = number.checked_sub(1).map(|before| days[before].0);
            let expected = match before {
                Some(before) if *day <= before => format!("a day after {before}, the one before it"),
                _ if *day > MOST => format!("a day of at most {MOST}"),
                _ => continue,
            };
            return Err(Problem::new(expected, day.to_string()).at_path(format!("days.{number}.day")));
        }
        let begins = |day| Duration::from_secs(u64::from(day) * 24 * HOUR);
        Self::checked("days", days.into_iter().map(|(day, percentage)| (begins(day), percentage)).collect())
    }

    fn checked(list: &str, stages: Vec<(Duration, Percentage)>) -> Result<Self, Problem> {
        if stages.is_empty() || stages.len() > MAX_STEPS {
            let found = if stages.is_empty() { "none" } else { "more" };
            return Err(Problem::new(format!("1 to {MAX_STEPS} stages"), found).at_path(list));
        }
        if let Some(before) = stages.windows(2).position(|pair| pair[1].1 < pair[0].1) {
            let (expected, found) = (stages[before].1, stages[before + 1].1);
            let problem = Problem::new(format!("at least the {expected} % before it"), format!("{found} %"));
            return Err(problem.at_path(format!("{list}.{}.percentage", before + 1)));
        }
        Ok(Self { start: None, stages })
    }

    /// Counts from this instant, in the past or to come, instead of from the instant of the edit.
    ///
    /// # Errors
    ///
    /// A stage would begin after the year 9999.
    pub fn starting_at(self, start: Timestamp) -> Result<Self, Problem> {
        let plan = Self { start: Some(start), ..self };
        plan.steps(start).map(|_| plan)
    }

    /// The schedule it becomes where it is started at `now`.
    pub(super) fn steps(&self, now: Timestamp) -> Result<Vec<Step>, Problem> {
        let start = self.start.unwrap_or(now);
        let step = |&(begins, percentage)| {
            let at = start.checked_add(begins).ok_or_else(|| too_late().at_path("start"))?;
            Ok(Step { at, percentage })
        };
        self.stages.iter().map(step).collect()
    }
}

/// A step would fall behind the last instant there is.
pub(super) fn too_late() -> Problem {
    Problem::new(format!("steps until {}", Timestamp::MAX), "a later one")
}
