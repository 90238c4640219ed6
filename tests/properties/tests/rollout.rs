//! Who is in a rollout: more at a higher percentage, never fewer, and in the shares that are written.

use md5::{Digest, Md5};
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use tower_flags::document::Scheme;
use tower_flags::engine::{Answers, Bucket, Query};
use tower_flags::{Context, Document, FlagSet, Percentage, Timestamp};

const SCHEMES: [(&str, Scheme); 4] = [
    ("flag:user", Scheme::FlagUser),
    ("user-flag", Scheme::UserFlag),
    ("flag:user/32", Scheme::FlagUser32),
    ("user/32", Scheme::User32),
];

fn share(thousandths: u32) -> Percentage {
    Percentage::from_thousandths(thousandths).unwrap()
}

fn decide(flags: &Value, context: &Context) -> Answers {
    let document = Document::from_json(&json!({ "flags": flags }).to_string()).unwrap();
    assert_eq!(document.problems(), [], "{flags}");
    FlagSet::compile(&document, Timestamp::MIN).answer(&Query::new(context, Timestamp::MIN))
}

/// A caller whose user id, if any, is whatever text.
fn context() -> impl Strategy<Value = Context> {
    prop_oneof![
        8 => any::<String>().prop_map(Context::user),
        4 => "user-[0-9]{1,6}".prop_map(Context::user),
        1 => Just(Context::anonymous()),
    ]
    .prop_flat_map(|context| {
        (Just(context), proptest::collection::vec("[ab]", 0..2), proptest::option::of("[xyz]"))
            .prop_map(|(context, groups, plan)| context.in_groups(groups).with_attribute("plan", plan))
    })
}

/// 32 bits, often at or beside one of those that are a whole percentage exactly.
fn number() -> impl Strategy<Value = u32> {
    let exact =
        (0..=5_u32, -1..=1_i32).prop_map(|(fifths, beside)| (u32::MAX / 5 * fifths).saturating_add_signed(beside));
    prop_oneof![any::<u32>(), exact]
}

proptest! {
    // Each case walks all 100 001 percentages twice.
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_bucket_is_within_every_percentage_above_the_first_it_is_within(number in number(), fine in any::<bool>()) {
        let bucket = if fine { Bucket::Fine(number % 100_000) } else { Bucket::Top(number) };
        let first = (0..=100_000).find(|&step| bucket.is_within(share(step))).unwrap();
        prop_assert!((first..=100_000).all(|step| bucket.is_within(share(step))));
        // The schemes of 32 bits divide by one less than 2^32, so that their last bucket is 100 itself.
        prop_assert_eq!(first, (bucket.thousandths() + 1).min(100_000));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_bucket_is_the_formula_of_its_scheme(salt in any::<String>(), user in any::<String>()) {
        let number = |text: String| u128::from_be_bytes(Md5::digest(text).into());
        let fine = |h: u128| Bucket::Fine(((h % 100) * 1000 + (h / 100) % 1000) as u32);
        let top = |h: u128| Bucket::Top((h >> 96) as u32);
        prop_assert_eq!(Scheme::FlagUser.bucket(&salt, &user), fine(number(format!("{salt}:{user}"))));
        prop_assert_eq!(Scheme::UserFlag.bucket(&salt, &user), fine(number(format!("{user}-{salt}"))));
        prop_assert_eq!(Scheme::FlagUser32.bucket(&salt, &user), top(number(format!("{salt}:{user}"))));
        prop_assert_eq!(Scheme::User32.bucket(&salt, &user), top(number(user.clone())));
    }

    #[test]
    fn raising_a_percentage_never_removes_a_user(
        context in context(),
        salt in any::<String>(),
        mut steps in proptest::collection::vec(0..=100_000_u32, 1..20),
    ) {
        for (spelling, scheme) in SCHEMES {
            // Steps around the caller's own bucket are where an error of one shows.
            let bucket = i64::from(scheme.bucket(&salt, context.user_id().unwrap_or_default()).thousandths());
            steps.extend((bucket - 2..=bucket + 2).filter_map(|step| u32::try_from(step).ok().filter(|step| *step <= 100_000)));
            steps.sort_unstable();
            let audience = json!({
                "allowed_groups": ["a"],
                "rules": [{ "when": [{ "attribute": "plan", "op": "equals", "values": ["x"] }], "serve": true }],
            });
            let (mut plain, mut aimed, mut ruled) = (Map::new(), Map::new(), Map::new());
            for (at, step) in steps.iter().enumerate() {
                let rollout = json!({ "enabled": true, "percentage": share(*step), "bucketing": spelling, "salt": salt });
                let mut with_audience = rollout.clone();
                with_audience.as_object_mut().unwrap().extend(audience.as_object().unwrap().clone());
                plain.insert(format!("f{at:03}"), rollout);
                aimed.insert(format!("f{at:03}"), with_audience);
                ruled.insert(format!("f{at:03}"), json!({
                    "bucketing": spelling,
                    "salt": salt,
                    "rules": [{
                        "when": [{ "attribute": "none", "op": "not_exists" }],
                        "serve": { "percentage": share(*step) },
                    }],
                }));
            }
            for flags in [plain, aimed, ruled] {
                let flags = decide(&Value::Object(flags), &context);
                let answers: Vec<bool> = flags.iter().map(|entry| entry.enabled).collect();
                prop_assert!(answers.is_sorted(), "{spelling}: {answers:?} at {steps:?}");
            }
        }
    }

    #[test]
    fn raising_a_percentage_on_a_schedule_never_removes_a_user(
        user in any::<String>(),
        mut steps in proptest::collection::vec(0..=100_000_u32, 1..12),
    ) {
        steps.sort_unstable();
        let at = |minute: usize| format!("2026-12-01T09:{minute:02}:00Z");
        let schedule: Vec<Value> = steps
            .iter()
            .enumerate()
            .map(|(minute, step)| json!({ "at": at(minute), "percentage": share(*step) }))
            .collect();
        let text = json!({ "flags": { "x": { "schedule": schedule } } }).to_string();
        let set = FlagSet::compile(&Document::from_json(&text).unwrap(), Timestamp::MIN);
        let answers: Vec<bool> = (0..15)
            .map(|minute| set.answer(&Query::new(&Context::user(user.as_str()), at(minute).parse().unwrap())).is_enabled("x"))
            .collect();
        prop_assert!(answers.is_sorted(), "{answers:?}");
    }

    #[test]
    fn nobody_is_in_0_percent_and_everybody_in_100(context in context(), salt in any::<String>()) {
        for (spelling, _) in SCHEMES {
            for (percentage, is_on) in [(Percentage::ZERO, false), (Percentage::HUNDRED, true)] {
                let flags = decide(
                    &json!({
                        "plain": { "percentage": percentage, "bucketing": spelling, "salt": salt },
                        "split": {
                            "percentage": percentage,
                            "bucketing": spelling,
                            "salt": salt,
                            "variants": { "a": 50, "b": 50 },
                        },
                        "by_org": { "percentage": percentage, "bucketing": spelling, "bucket_by": "org" },
                        "stepped": {
                            "bucketing": spelling,
                            "schedule": [{ "at": "0000-01-01T00:00:00Z", "percentage": percentage }],
                        },
                    }),
                    &context,
                );
                for entry in flags.iter() {
                    prop_assert_eq!(entry.enabled, is_on, "{} with {}", entry.name, spelling);
                }
            }
        }
    }

    #[test]
    fn the_salt_and_not_the_name_makes_the_bucket(
        user in "[a-z]{1,12}",
        name in "[a-z]{1,12}",
        other in "[A-Z]{1,12}",
        step in 0..=100_000_u32,
    ) {
        for (spelling, scheme) in SCHEMES {
            let flag = |salt: Option<&str>| {
                json!({ "percentage": share(step), "bucketing": spelling, "salt": salt, "variants": { "a": 50, "b": 50 } })
            };
            let before = decide(&json!({ &name: flag(None) }), &Context::user(user.as_str()));
            let renamed = decide(&json!({ &other: flag(Some(&name)) }), &Context::user(user.as_str()));
            let (before, renamed) = (before.evaluation(&name), renamed.evaluation(&other));
            prop_assert_eq!(&before, &renamed);
            if let Some(bucket) = before.bucket {
                prop_assert_eq!(bucket, scheme.bucket(&name, &user).thousandths());
            }
        }
    }
}

#[test]
fn every_step_of_a_thousandth_adds_only_users() {
    // 10 000 flags at once are 10 000 percentages for one user; each part covers its own range.
    for (part, (spelling, scheme)) in SCHEMES.into_iter().enumerate() {
        let user = format!("user-{part}");
        let bucket = scheme.bucket("salt", &user).thousandths();
        let first = bucket.saturating_sub(2_500);
        let steps: Vec<u32> = (first..first + 5_000).filter(|step| *step <= 100_000).collect();
        let flags: Map<String, Value> = steps
            .iter()
            .map(|step| {
                let flag = json!({ "percentage": share(*step), "bucketing": spelling, "salt": "salt" });
                (format!("p{step:06}"), flag)
            })
            .collect();
        let flags = decide(&Value::Object(flags), &Context::user(user));
        for (entry, step) in flags.iter().zip(steps) {
            assert_eq!(entry.enabled, step > bucket, "{spelling} at {step} of bucket {bucket}");
        }
    }
}

/// How many of `n` users are expected with a chance of `p`, and five standard deviations of it.
fn five_sigma(n: f64, p: f64) -> (f64, f64) {
    (n * p, 5.0 * (n * p * (1.0 - p)).sqrt())
}

#[test]
fn a_tenth_of_the_users_is_in_and_split_in_halves() {
    const USERS: u32 = 100_000;
    let text = json!({ "flags": {
        "pricing": { "percentage": 10, "variants": { "a": 50, "b": 50 } },
    } });
    let set = FlagSet::compile(&Document::from_json(&text.to_string()).unwrap(), Timestamp::MIN);
    let (mut a, mut b) = (0_u32, 0_u32);
    for user in 0..USERS {
        let flags = set.answer(&Query::new(&Context::user(format!("user-{user}")), Timestamp::MIN));
        match (flags.is_enabled("pricing"), flags.variant("pricing")) {
            (true, Some("a")) => a += 1,
            (true, Some("b")) => b += 1,
            (false, None) => {}
            other => panic!("{other:?}"),
        }
    }
    let (expected, tolerance) = five_sigma(f64::from(USERS), 0.1);
    assert!((f64::from(a + b) - expected).abs() < tolerance, "{} of {USERS} are in", a + b);
    let (expected, tolerance) = five_sigma(f64::from(a + b), 0.5);
    assert!((f64::from(a) - expected).abs() < tolerance, "{a} of {} have a", a + b);
}

#[test]
fn raising_a_rollout_moves_nobody_to_another_variant() {
    let flags: Map<String, Value> = (0..=100)
        .map(|percentage| {
            let flag = json!({
                "percentage": percentage,
                "salt": "pricing",
                "variants": { "control": 34, "higher": 33, "lower": 33 },
            });
            (format!("p{percentage:03}"), flag)
        })
        .collect();
    for user in 0..300 {
        let flags = decide(&Value::Object(flags.clone()), &Context::user(format!("user-{user}")));
        let served: Vec<&str> = flags.iter().filter_map(|entry| entry.variant).collect();
        assert_eq!(served.len(), flags.active().count());
        assert!(served.iter().all(|variant| *variant == served[0]), "{served:?}");
    }
}

#[test]
fn another_salt_is_another_choice_of_users() {
    const USERS: u32 = 20_000;
    for (spelling, scheme) in SCHEMES {
        let half = |salt: &str| -> Vec<bool> {
            let text = json!({ "flags": { "x": { "percentage": 50, "bucketing": spelling, "salt": salt } } });
            let set = FlagSet::compile(&Document::from_json(&text.to_string()).unwrap(), Timestamp::MIN);
            let user =
                |user| set.answer(&Query::new(&Context::user(format!("user-{user}")), Timestamp::MIN)).is_enabled("x");
            (0..USERS).map(user).collect()
        };
        let (first, second) = (half("first"), half("second"));
        let same = first.iter().zip(&second).filter(|(a, b)| a == b).count() as u32;
        if scheme == Scheme::User32 {
            assert_eq!(same, USERS, "the flag plays no part");
        } else {
            let (expected, tolerance) = five_sigma(f64::from(USERS), 0.5);
            assert!((f64::from(same) - expected).abs() < tolerance, "{spelling}: {same} of {USERS} decided alike");
        }
    }
}
