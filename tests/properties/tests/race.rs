//! Answers are decided when somebody looks. Several threads may look at once, and all see the same.

use std::sync::Barrier;
use std::thread;

use serde_json::json;
use tower_flags::engine::{Answers, Evaluation, Query};
use tower_flags::{Context, Document, FlagSet, Flags, Timestamp};

const THREADS: usize = 4;
const ROUNDS: usize = 2_000;

/// Rollouts, lists, rules, variants and flags that require others: enough for several words of results.
fn document(flags: usize) -> Document {
    let definition = |number: usize| match number % 6 {
        0 => json!({"percentage": number % 101}),
        1 => json!({"percentage": 50, "allowed_users": ["user-1", "user-7"]}),
        2 => json!({"enabled": true, "variants": {"a": {"weight": 30}, "b": {"weight": 70}}}),
        3 => {
            json!({"percentage": 20, "rules": [{"when": [{"attribute": "n", "op": "greater", "values": [3]}], "serve": true}]})
        }
        4 => json!({"enabled": true, "requires": [name(number - 4), {name(number - 2): "b"}]}),
        _ => json!({"percentage": 50, "allowed_groups": ["beta"]}),
    };
    let flags: serde_json::Map<_, _> = (0..flags).map(|number| (name(number), definition(number))).collect();
    let document = Document::from_json(&json!({ "flags": flags }).to_string()).unwrap();
    assert!(document.problems().is_empty(), "{:?}", document.problems());
    document
}

fn name(number: usize) -> String {
    format!("flag-{number:03}")
}

#[test]
fn threads_that_look_at_once_see_the_same() {
    let now: Timestamp = "2026-12-01T09:00:00Z".parse().unwrap();
    // Results in place, and behind a pointer.
    for flags in [150, 900] {
        let set = FlagSet::compile(&document(flags), now);
        let contexts: Vec<Context> = (0..ROUNDS)
            .map(|user| Context::user(format!("user-{user}")).in_groups(["beta"]).with_attribute("n", user as i64 % 9))
            .collect();
        let ask = |context: &Context| -> Answers { set.answer(&Query::new(context, now)) };
        let (mut expected, mut asked) = (Vec::new(), Vec::new());
        for context in &contexts {
            let all: Vec<(bool, Option<String>)> =
                ask(context).iter().map(|entry| (entry.enabled, entry.variant.map(str::to_owned))).collect();
            expected.push(all);
            asked.push(Flags::from(ask(context)));
        }
        let names: Vec<String> = (0..flags).map(name).collect();
        let barrier = Barrier::new(THREADS);
        thread::scope(|scope| {
            for thread in 0..THREADS {
                let (barrier, asked, expected, names) = (&barrier, &asked, &expected, &names);
                scope.spawn(move || {
                    for (round, (flags, expected)) in asked.iter().zip(expected).enumerate() {
                        barrier.wait();
                        // Few looks at first, so that some threads are still alone when others ask for all.
                        for step in 0..1 + (round + thread) % 6 {
                            let number = (round * 31 + thread * 17 + step * 7) % names.len();
                            let (name, (enabled, variant)) = (&names[number], &expected[number]);
                            assert_eq!(flags.is_enabled(name), *enabled, "{name} in round {round}");
                            assert_eq!(flags.variant(name), variant.as_deref(), "{name} in round {round}");
                            if step == 3 {
                                let Evaluation { enabled: evaluated, .. } = flags.evaluation(name);
                                assert_eq!(evaluated, *enabled, "{name} in round {round}");
                            }
                        }
                        if (round + thread) % 5 == 0 {
                            let active: Vec<&str> = flags.active().collect();
                            let on = names.iter().zip(expected).filter(|(_, (enabled, _))| *enabled);
                            assert!(on.map(|(name, _)| name).eq(active), "round {round}");
                        }
                    }
                });
            }
        });
    }
}
