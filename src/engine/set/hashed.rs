//! Partial rollouts and variants, grouped by what their inputs have in common.

use std::collections::BTreeMap;

use md5_lanes::{Batches, Layout};

use super::share::Share;
use crate::context::Context;
use crate::document::{Flag, Scheme};
use crate::engine::bucketing::{Limit, digest_of_value, thousandths, variant_text};

/// The partial rollouts of a plan.
#[derive(Debug)]
pub(super) struct Rollouts {
    groups: Box<[Group<Goal>]>,
    /// Flags of the scheme that hashes the user alone: one digest is enough for all of them.
    user_only: Box<[UserOnly]>,
}

/// Flags of one value that is hashed alone.
#[derive(Debug)]
struct UserOnly {
    bucket_by: Option<Box<str>>,
    goals: Box<[Goal]>,
}

/// A flag and the limit of its rollout.
#[derive(Clone, Copy, Debug, Default)]
struct Goal {
    flag: u32,
    limit: Limit,
}

/// The flags of a set that have variants.
#[derive(Debug)]
pub(super) struct Variants {
    groups: Box<[Group<u32>]>,
}

/// Flags whose inputs differ in their texts alone.
#[derive(Debug)]
struct Group<T> {
    /// The attribute that is bucketed; the user id if `None`.
    bucket_by: Option<Box<str>>,
    scheme: Scheme,
    batches: Batches<T>,
}

/// Texts by what they share.
type Texts<'a, T> = BTreeMap<(Option<&'a str>, Scheme), Vec<(T, Vec<u8>)>>;

fn groups<T: Copy + Default>(texts: Texts<'_, T>) -> Box<[Group<T>]> {
    let group = |(bucket_by, scheme): (Option<&str>, Scheme), texts| {
        let layout = if scheme == Scheme::UserFlag { Layout::ValueFirst } else { Layout::ValueLast };
        Group { bucket_by: bucket_by.map(Box::from), scheme, batches: Batches::new(layout, texts) }
    };
    texts.into_iter().map(|(shared, texts): (_, Vec<_>)| group(shared, texts)).collect()
}

fn attribute(flag: &Flag) -> Option<&str> {
    flag.bucket_by.as_deref().filter(|name| *name != "user_id")
}

impl Rollouts {
    /// Takes the flags that are on for a share of the callers, each with its name.
    pub(super) fn new<'a>(flags: impl Iterator<Item = (Share, &'a str, &'a Flag)>) -> Self {
        let mut texts = Texts::new();
        let mut user_only: BTreeMap<Option<&str>, Vec<Goal>> = BTreeMap::new();
        for (share, name, flag) in flags {
            let salt = flag.salt(name);
            let goal = Goal { flag: share.flag, limit: Limit::of(flag.bucketing, share.percentage) };
            let text = match flag.bucketing {
                Scheme::FlagUser | Scheme::FlagUser32 => format!("{salt}:"),
                Scheme::UserFlag => format!("-{salt}"),
                Scheme::User32 => {
                    user_only.entry(attribute(flag)).or_default().push(goal);
                    continue;
                }
            };
            texts.entry((attribute(flag), flag.bucketing)).or_default().push((goal, text.into_bytes()));
        }
        Self {
            groups: groups(texts),
            user_only: user_only
                .into_iter()
                .map(|(bucket_by, goals)| UserOnly { bucket_by: bucket_by.map(Box::from), goals: goals.into() })
                .collect(),
        }
    }

    /// Tells `each` of every flag whether its rollout takes the caller in, in no order, and what the call before
    /// returned, at first `initial`: so a few words stay in registers. Flags that have nothing to bucket the caller by
    /// are left out.
    #[inline]
    pub(super) fn fold<A>(&self, context: &Context, initial: A, each: impl Fn(A, u32, bool) -> A) -> A {
        let mut all = initial;
        for group in &self.groups {
            let Some(value) = bucketed(group.bucket_by.as_deref(), context) else { continue };
            // One loop for each, so that no digest asks which scheme it is of.
            all = if group.scheme == Scheme::FlagUser32 {
                group.batches.fold(value.as_bytes(), all, |all, goal, digest| {
                    each(all, goal.flag, goal.limit.takes_in_top(digest.words()))
                })
            } else {
                group.batches.fold(value.as_bytes(), all, |all, goal, digest| {
                    each(all, goal.flag, goal.limit.takes_in(digest.remainder_of_100(), || digest.words()))
                })
            };
        }
        for UserOnly { bucket_by, goals } in &self.user_only {
            let Some(value) = bucketed(bucket_by.as_deref(), context) else { continue };
            let digest = digest_of_value(value.as_bytes());
            all = goals.iter().fold(all, |all, goal| each(all, goal.flag, goal.limit.takes_in_top(digest)));
        }
        all
    }
}

impl Variants {
    /// Takes the flags that have variants, each with its slot in the answers.
    pub(super) fn new<'a>(flags: impl Iterator<Item = (u32, &'a str, &'a Flag)>) -> Self {
        let mut texts = Texts::new();
        for (slot, name, flag) in flags {
            let text = variant_text(flag.salt(name));
            texts.entry((attribute(flag), Scheme::FlagUser)).or_default().push((slot, text.into_bytes()));
        }
        Self { groups: groups(texts) }
    }

    /// Hands out the bucket of every slot whose flag has something to bucket the caller by.
    #[inline]
    pub(super) fn for_each_bucket(&self, context: &Context, mut each: impl FnMut(u32, u32)) {
        for group in &self.groups {
            let Some(value) = bucketed(group.bucket_by.as_deref(), context) else { continue };
            group.batches.digest_all(value.as_bytes(), |slot, digest| each(slot, thousandths(digest.words())));
        }
    }
}

/// What a flag buckets its callers by: borrowed, or an integer in decimal.
pub(super) enum BucketKey<'a> {
    Text(&'a [u8]),
    Integer { digits: [u8; 20], len: usize },
}

impl BucketKey<'_> {
    pub(super) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text,
            Self::Integer { digits, len } => &digits[..*len],
        }
    }
}

/// The caller's value of an attribute, or the user id; `None` where there is nothing to bucket.
pub(super) fn bucketed<'a>(attribute: Option<&str>, context: &'a Context) -> Option<BucketKey<'a>> {
    use std::io::Write;

    let attribute = match attribute {
        None | Some("user_id") => {
            return Some(context.bucketed_bytes()).filter(|id| !id.is_empty()).map(BucketKey::Text);
        }
        Some(name) => context.attribute(name)?,
    };
    match attribute {
        serde_json::Value::String(text) if !text.is_empty() => Some(BucketKey::Text(text.as_bytes())),
        serde_json::Value::Number(number) if number.is_i64() || number.is_u64() => {
            let mut digits = [0; 20];
            let mut rest = digits.as_mut_slice();
            write!(rest, "{number}").ok()?;
            let len = 20 - rest.len();
            Some(BucketKey::Integer { digits, len })
        }
        _ => None,
    }
}
