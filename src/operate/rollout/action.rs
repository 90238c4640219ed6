//! What can be done to a rollout, as edits.

use std::time::Duration;

use serde_json::{Value, json};

use super::plan::{Plan, too_late};
use crate::document::parts::MAX_STEPS;
use crate::document::{Edit, Flag, Percentage, Problem, Schedule, Step, Timestamp};
use crate::store::Change;

/// What is to be done to a rollout; the functions of this [module](super) make changes of it.
///
/// ```
/// use tower_flags::operate::rollout::Action;
/// use tower_flags::{Flag, Timestamp};
///
/// let flag: Flag = r#"{"schedule": [
///     {"at": "2026-12-01T09:00:00Z", "percentage": 5}, {"at": "2026-12-02T09:00:00Z", "percentage": 25}
/// ]}"#.parse()?;
/// let noon: Timestamp = "2026-12-01T12:00:00Z".parse().unwrap();
/// assert!(Action::Advance.edit(&flag, noon).is_ok());
/// let problem = Action::GoBack.edit(&flag, noon).unwrap_err();
/// assert_eq!(
///     problem.to_string(),
///     "schedule: expected a stage before the one in force, found the first one; rolling back switches the flag off"
/// );
/// # Ok::<(), tower_flags::Problem>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// See [`start`].
    Start(Plan),
    /// See [`pause`].
    Pause,
    /// See [`resume`].
    Resume,
    /// See [`advance`].
    Advance,
    /// See [`go_back`].
    GoBack,
    /// See [`roll_back`].
    RollBack,
}

/// Begins a plan, in place of the percentage or the plan that is there.
pub fn start(plan: Plan) -> Change {
    Action::Start(plan).into()
}

/// Stops the plan where it is.
pub fn pause() -> Change {
    Action::Pause.into()
}

/// Lets the plan go on where it stood still.
pub fn resume() -> Change {
    Action::Resume.into()
}

/// Makes the next step of the plan now.
pub fn advance() -> Change {
    Action::Advance.into()
}

/// Puts the percentage of the stage before the one in force back into force, and stands still in it.
pub fn go_back() -> Change {
    Action::GoBack.into()
}

/// Switches the flag off for everybody and stops the plan where it is.
pub fn roll_back() -> Change {
    Action::RollBack.into()
}

/// Worked out from the newest definition, at the instant at which it is written.
impl From<Action> for Change {
    fn from(action: Action) -> Self {
        match action {
            Action::RollBack => Self::computed_kill(move |stored, now| action.edit_stored(stored, now)),
            _ => Self::computed(move |stored, now| action.edit_stored(stored, now)),
        }
    }
}

impl Action {
    /// The edit that does it to `flag` at `now`: for the stored text that the flag was read from, by
    /// [`Edit::apply`].
    ///
    /// # Errors
    ///
    /// Why it cannot be done.
    pub fn edit(&self, flag: &Flag, now: Timestamp) -> Result<Edit, Problem> {
        match self {
            Self::Start(plan) => start_of(plan, flag, now),
            Self::Pause => Position::of(flag, now)?.paused(),
            Self::Resume => Position::of_enabled(flag, now)?.resumed(),
            Self::Advance => Position::of_enabled(flag, now)?.advanced(),
            Self::GoBack => Position::of(flag, now)?.gone_back(),
            Self::RollBack => Ok(rolled_back(flag, now)),
        }
    }

    fn edit_stored(&self, stored: Result<Flag, Problem>, now: Timestamp) -> Result<Edit, Problem> {
        match (self, stored) {
            (_, Ok(flag)) => self.edit(&flag, now),
            // What is wrong may be `enabled` alone, which this mends.
            (Self::RollBack, Err(_)) => Ok(Edit::new().set("enabled", false)),
            (_, Err(problem)) => Err(problem),
        }
    }
}

/// What is in force when a plan starts is written as a stage since so long ago: a schedule gives nothing before its
/// first step, and in processes whose clocks are behind it would not have come yet.
const LATEST_CLOCK: Duration = Duration::from_secs(60 * 60);

fn start_of(plan: &Plan, flag: &Flag, now: Timestamp) -> Result<Edit, Problem> {
    let mut steps = plan.steps(now)?;
    let edit = Edit::new().remove("percentage");
    if !flag.is_enabled() {
        return Ok(edit.set("schedule", written(&steps)).set("paused_at", now.to_string()));
    }
    let in_force = flag.percentage_at(now);
    let passed = steps.partition_point(|step| step.at <= now);
    // The one in force at once, or the first one to come.
    let first = steps[passed.saturating_sub(1)].percentage;
    if first < in_force {
        let problem =
            Problem::new(format!("at least the {in_force} % in force"), format!("a plan with {first} % first"));
        return Err(problem.with_help("a plan takes the flag from nobody; going back and rolling back do"));
    }
    if in_force > Percentage::ZERO {
        steps.retain(|step| step.at > now || step.percentage >= in_force);
        let held_from = now.checked_sub(LATEST_CLOCK).unwrap_or(Timestamp::MIN);
        if steps[0].at > held_from {
            steps.insert(0, Step { at: held_from, percentage: in_force });
        }
        if steps.len() > MAX_STEPS {
            let expected = format!("at most {} stages, since one holds what is in force until then", MAX_STEPS - 1);
            return Err(Problem::new(expected, MAX_STEPS.to_string()));
        }
    }
    Ok(edit.set("schedule", written(&steps)).remove("paused_at"))
}

fn rolled_back(flag: &Flag, now: Timestamp) -> Edit {
    let edit = Edit::new().set("enabled", false);
    match &flag.schedule {
        Some(schedule) if schedule.stands_since(now).is_none() => edit.set("paused_at", now.to_string()),
        _ => edit,
    }
}

/// Where a plan is at an instant.
struct Position<'a> {
    schedule: &'a Schedule,
    now: Timestamp,
    /// How many steps have come into force.
    passed: usize,
    /// Since when the plan stands still.
    stands_since: Option<Timestamp>,
}

impl<'a> Position<'a> {
    fn of(flag: &'a Flag, now: Timestamp) -> Result<Self, Problem> {
        let Some(schedule) = &flag.schedule else {
            return Err(Problem::new("a plan", "none").at_path("schedule").with_help("start one first"));
        };
        Ok(Self { schedule, now, passed: schedule.passed_at(now), stands_since: schedule.stands_since(now) })
    }

    /// Of a flag that has to be switched on: the plan of another one would move where nobody sees it.
    fn of_enabled(flag: &'a Flag, now: Timestamp) -> Result<Self, Problem> {
        let position = Self::of(flag, now)?;
        if flag.is_enabled() {
            return Ok(position);
        }
        let problem = Problem::new("a flag that is switched on", "one that is switched off").at_path("enabled");
        Err(problem.with_help("restore it first; its plan stands still until it is resumed"))
    }

    fn paused(&self) -> Result<Edit, Problem> {
        if self.stands_since.is_some() {
            return Ok(Edit::new());
        }
        self.next()?;
        Ok(Edit::new().set("paused_at", self.now.to_string()))
    }

    fn resumed(&self) -> Result<Edit, Problem> {
        let edit = Edit::new().remove("paused_at");
        match self.stands_since {
            Some(paused_at) if self.passed < self.schedule.steps.len() => {
                Ok(edit.set("schedule", written(&self.moved(self.passed, paused_at, self.now)?)))
            }
            _ => Ok(edit),
        }
    }

    fn advanced(&self) -> Result<Edit, Problem> {
        let next = self.next()?;
        if self.passed.checked_sub(1).is_some_and(|current| self.schedule.steps[current].at == self.now) {
            let problem = Problem::new("a stage that began earlier", "one that began in this very millisecond");
            return Err(problem.at_path("schedule").with_help("somebody else has just advanced it"));
        }
        let edit = Edit::new().set("schedule", written(&self.moved(self.passed, next.at, self.now)?));
        Ok(match self.schedule.paused_at {
            None => edit,
            Some(_) if self.stands_since.is_some() => edit.set("paused_at", self.now.to_string()),
            // A pause to come keeps its place in the plan.
            Some(to_come) => edit.set("paused_at", moved(to_come, next.at, self.now)?.max(self.now).to_string()),
        })
    }

    fn gone_back(&self) -> Result<Edit, Problem> {
        let steps = &self.schedule.steps;
        let Some(current) = self.passed.checked_sub(1) else {
            return Err(Problem::new("a stage in force", "a plan that has not begun").at_path("schedule"));
        };
        let Some(before) = current.checked_sub(1) else {
            let problem = Problem::new("a stage before the one in force", "the first one").at_path("schedule");
            return Err(problem.with_help("rolling back switches the flag off"));
        };
        // Where somebody was in a hurry the first time, the second attempt is not to follow as fast.
        let lasted = steps[current].at.saturating_duration_since(steps[before].at);
        let to_come = steps.get(self.passed).map(|next| next.at.saturating_duration_since(steps[current].at));
        let again = self.now.checked_add(to_come.map_or(lasted, |length| length.max(lasted)));
        let steps = self.moved(current, steps[current].at, again.ok_or_else(unwritable)?)?;
        Ok(Edit::new().set("schedule", written(&steps)).set("paused_at", self.now.to_string()))
    }

    fn next(&self) -> Result<&Step, Problem> {
        self.schedule.steps.get(self.passed).ok_or_else(|| {
            let last = self.schedule.steps.last().map_or(Percentage::ZERO, |step| step.percentage);
            Problem::new("a stage to come", format!("the last one in force, at {last} %")).at_path("schedule")
        })
    }

    /// The steps, those from `first` on moved by the time from one instant to another.
    fn moved(&self, first: usize, from: Timestamp, to: Timestamp) -> Result<Vec<Step>, Problem> {
        let mut steps = self.schedule.steps.clone();
        for step in &mut steps[first..] {
            step.at = moved(step.at, from, to)?;
        }
        Ok(steps)
    }
}

/// Moves an instant by the time from one to another.
fn moved(at: Timestamp, from: Timestamp, to: Timestamp) -> Result<Timestamp, Problem> {
    let later = at.checked_add(to.saturating_duration_since(from));
    later.and_then(|at| at.checked_sub(from.saturating_duration_since(to))).ok_or_else(unwritable)
}

fn unwritable() -> Problem {
    too_late().at_path("schedule")
}

fn written(steps: &[Step]) -> Value {
    json!(steps)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::flag_from_json;

    #[test]
    fn a_flag_that_cannot_be_read_is_rolled_back_where_that_mends_it() {
        let now = Timestamp::from_unix_millis(0);
        let stored = r#"{"enabled": "yes", "percentage": 5}"#;
        let read = || flag_from_json(Some("x"), stored);
        let edit = Action::RollBack.edit_stored(read(), now).unwrap();
        assert_eq!(edit.apply("x", Some(stored), now).unwrap(), r#"{"enabled": false, "percentage": 5}"#);
        assert_eq!(Action::Pause.edit_stored(read(), now).unwrap_err(), read().unwrap_err());
    }
}
