//! `tower-flags` beside other engines, in one process on the same work:
//!
//! ```text
//! cargo run --release --manifest-path benches/peers/Cargo.toml
//! ```
//!
//! Every row decides all N flags for one user, another user each time. The peers say more than on and
//! off (reasons, metrics, impressions): the ratio says what they cost a caller who wants only that.
//! Then the bare hash, by `fearless_simd`, which chooses its vectors at run time, and by `wide`, which
//! does at compile time: what the target has in any case, unless `RUSTFLAGS` say more.
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
use md5::{Digest, Md5};
use naive::Naive;
use rounds::{Median, Row, measure, medians, print, print_medians, row};
use tower_flags::Context;
use tower_flags::engine::Query;
use tower_flags_benches::allocations::Counting;
use tower_flags_benches::swaps;
use tower_flags_benches::table::{self, Goal};
use tower_flags_benches::workload::{self, Flag, Ids, Kind, Mix, User, compile, decided, flags, noon, users};

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

/// How many flags there are.
const NUMBERS: [usize; 3] = [10, 100, 1_000];

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
    let (mut goals, mut tables) = (Vec::new(), Vec::new());
    for mix in [Mix::Usual, Mix::Rich] {
        let compared = NUMBERS.map(|number| compare(number, mix, &effort));
        let (medians, of_mix): (Vec<_>, Vec<_>) = compared.into_iter().unzip();
        tables.push((mix, medians));
        if mix == Mix::Usual {
            goals.extend(of_mix.concat());
        }
    }
    for number in [4, 40, 400] {
        compare_lanes(number, &effort);
    }
    for (mix, medians) in &tables {
        print_medians(&format!("## Medians, {}, 12-byte ids", called(*mix)), &NUMBERS, medians);
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
        "tower-flags",
        "flagsmith-flag-engine",
        "growthbook-rust",
        "launchdarkly-server-sdk-evaluation",
        "open-feature",
        "unleash-yggdrasil",
        "md-5",
        "fearless_simd",
        "wide",
    ] {
        println!("{name} {}", version(name));
    }
    println!("vectors: {:?} at run time, {COMPILED_FOR} at compile time", Level::new());
}

/// The widest vectors that `wide` may take for granted.
const COMPILED_FOR: &str = if cfg!(target_feature = "avx512f") {
    "AVX-512"
} else if cfg!(target_feature = "avx2") {
    "AVX2"
} else {
    "what every processor of the target has"
};

fn called(mix: Mix) -> &'static str {
    if mix == Mix::Rich { "10 % variants, 10 % rules of two clauses" } else { "usual mix" }
}

/// Measures one number of flags, prints it, and returns the medians and what they say about the goals.
fn compare(number: usize, mix: Mix, effort: &Effort) -> (Vec<Median>, Vec<Goal>) {
    let flags = flags(number, mix, 100, Ids::Short);
    let users = users(Ids::Short);
    let user = |call: usize| &users[call % users.len()];
    let context = if mix == Mix::Rich { workload::context_with_attributes } else { workload::context };
    let contexts: Vec<Context> = users.iter().map(context).collect();
    let (set, now) = (compile(&flags), noon());
    let naive = Naive::new(&flags);
    for user in users.iter().step_by(3) {
        assert!(naive.agrees(user, &set.answer(&Query::new(&context(user), now))), "other answers for {}", user.id);
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
        Row::new(OURS, |call| decided(set.answer(&Query::new(&context(user(call)), now))).version()),
        Row::new(OURS_READY, |call| decided(set.answer(&Query::new(&contexts[call % contexts.len()], now))).version()),
        Row::new(OURS_UUID, |call| {
            decided(uuids.set.answer(&Query::new(&uuids.contexts[call % uuids.contexts.len()], now))).version()
        }),
        Row::new(NAIVE, |call| naive.evaluate(user(call)).on[0]),
        Row::new(LANES, |_| {
            lanes::sixteen(level, &blocks, &mut remainders);
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

    print(&format!("## {number} flags, {}, 12-byte ids", called(mix)), &rows, number, "flag");
    let mean = |on: &dyn Fn(&User) -> u64| users.iter().take(500).map(on).sum::<u64>() as f64 / 500.0;
    println!(
        "flags on, mean of 500 users: ours {:.1}, unleash {:.1} and {:.1}, launchdarkly {:.1}, flagsmith {:.1}, growthbook {:.1}",
        mean(&|user| set.answer(&Query::new(&context(user), now)).active().count() as u64),
        mean(&|user| unleash.one_by_one(&unleash.context(user))),
        mean(&|user| unleash.all_at_once(&unleash.context(user))),
        mean(&|user| launchdarkly.one_by_one(user)),
        mean(&|user| flagsmith.all_at_once(user)),
        mean(&|user| growthbook.one_by_one(user)),
    );
    (medians(&rows), goals(&rows, number))
}

/// Measures the bare hash of that many partial rollouts: vectors chosen at run time beside vectors
/// chosen at compile time.
fn compare_lanes(number: usize, effort: &Effort) {
    // 40 % of the usual mix.
    let messages = messages(&flags(number * 5 / 2, Mix::Usual, 0, Ids::Short), &users(Ids::Short)[0]);
    assert_eq!(messages.len(), number);
    let level = Level::new();
    let (by_16, by_8) = (lanes::blocks::<16>(&messages), lanes::blocks::<8>(&messages));
    let (mut chosen_16, mut compiled_16) = (vec![[0; 16]; by_16.len()], vec![[0; 16]; by_16.len()]);
    let (mut chosen_8, mut compiled_8) = (vec![[0; 8]; by_8.len()], vec![[0; 8]; by_8.len()]);

    lanes::sixteen(level, &by_16, &mut chosen_16);
    lanes::eight(level, &by_8, &mut chosen_8);
    lanes::compiled::<wide::u32x16, 16>(&by_16, &mut compiled_16);
    lanes::compiled::<wide::u32x8, 8>(&by_8, &mut compiled_8);
    let expected: Vec<u32> = messages.iter().map(|message| naive::remainder(Md5::new_with_prefix(message))).collect();
    for found in
        [chosen_16.as_flattened(), chosen_8.as_flattened(), compiled_16.as_flattened(), compiled_8.as_flattened()]
    {
        assert_eq!(found[..number], expected, "other digests");
    }

    let mut rows = vec![
        Row::new("fearless_simd, u32x16", |_| {
            lanes::sixteen(level, &by_16, &mut chosen_16);
            u64::from(chosen_16[0][0])
        }),
        Row::new("fearless_simd, u32x8", |_| {
            lanes::eight(level, &by_8, &mut chosen_8);
            u64::from(chosen_8[0][0])
        }),
        Row::new("wide, u32x16", |_| {
            lanes::compiled::<wide::u32x16, 16>(&by_16, &mut compiled_16);
            u64::from(compiled_16[0][0])
        }),
        Row::new("wide, u32x8", |_| {
            lanes::compiled::<wide::u32x8, 8>(&by_8, &mut compiled_8);
            u64::from(compiled_8[0][0])
        }),
    ];
    measure(&mut rows, effort.rounds, effort.slice);
    print(&format!("## The bare hash of {number} partial rollouts"), &rows, number, "digest");
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
            assert!(naive.agrees(user, &set.answer(&Query::new(context, noon()))), "other answers for {}", user.id);
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
        goals.extend(limits.map(|(must, aim)| Goal::at_most(must, what, measured).aim(aim)));
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
    Goal::at_most(1.1, "100 flags, p50 under swaps to no swaps", swaps.ratio).aim(1.02)
}
