//! Deciding, in the order of DESIGN section 4: all flags of a set at once, or one flag with its
//! reason. The two share every step that looks at a caller.

use super::flag_set::FlagSet;
use super::hashed::bucketed;
use super::results::Results;
use crate::context::Context;
use crate::document::{Flag, Percentage, Serve, Timestamp};
use crate::engine::bucketing::{Bucket, variant_bucket};
use crate::engine::reason::Reason;

/// A forced answer by number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ForcedAt {
    pub(crate) flag: u32,
    pub(crate) enabled: bool,
    pub(crate) variant: Option<u8>,
    pub(crate) reason: Reason,
}

impl ForcedAt {
    /// The forced answer of a flag, among those of a query in ascending order of flags.
    pub(crate) fn of(forced: &[Self], flag: u32) -> Option<&Self> {
        forced.binary_search_by_key(&flag, |entry| entry.flag).ok().map(|at| &forced[at])
    }

    /// A flag that a layer around disables, or another engine.
    pub(crate) fn kill(flag: u32) -> Self {
        Self { flag, enabled: false, variant: None, reason: Reason::Disabled }
    }
}

/// Decides every flag by the steps of the [order of deciding](crate::engine). Step 1, a name without a usable definition, is
/// the look-up by name when an answer is read.
pub(crate) fn decide_all(set: &FlagSet, context: &Context, forced: &[ForcedAt]) -> Results {
    let mut results = Results::none(set);
    let decided = &mut results;
    if !set.is_of_engine() {
        decide_by_rules(set, context, decided);
    }
    // Steps 2 and 3: a flag that is disabled stays off, whatever is forced.
    for entry in forced.iter().filter(|entry| !set.is_killed(entry.flag)) {
        put(set, decided, entry.flag, entry.enabled, entry.variant);
    }
    choose_variants(set, context, decided);
    // Step 4, for all flags: each after those it requires.
    apply_requirements(set, forced, decided);
    results
}

/// Steps 5 to 10. Disabled flags are in no table.
fn decide_by_rules(set: &FlagSet, context: &Context, decided: &mut Results) {
    let (core, plan) = (set.core(), set.plan());
    let (on, _) = decided.split_mut();
    // Step 8: 100 %.
    on.copy_from_slice(plan.on.words());
    // Step 5.
    if !context.is_anonymous() {
        let user = context.user_bytes();
        for &place in core.users.candidates(user) {
            if core.allows(|flag| flag.allowed_users.as_ref(), place, user) {
                turn_on(on, place.flag, true);
            }
        }
    }
    // Step 6.
    if !core.groups.is_empty() {
        for group in context.groups() {
            for &place in core.groups.candidates(group.as_bytes()) {
                if core.allows(|flag| flag.allowed_groups.as_ref(), place, group.as_bytes()) {
                    turn_on(on, place.flag, true);
                }
            }
        }
    }
    // Steps 9 and 10, for flags without rules.
    if on.len() <= 2 {
        // In registers: in memory, each of so few words would wait for the bit before.
        let words = plan.partial.fold(context, [0; 2], |[first, second], flag, is_on| {
            let bit = u64::from(is_on) << (flag % 64);
            let in_second = 0_u64.wrapping_sub(u64::from(flag / 64));
            [first | bit & !in_second, second | bit & in_second]
        });
        on.iter_mut().zip(words).for_each(|(word, more)| *word |= more);
    } else {
        plan.partial.fold(context, &mut *on, |on, flag, is_on| {
            turn_on(on, flag, is_on);
            on
        });
    }
    // Steps 7 to 10.
    for share in &plan.ruled {
        if !decided.is_on(share.flag)
            && let Some(flag) = set.definition(share.flag)
        {
            let decision = by_rules(set, share.flag, flag, share.percentage, context);
            put(set, decided, share.flag, decision.enabled, decision.variant);
        }
    }
}

/// Writes one result. A flag that is off has no variant.
pub(crate) fn put(set: &FlagSet, decided: &mut Results, flag: u32, enabled: bool, variant: Option<u8>) {
    decided.set(flag, enabled);
    if let Some(slot) = set.variant_slot(flag) {
        decided.set_variant(slot, variant.filter(|_| enabled));
    }
}

/// Turns a flag on without a branch: for rollouts no processor could predict it.
#[inline(always)]
fn turn_on(on: &mut [u64], flag: u32, is_on: bool) {
    on[flag as usize / 64] |= u64::from(is_on) << (flag % 64);
}

/// After step 10: gives every flag that is on the variant its weights choose, unless a rule or a forced answer has.
fn choose_variants(set: &FlagSet, context: &Context, decided: &mut Results) {
    let core = set.core();
    if set.is_of_engine() {
        return;
    }
    core.variants.for_each_bucket(context, |slot, bucket| {
        let number = core.split[slot as usize];
        if decided.is_on(number)
            && decided.variant(slot as usize).is_none()
            && let Some(flag) = set.definition(number)
        {
            decided.set_variant(slot as usize, flag.variant_of_bucket(bucket));
        }
    });
}

/// Turns flags off after all were decided, and with them what requires them.
pub(crate) fn turn_off(set: &FlagSet, forced: &[ForcedAt], flags: &[u32], decided: &mut Results) {
    for &flag in flags {
        put(set, decided, flag, false, None);
    }
    apply_requirements(set, forced, decided);
}

/// Step 4.
fn apply_requirements(set: &FlagSet, forced: &[ForcedAt], decided: &mut Results) {
    for (flag, needs) in &set.core().requirements {
        if !decided.is_on(*flag) || ForcedAt::of(forced, *flag).is_some() {
            continue;
        }
        let is_met = needs.iter().all(|need| {
            decided.is_on(need.flag)
                && (need.variant.is_none()
                    || set.variant_slot(need.flag).and_then(|slot| decided.variant(slot)) == need.variant)
        });
        if !is_met {
            put(set, decided, *flag, false, None);
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
    pub(crate) fn new(enabled: bool, reason: Reason) -> Self {
        Self { enabled, variant: None, reason, bucket: None, percentage: None }
    }
}

/// Decides one flag with its reason, by the same steps; `is_met` says whether what it requires is as required.
pub(crate) fn decide_one(
    set: &FlagSet,
    number: u32,
    context: &Context,
    now: Timestamp,
    forced: Option<&ForcedAt>,
    is_met: impl FnOnce(u32, Option<&str>) -> bool + Copy,
) -> Decision {
    // Step 2.
    if set.is_killed(number) || forced.is_some_and(|entry| entry.reason == Reason::Disabled) {
        return Decision::new(false, Reason::Disabled);
    }
    // Step 1, as far as the set knows the name.
    let Some(flag) = set.definition(number) else { return Decision::new(false, Reason::Problem) };
    let name = set.name(number);
    let mut decision = if let Some(entry) = forced {
        // Step 3.
        Decision { variant: entry.variant, ..Decision::new(entry.enabled, entry.reason) }
    } else if !flag.requires().all(|(flag, variant)| set.number(flag).is_some_and(|flag| is_met(flag, variant))) {
        // Step 4.
        Decision::new(false, Reason::Prerequisite)
    } else if flag.allowed_users.is_some()
        && context.user_id().is_some_and(|user| set.core().allows_user(number, user.as_bytes()))
    {
        // Step 5.
        Decision::new(true, Reason::User)
    } else if flag.allowed_groups.is_some()
        && context.groups().any(|group| set.core().allows_group(number, group.as_bytes()))
    {
        // Step 6.
        Decision::new(true, Reason::Group)
    } else {
        by_rules(set, number, flag, flag.percentage_at(now), context)
    };
    if !decision.enabled {
        decision.variant = None;
    } else if decision.variant.is_none() && !set.is_of_engine() {
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
