//! Percentages resolved for an instant, and how long that stays right.

use super::bits::Bits;
use super::core::Core;
use super::hashed::Rollouts;
use super::share::Share;
use crate::document::{Flag, Percentage, Timestamp};

/// What is decided before any caller is known.
#[derive(Debug)]
pub(super) struct Plan {
    /// The plan holds from this instant on (for ever back if `None`)…
    since: Option<Timestamp>,
    /// …up to and without this one (for ever if `None`).
    until: Option<Timestamp>,
    /// Flags that are on for everyone, if what they require is.
    pub(super) on: Bits,
    /// Flags without rules that are on for a share of the users.
    pub(super) partial: Rollouts,
    /// Flags with rules; the percentage counts where no rule matches.
    pub(super) ruled: Box<[Share]>,
    /// Flags whose answer depends on who asks.
    pub(super) varying: Bits,
}

impl Plan {
    pub(super) fn at(core: &Core, now: Timestamp) -> Self {
        let (mut since, mut until): (Option<Timestamp>, Option<Timestamp>) = (None, None);
        let (mut on, mut varying) = (Bits::zero(core.len()), Bits::zero(core.len()));
        let (mut partial, mut ruled) = (Vec::new(), Vec::new());
        for (number, flag) in core.enabled_flags() {
            let percentage = match &flag.schedule {
                None => flag.percentage_at(now),
                Some(schedule) => {
                    let (percentage, from, to) = schedule.at(now);
                    since = since.max(from);
                    until = match (until, to) {
                        (Some(a), Some(b)) => Some(a.min(b)),
                        (a, b) => a.or(b),
                    };
                    percentage
                }
            };
            // The answer of another engine may depend on anything.
            let is_for_all = flag.rules().is_empty()
                && match percentage {
                    Percentage::HUNDRED => flag.variants().is_empty(),
                    Percentage::ZERO => flag.allowed_users.is_none() && flag.allowed_groups.is_none(),
                    _ => false,
                };
            if core.is_of_engine || !is_for_all {
                varying.set(number);
            }
            let share = Share { flag: number, percentage };
            if !flag.rules().is_empty() {
                ruled.push(share);
            } else if percentage >= Percentage::HUNDRED {
                on.set(number);
            } else if percentage > Percentage::ZERO {
                partial.push((share, flag));
            }
        }
        // Each after those it requires.
        for (flag, needs) in &core.requirements {
            if needs.iter().any(|need| varying.get(need.flag)) {
                varying.set(*flag);
            }
        }
        let partial = partial.into_iter().map(|(share, flag): (Share, &Flag)| (share, core.name(share.flag), flag));
        Self { since, until, on, partial: Rollouts::new(partial), ruled: ruled.into_boxed_slice(), varying }
    }

    pub(super) fn holds_at(&self, now: Timestamp) -> bool {
        self.since.is_none_or(|since| since <= now) && self.until.is_none_or(|until| now < until)
    }

    pub(super) fn until(&self) -> Option<Timestamp> {
        self.until
    }
}
