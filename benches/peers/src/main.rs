//! `tower-flags` beside other engines, in one process on the same work:
//!
//! ```text
//! cargo run --release --manifest-path benches/peers/Cargo.toml
//! ```
//!
//! Every row decides all N flags for one user, another user each time. The peers say more than on and
//! off (reasons, metrics, impressions): the ratio says what they cost a caller who wants only that.
//! `quick` as an argument takes fewer rounds.

mod engines;
mod lanes;
mod naive;
mod rounds;

use std::process::ExitCode;
use std::time::Duration;

use engines::flagsmith::Flagsmith;
use engines::growthbook::Growth;
use engines::launchdarkly::LaunchDarkly;
use engines::open_feature::Facade;
use engines::unleash::Unleash;
use fearless_simd::Level;
use naive::Naive;
use rounds::{Row, measure, print, row};
use tower_flags::Context;
use tower_flags_benches::allocations::Counting;
use tower_flags_benches::swaps;
use tower_flags_benches::table::{self, Goal};
use tower_flags_benches::workload::{self, Flag, Ids, Kind, Mix, User, compile, flags, noon, users};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const OURS: &str = "tower-flags";
const OURS_READY: &str = "tower-flags, context ready";
const OURS_UUID: &str = "tower-flags, context ready, 36-byte ids";
const YGGDRASIL: &str = "unleash-yggdrasil, one call a flag";
const YGGDRASIL_READY: &str = "unleash-yggdrasil, one call a flag, context ready";
const YGGDRASIL_ALL: &str = "unleash-yggdrasil, resolve_all";
const NAIVE: &str = "own loop, a digest by md-5 for each rollout";
const LANES: &str = "the bare lane hash of its partial rollouts";

/// How long to measure.
struct Effort {
    rounds: usize,
    slice: Duration,
}

fn main() -> ExitCode {
    let is_quick = std::env::args().any(|argument| argument == "quick");
    let (rounds, slice) = if is_quick { (15, 3) } else { (61, 8) };
    let effort = Effort { rounds, slice: Duration::from_millis(slice) };
    about();
    let mut goals = Vec::new();
    for number in [10, 100, 1_000] {
        goals.extend(compare(number, Mix::Usual, &effort));
    }
    for number in [10, 100, 1_000] {
        compare(number, Mix::Rich, &effort);
    }
    goals.push(under_swaps());
    println!("\nTo reach: medians of ratios within a round, allocations as they are\n");
    let missed = table::print(&goals);
    println!(
        "\nThe layer's allocations: cargo test -p tower-flags-benches -- --nocapture; requests a second: benches/http.sh"
    );
    ExitCode::from(u8::from(missed > 0))
}

/// What is measured, as the lock file has it.
fn about() {
    let lock = include_str!("../Cargo.lock");
    let version = |name: &str| {
        // Two versions of one crate stand one after the other.
        let before = format!("name = \"{name}\"\nversion = \"");
        let after = lock.split(&before).skip(1);
        after.filter_map(|after| after.split('"').next()).collect::<Vec<_>>().join(" and ")
    };
    for name in [
        "flagsmith-flag-engine",
        "growthbook-rust",
        "launchdarkly-server-sdk-evaluation",
        "open-feature",
        "unleash-yggdrasil",
        "md-5",
        "fearless_simd",
    ] {
        println!("{name} {}", version(name));
    }
    println!("vectors: {:?}", Level::new());
}

/// Measures one number of flags, prints it, and returns what it says about the goals.
fn compare(number: usize, mix: Mix, effort: &Effort) -> Vec<Goal> {
    let flags = flags(number, mix, 100, Ids::Short);
    let users = users(Ids::Short);
    let user = |call: usize| &users[call % users.len()];
    let context = if mix == Mix::Rich { workload::context_with_attributes } else { workload::context };
    let contexts: Vec<Context> = users.iter().map(context).collect();
    let (set, now) = (compile(&flags), noon());
    let naive = Naive::new(&flags);
    for user in users.iter().step_by(3) {
        assert!(naive.agrees(user, &set.evaluate(&context(user), now)), "other answers for {}", user.id);
    }

    let unleash = Unleash::new(&flags, mix);
    let unleash_contexts: Vec<_> = users.iter().map(|user| unleash.context(user)).collect();
    let launchdarkly = LaunchDarkly::new(&flags, mix);
    let flagsmith = Flagsmith::new(&flags, mix);
    let growthbook = Growth::new(&flags, mix);
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime can be made");
    let facade = runtime.block_on(Facade::new(&flags));
    let uuids = Uuids::new(number, mix);
    let blocks = lanes::blocks(&messages(&flags, &users[0]));
    let mut remainders = vec![[0; 16]; blocks.len()];
    let level = Level::new();

    let mut rows = vec![
        Row::new(OURS, |call| set.evaluate(&context(user(call)), now).version()),
        Row::new(OURS_READY, |call| set.evaluate(&contexts[call % contexts.len()], now).version()),
        Row::new(OURS_UUID, |call| uuids.set.evaluate(&uuids.contexts[call % uuids.contexts.len()], now).version()),
        Row::new(NAIVE, |call| naive.evaluate(user(call)).on[0]),
        Row::new(LANES, |_| {
            lanes::remainders(level, &blocks, &mut remainders);
            u64::from(remainders[0][0])
        }),
        Row::new(YGGDRASIL, |call| unleash.one_by_one(&unleash.context(user(call)))),
        Row::new(YGGDRASIL_READY, |call| unleash.one_by_one(&unleash_contexts[call % unleash_contexts.len()])),
        Row::new(YGGDRASIL_ALL, |call| unleash.all_at_once(&unleash.context(user(call)))),
        Row::new("launchdarkly-server-sdk-evaluation, one call a flag", |call| launchdarkly.one_by_one(user(call))),
        Row::new("flagsmith-flag-engine, all in one call", |call| flagsmith.all_at_once(user(call))),
        Row::new("growthbook-rust, one call a flag", |call| growthbook.one_by_one(user(call))),
        Row::new("open-feature, one call a flag, a provider that says yes", |call| facade.one_by_one(user(call))),
    ];
    measure(&mut rows, effort.rounds, effort.slice);

    let name = if mix == Mix::Rich { "10 % variants, 10 % rules of two clauses" } else { "usual mix" };
    print(&format!("## {number} flags, {name}, 12-byte ids"), &rows, number);
    let mean = |on: &dyn Fn(&User) -> u64| users.iter().take(500).map(on).sum::<u64>() as f64 / 500.0;
    println!(
        "flags on, mean of 500 users: ours {:.1}, unleash {:.1} and {:.1}, launchdarkly {:.1}, flagsmith {:.1}, growthbook {:.1}",
        mean(&|user| set.evaluate(&context(user), now).active().count() as u64),
        mean(&|user| unleash.one_by_one(&unleash.context(user))),
        mean(&|user| unleash.all_at_once(&unleash.context(user))),
        mean(&|user| launchdarkly.one_by_one(user)),
        mean(&|user| flagsmith.all_at_once(user)),
        mean(&|user| growthbook.one_by_one(user)),
    );
    goals(&rows, number)
}

/// Flags, and contexts with ids of 36 bytes.
struct Uuids {
    set: std::sync::Arc<tower_flags::FlagSet>,
    contexts: Vec<Context>,
}

impl Uuids {
    fn new(number: usize, mix: Mix) -> Self {
        let context = if mix == Mix::Rich { workload::context_with_attributes } else { workload::context };
        let set = compile(&flags(number, mix, 100, Ids::Uuid));
        let contexts: Vec<Context> = users(Ids::Uuid).iter().map(context).collect();
        let flags = flags(number, mix, 100, Ids::Uuid);
        let naive = Naive::new(&flags);
        for (user, context) in users(Ids::Uuid).iter().zip(&contexts).step_by(3) {
            assert!(naive.agrees(user, &set.evaluate(context, noon())), "other answers for {}", user.id);
        }
        Self { set, contexts }
    }
}

/// What is hashed of the flags for the user.
fn messages(flags: &[Flag], user: &User) -> Vec<Vec<u8>> {
    let hashed = flags.iter().filter_map(|flag| match flag.kind {
        Kind::Share(_) => Some(format!("{}:{}", flag.name, user.id)),
        Kind::Variants => Some(format!("{}:variant:{}", flag.name, user.id)),
        _ => None,
    });
    hashed.map(String::into_bytes).collect()
}

fn goals(rows: &[Row<'_>], number: usize) -> Vec<Goal> {
    let mut goals = Vec::new();
    let mut goal = |limits: Option<(f64, f64)>, what: String, measured: f64| {
        goals.extend(limits.map(|(must, aim)| Goal { what, must, aim, measured }));
    };
    let at = |limits: [Option<(f64, f64)>; 3]| limits[number.ilog10() as usize - 1];
    let ratio = |one: &str, other: &str| row(rows, one).to(row(rows, other));
    let loops = at([Some((0.5, 0.3)), Some((0.2, 0.08)), Some((0.15, 0.05))]);
    goal(loops, format!("{number} flags, to yggdrasil one by one"), ratio(OURS, YGGDRASIL));
    goal(loops, format!("{number} flags, to the same, contexts ready"), ratio(OURS_READY, YGGDRASIL_READY));
    let limits = at([None, Some((0.05, 0.02)), Some((0.03, 0.01))]);
    goal(limits, format!("{number} flags, to yggdrasil's resolve_all"), ratio(OURS, YGGDRASIL_ALL));
    let limits = at([None, Some((0.25, 0.15)), Some((0.2, 0.1))]);
    goal(limits, format!("{number} flags, to a digest each by md-5"), ratio(OURS_READY, NAIVE));
    let limits = at([None, None, Some((1.8, 1.3))]);
    goal(limits, format!("{number} flags, to the bare lane hash"), ratio(OURS_READY, LANES));
    let limits = at([Some((2.3, 2.0)); 3]);
    goal(limits, format!("{number} flags, 36-byte ids to 12-byte ids"), ratio(OURS_UUID, OURS_READY));
    goal(Some((2.0, 1.0)), format!("{number} flags, allocations of an evaluation"), row(rows, OURS_READY).allocations);
    goals
}

fn under_swaps() -> Goal {
    let swaps = swaps::measure(100, 15, Duration::from_millis(100));
    println!(
        "\np50 of 100 flags: {:.0} ns still, {:.0} ns with {:.0} swaps a second",
        swaps.still, swaps.swapped, swaps.rate
    );
    Goal { what: "100 flags, p50 under swaps to no swaps".to_owned(), must: 1.1, aim: 1.02, measured: swaps.ratio }
}
