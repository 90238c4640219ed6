//! Rollouts: releasing a flag to more and more users by a plan, and stopping, hastening and taking back that plan.
//!
//! ```
//! use std::time::Duration;
//! use tower_flags::operate::rollout::{self, Plan, Rollout};
//! use tower_flags::store::{Author, Change, MemoryStore, StoreExt};
//! use tower_flags::{Flag, Timestamp};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let store = MemoryStore::new();
//! let alice = Author::new("alice").because("launch");
//! store.change("new_checkout", Change::put(&r#"{"percentage": 0}"#.parse()?), &alice).await?;
//!
//! // 5 % for a day, 25 % for two days, then everybody.
//! let plan: Plan = r#"{"stages": [
//!     {"percentage": 5, "hours": 24}, {"percentage": 25, "hours": 48}, {"percentage": 100}
//! ]}"#.parse()?;
//! let started = store.change("new_checkout", rollout::start(plan), &alice).await?;
//!
//! // What it is now, for a dashboard.
//! let at = started.entry.expect("an edit").at;
//! let flag: Flag = started.definition.expect("a flag").parse()?;
//! let is = Rollout::of(&flag, at).expect("a schedule");
//! assert_eq!((is.current, is.percentage.to_string(), is.is_finished), (Some(0), "5".into(), false));
//! assert_eq!(is.next_at, at.checked_add(Duration::from_secs(24 * 60 * 60)));
//!
//! // In the night.
//! let bob = Author::new("bob").because("errors at checkout, INC-17");
//! store.change("new_checkout", rollout::roll_back(), &bob).await?;
//! // In the morning: on again, standing still; then it goes on where it stood.
//! store.change("new_checkout", Change::restore(), &alice).await?;
//! store.change("new_checkout", rollout::resume(), &alice).await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Plans
//!
//! A [`Plan`] has stages that last some hours, or percentages from some days on. `start` may be left out: the plan begins
//! at the instant of the edit then. One that began in the past is where it would be by now. As JSON:
//!
//! ```json
//! { "start": "2026-12-01T09:00:00Z",
//!   "stages": [ { "percentage": 5, "hours": 24 }, { "percentage": 25, "hours": 1.5 }, { "percentage": 100 } ] }
//! ```
//!
//! ```json
//! { "start": "2026-12-01T09:00:00Z",
//!   "days": [ { "day": 0, "percentage": 1 }, { "day": 3, "percentage": 25 }, { "day": 7, "percentage": 100 } ] }
//! ```
//!
//! Hours are numbers with at most three decimals; the last stage needs none, since nothing ends it. Days are whole
//! numbers, counted from `start`, of 24 hours each whatever the calendar or a time zone says. At most 100 stages. What
//! runs backwards is refused: a percentage below the one before, a stage of no length, a day that does not come
//! after the one before.
//!
//! # Rules
//!
//! 1. **No job runs.** A plan becomes the flag's `schedule`, and every action an edit of `schedule`, `paused_at` and
//!    `enabled`: which percentage is in force follows from the definition and the instant alone, so all processes
//!    move together. Each action is worked out from the newest definition, leaves all other keys as they are, and
//!    is in the history with its author and reason.
//! 2. **[`start`]** puts the plan in place of a fixed percentage or of another plan, paused or not. Nobody who has the
//!    flag loses it: a plan that would put less in force than is in force now is refused, and what is in force stands
//!    until the plan's first stage as a stage of its own, written as of an hour ago, so that it is in force
//!    also where clocks are behind. A flag that is switched off stays so, its plan standing still from the edit on: no
//!    plan undoes a kill. Since nobody has such a flag, any plan will do.
//! 3. **[`pause`]** keeps the percentage in force, **[`resume`]** goes on from there: the steps to come move by the time
//!    that the plan stood still, also where that was before its first one.
//! 4. **[`advance`]** makes the next step now. The steps after it keep their distances. A plan that stands still goes on
//!    standing, in its new stage.
//! 5. **[`go_back`]** puts the percentage of the stage before into force, from the plan's first stage that of before the
//!    plan. The plan stands still in it: it does not march forward again until somebody resumes it. Then the
//!    stage lasts as long as it did the first time, and at least as long as the one that was taken back was
//!    to last; later steps keep their distances.
//! 6. **[`roll_back`]** switches the flag off for everybody and stops the plan where it is. [`Change::restore`] alone brings
//!    back the percentage it stopped at, and the plan stands until it is resumed. When and why is in the
//!    history. It is never refused where [`Change::kill`] is not, and does for any flag.
//! 7. A flag that is switched off is neither resumed nor advanced: it would move where nobody sees it, and jump when it
//!    comes back. Restore it first. Pausing a plan that stands, resuming one that moves, and rolling back
//!    twice change nothing. Actions on a flag without a plan, or without a next stage or one before, are refused.
//!
//! An [`Action`] worked out on its own, by [`Action::edit`], tells beforehand whether it can be taken and what comes out.
//!
//! # What it does not do
//!
//! It watches nothing: no errors, no latencies. It does not remember how a stage went or how long it lasted before it
//! was hastened: the history has the definitions of each moment. `rollout_stages` and the like, which other
//! services write and move `percentage` by, are left alone and not turned into plans.
//!
//! # Caveats of deployment
//!
//! - All processes move together as far as their clocks agree. Where one is 2 s behind, it makes every step 2 s late;
//!   and an edit by a process whose clock is ahead lies in the future of the others. A plan that such a process has
//!   paused or killed therefore continues elsewhere until that instant. Killing, restoring, pausing and rolling back
//!   bring the pause to now. Resuming removes the pause and moves no step. The answer says so
//!   ([`AppliedChange::notes`](crate::store::AppliedChange::notes)).
//! - An edit takes a moment until all processes have it. A step that falls into that moment is made, and taken back
//!   when the pause arrives.
//! - Services that read the same store and know no `schedule` find a flag without a percentage, and some of them take
//!   it for on for everybody. Do not start plans on flags that they read, nor on flags whose `percentage`
//!   another service moves: what it writes beside a schedule is refused.
//! - A flag that was switched off by hand, past every tool, has no `paused_at`: its plan runs on unseen until it is
//!   paused.
//!
//! [`Change::restore`]: crate::store::Change::restore
//! [`Change::kill`]: crate::store::Change::kill

mod action;
mod plan;
mod read;
mod state;

pub use action::{Action, advance, go_back, pause, resume, roll_back, start};
pub use plan::Plan;
pub use state::{Rollout, Stage};
