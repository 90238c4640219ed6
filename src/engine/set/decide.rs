//! Deciding, in the order of DESIGN section 4: all flags of a set at once, or one flag with its
//! reason. The two share every step that looks at a caller.

use std::sync::atomic::AtomicU64;

use super::compile::FlagSet;
use super::hashed::bucketed;
use crate::engine::bucketing::{Bucket, variant_bucket};
use crate::engine::context::Context;
use crate::engine::flag::{Flag, Serve};
use crate::engine::instant::Instant;
use crate::engine::percentage::Percentage;
use crate::engine::reason::Reason;

/// An answer that comes from outside the set: step 3 of the order of deciding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forced {
    /// The flag's name.
    pub flag: String,
    /// Whether it is on. A flag that is switched off in its definition stays off.
    pub enabled: bool,
    /// The variant, where it is on; without one, or with an unknown one, the weights choose.
    pub variant: Option<String>,
    /// Who says so.
    pub by: ForcedBy,
    /// The one user whom it is for; `None` for whoever brings it.
    pub only_for: Option<String>,
    /// The instant from which on it is void; `None` for as long as the request lives.
    pub until: Option<Instant>,
}

/// Who forces an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ForcedBy {
    /// A tester's signed override.
    Override,
    /// The calling service's decision.
    Upstream,
}

impl ForcedBy {
    pub(super) fn reason(self) -> Reason {
        match self {
            Self::Override => Reason::Override,
            Self::Upstream => Reason::Upstream,
        }
    }
}

/// A [`Forced`] with names resolved.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ForcedAt {
    pub(crate) flag: u32,
    pub(crate) enabled: bool,
    pub(crate) variant: Option<u8>,
    pub(crate) reason: Reason,
}

/// What stands in an answer's variant byte when there is none; variant n stands as n + 1.
pub(crate) const NO_VARIANT: u8 = 0;

/// The words that answers are written to: a bit a flag, and a byte a flag with variants.
struct Board<'a> {
    on: &'a mut [AtomicU64],
    variants: &'a mut [AtomicU64],
}

impl Board<'_> {
    fn is_on(&mut self, flag: u32) -> bool {
        *self.on[flag as usize / 64].get_mut() >> (flag % 64) & 1 == 1
    }

    fn set(&mut self, flag: u32, is_on: bool) {
        let word = self.on[flag as usize / 64].get_mut();
        let bit = 1 << (flag % 64);
        if is_on {
            *word |= bit;
        } else {
            *word &= !bit;
        }
    }

    /// Turns a flag on without a branch, which for rollouts nobody could predict.
    #[inline(always)]
    fn set_if(&mut self, flag: u32, is_on: bool) {
        *self.on[flag as usize / 64].get_mut() |= u64::from(is_on) << (flag % 64);
    }

    fn variant(&mut self, slot: usize) -> Option<u8> {
        ((*self.variants[slot / 8].get_mut() >> (slot % 8 * 8)) as u8).checked_sub(NO_VARIANT + 1)
    }

    fn set_variant(&mut self, slot: usize, variant: Option<u8>) {
        let word = self.variants[slot / 8].get_mut();
        let shift = slot % 8 * 8;
        let byte = variant.map_or(NO_VARIANT, |variant| variant + 1);
        *word = *word & !(0xFF << shift) | u64::from(byte) << shift;
    }
}

/// Decides every flag. `on` and `variants` are all zero.
pub(crate) fn decide_all(
    set: &FlagSet,
    context: &Context,
    forced: &[ForcedAt],
    on: &mut [AtomicU64],
    variants: &mut [AtomicU64],
) {
    let (core, plan) = (set.core(), set.plan());
    for (word, ready) in on.iter_mut().zip(plan.on.words()) {
        *word.get_mut() = *ready;
    }
    let board = &mut Board { on, variants };
    if !context.is_anonymous() {
        let user = context.user_bytes();
        for &place in core.users.candidates(user) {
            if core.allows(|flag| flag.allowed_users.as_ref(), place, user) {
                board.set(place.flag, true);
            }
        }
    }
    if !core.groups.is_empty() {
        for group in context.groups() {
            for &place in core.groups.candidates(group.as_bytes()) {
                if core.allows(|flag| flag.allowed_groups.as_ref(), place, group.as_bytes()) {
                    board.set(place.flag, true);
                }
            }
        }
    }
    plan.partial.for_each(context, |flag, is_on| board.set_if(flag, is_on));
    for share in &plan.ruled {
        if !board.is_on(share.flag)
            && let Some(flag) = set.definition(share.flag)
        {
            let decision = by_rules(set, share.flag, flag, share.percentage, context);
            board.set(share.flag, decision.enabled);
            if let Some(slot) = set.variant_slot(share.flag) {
                board.set_variant(slot, decision.variant);
            }
        }
    }
    for entry in forced.iter().filter(|entry| !set.is_killed(entry.flag)) {
        board.set(entry.flag, entry.enabled);
        if let Some(slot) = set.variant_slot(entry.flag) {
            board.set_variant(slot, entry.variant.filter(|_| entry.enabled));
        }
    }
    choose_variants(set, context, board);
    settle(set, forced, board);
}

/// Gives every flag that is on the variant its weights choose, unless a rule or somebody outside has.
fn choose_variants(set: &FlagSet, context: &Context, board: &mut Board<'_>) {
    let core = set.core();
    if set.is_given() {
        for (slot, &number) in core.split.iter().enumerate() {
            let variant = board.is_on(number).then_some(0);
            board.set_variant(slot, variant);
        }
        return;
    }
    core.variants.for_each_bucket(context, |slot, bucket| {
        let number = core.split[slot as usize];
        if board.is_on(number)
            && board.variant(slot as usize).is_none()
            && let Some(flag) = set.definition(number)
        {
            board.set_variant(slot as usize, flag.variant_of_bucket(bucket));
        }
    });
}

/// Turns flags off after all were decided, and with them what requires them.
pub(crate) fn turn_off(
    set: &FlagSet,
    forced: &[ForcedAt],
    flags: &[u32],
    on: &mut [AtomicU64],
    variants: &mut [AtomicU64],
) {
    let board = &mut Board { on, variants };
    for &flag in flags {
        board.set(flag, false);
        if let Some(slot) = set.variant_slot(flag) {
            board.set_variant(slot, None);
        }
    }
    settle(set, forced, board);
}

fn settle(set: &FlagSet, forced: &[ForcedAt], board: &mut Board<'_>) {
    for (flag, needs) in &set.core().requirements {
        if !board.is_on(*flag) || forced.iter().any(|entry| entry.flag == *flag) {
            continue;
        }
        let is_met = needs.iter().all(|need| {
            board.is_on(need.flag)
                && (need.variant.is_none()
                    || set.variant_slot(need.flag).and_then(|slot| board.variant(slot)) == need.variant)
        });
        if !is_met {
            board.set(*flag, false);
            if let Some(slot) = set.variant_slot(*flag) {
                board.set_variant(slot, None);
            }
        }
    }
}

/// What one step of deciding comes to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Decision {
    pub(crate) enabled: bool,
    pub(crate) variant: Option<u8>,
    pub(crate) reason: Reason,
    pub(crate) bucket: Option<Bucket>,
    pub(crate) percentage: Option<Percentage>,
}

impl Decision {
    fn new(enabled: bool, reason: Reason) -> Self {
        Self { enabled, variant: None, reason, bucket: None, percentage: None }
    }
}

/// Decides one flag with its reason; `is_met` says whether what it requires is as required.
pub(crate) fn decide_one(
    set: &FlagSet,
    number: u32,
    context: &Context,
    now: Instant,
    forced: &[ForcedAt],
    is_met: impl FnOnce(u32, Option<&str>) -> bool + Copy,
) -> Decision {
    if set.is_killed(number) {
        return Decision::new(false, Reason::Disabled);
    }
    let forced = forced.iter().find(|entry| entry.flag == number);
    if let (Some(reason), None) = (set.given_reason(number), forced) {
        let enabled = set.definition(number).is_some_and(|flag| flag.percentage_at(now) == Percentage::HUNDRED);
        let variant = set.variant_slot(number).filter(|_| enabled).map(|_| 0);
        return Decision { variant, ..Decision::new(enabled, reason) };
    }
    let Some(flag) = set.definition(number) else { return Decision::new(false, Reason::Problem) };
    let name = set.name(number);
    let mut decision = if let Some(entry) = forced {
        Decision { variant: entry.variant, ..Decision::new(entry.enabled, entry.reason) }
    } else if !flag.requires().all(|(flag, variant)| set.number(flag).is_some_and(|flag| is_met(flag, variant))) {
        Decision::new(false, Reason::Prerequisite)
    } else if context.user_id().is_some_and(|user| flag.allowed_users().any(|allowed| allowed == user)) {
        Decision::new(true, Reason::User)
    } else if context.groups().any(|group| flag.allowed_groups.as_ref().is_some_and(|allowed| allowed.contains(group)))
    {
        Decision::new(true, Reason::Group)
    } else {
        by_rules(set, number, flag, flag.percentage_at(now), context)
    };
    if !decision.enabled {
        decision.variant = None;
    } else if decision.variant.is_none() {
        decision.variant = by_weights(flag, name, context);
    }
    decision
}

/// Steps 7 to 10.
fn by_rules(set: &FlagSet, number: u32, flag: &Flag, percentage: Percentage, context: &Context) -> Decision {
    let (name, compiled) = (set.name(number), set.core().patterns.of(number));
    let matching = flag.rules().iter().position(|rule| rule.when.iter().all(|clause| clause.holds(context, compiled)));
    let Some(position) = matching else { return by_percentage(flag, name, percentage, context) };
    let reason = Reason::Rule(position);
    match flag.rules()[position].serve {
        Serve::On => Decision::new(true, reason),
        Serve::Off => Decision::new(false, reason),
        Serve::Variant(variant) => Decision { variant: Some(variant), ..Decision::new(true, reason) },
        Serve::Percentage(percentage) => Decision { reason, ..by_percentage(flag, name, percentage, context) },
    }
}

/// Steps 8 to 10.
fn by_percentage(flag: &Flag, name: &str, percentage: Percentage, context: &Context) -> Decision {
    if percentage == Percentage::HUNDRED || percentage == Percentage::ZERO {
        return Decision::new(percentage == Percentage::HUNDRED, Reason::Static);
    }
    match bucketed(flag.bucket_by.as_deref(), context) {
        None => Decision::new(false, Reason::Anonymous),
        Some(value) => {
            let bucket = flag.bucketing.bucket_of(flag.salt(name), value.as_bytes());
            let decision = Decision::new(bucket.is_within(percentage), Reason::Rollout);
            Decision { bucket: Some(bucket), percentage: Some(percentage), ..decision }
        }
    }
}

/// The variant that the weights choose; none without anything to hash.
fn by_weights(flag: &Flag, name: &str, context: &Context) -> Option<u8> {
    if flag.variants.is_empty() {
        return None;
    }
    let value = bucketed(flag.bucket_by.as_deref(), context)?;
    flag.variant_of_bucket(variant_bucket(flag.salt(name), value.as_bytes()))
}
