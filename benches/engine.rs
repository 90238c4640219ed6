//! Times of the engine: `cargo bench -p tower-flags-benches --bench engine`.
//!
//! Ends with a table of what is to be reached, whose numbers have a loop of their own, and fails if
//! one is not: lookup, compiling, the answers of another engine, and the median of an evaluation while
//! the rules are swapped a thousand times a second (alone: the same with `-- swaps`), which takes a
//! second CPU.

use std::hint::black_box;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group};
use tower_flags::engine::{Answers, Query};
use tower_flags::{Context, FlagSet, Flags, Memory, Source};
use tower_flags_benches::arguments::{is_measuring, is_wanted};
use tower_flags_benches::rounds::{ROUNDS, time};
use tower_flags_benches::swaps;
use tower_flags_benches::table::{self, Goal};
use tower_flags_benches::workload::{self, Flag, Ids, Kind, Mix, User, compile, decided, flags, noon, parse, users};

/// All flags for one user; another user each time.
fn evaluate(c: &mut Criterion) {
    let now = noon();
    let mut group = c.benchmark_group("evaluate");
    for (name, mix, ids) in [
        ("usual mix, 12-byte ids", Mix::Usual, Ids::Short),
        ("usual mix, 36-byte ids", Mix::Usual, Ids::Uuid),
        ("variants and rules, 12-byte ids", Mix::Rich, Ids::Short),
        ("variants and rules, 36-byte ids", Mix::Rich, Ids::Uuid),
    ] {
        let context = if mix == Mix::Rich { workload::context_with_attributes } else { workload::context };
        let contexts: Vec<Context> = users(ids).iter().map(context).collect();
        for number in [10, 100, 1_000] {
            let set = compile(&flags(number, mix, 100, ids));
            let mut contexts = contexts.iter().cycle();
            group.throughput(Throughput::Elements(number as u64));
            group.bench_function(BenchmarkId::new(name, number), |b| {
                b.iter(|| contexts.next().map(|context| decided(set.answer(&Query::new(context, now)))));
            });
        }
    }
    // Too long for lanes.
    let set = compile(&flags(100, Mix::Usual, 100, Ids::Short));
    let long = |user: &User| Context::user(format!("{:x>256}", user.id)).in_groups(&user.groups);
    let contexts: Vec<Context> = users(Ids::Short).iter().map(long).collect();
    let mut contexts = contexts.iter().cycle();
    group.throughput(Throughput::Elements(100));
    group.bench_function(BenchmarkId::new("usual mix, 256-byte ids, hashed one by one", 100), |b| {
        b.iter(|| contexts.next().map(|context| decided(set.answer(&Query::new(context, now)))));
    });
    group.finish();
}

/// 1 000 flags, 400 of them with schedules, in memory: the first evaluation after a step resolves all
/// percentages anew, those that follow do not.
fn schedules(c: &mut Criterion) {
    let memory = Memory::from(workload::scheduled());
    let contexts: Vec<Context> = users(Ids::Short).iter().map(workload::context).collect();
    let around = workload::around_a_step();
    let mut group = c.benchmark_group("1000 flags, 400 with schedules");
    for (name, instants) in [("evaluate, between steps", &around[..1]), ("evaluate, first after a step", &around[..])] {
        // Back and forth over the step, each evaluation is a first one.
        let mut calls = contexts.iter().cycle().zip(instants.iter().cycle());
        group.bench_function(name, |b| {
            b.iter(|| calls.next().map(|(context, &now)| decided(memory.answer(&Query::new(context, now)))))
        });
    }
    group.finish();
}

/// Answers of 1 000 flags, their names, and as many names that no flag has.
fn lookups() -> (Flags, [(&'static str, Vec<String>); 2]) {
    let workload = flags(1_000, Mix::Usual, 0, Ids::Short);
    let answers = decided(compile(&workload).answer(&Query::new(&Context::user("alice"), noon())));
    let absent = workload.iter().map(|flag| flag.name.replace('-', "_")).collect();
    let present = workload.into_iter().map(|flag| flag.name).collect();
    (answers.into(), [("present", present), ("absent", absent)])
}

/// A name among 1 000, read mark included.
fn lookup(c: &mut Criterion) {
    let mut group = c.benchmark_group("lookup among 1000");
    let (answers, names) = lookups();
    for (name, names) in &names {
        let mut names = names.iter().map(String::as_str).cycle();
        group.bench_function(*name, |b| b.iter(|| names.next().map(|name| answers.is_enabled(name))));
    }
    group.finish();
}

/// 10 000 flags, with 100 000 list entries or with empty lists.
fn big(lists: bool) -> Vec<Flag> {
    let mut flags = flags(10_000, Mix::Usual, 100, Ids::Short);
    for flag in flags.iter_mut().filter(|_| !lists) {
        if let Kind::Users(users) = &mut flag.kind {
            users.clear();
        }
    }
    flags
}

/// Big sets: from text to definitions, from definitions to a set, and one flag changed.
fn compile_big(c: &mut Criterion) {
    let mut group = c.benchmark_group("10000 flags");
    group.sample_size(20);
    for (name, lists) in [("without lists", false), ("100000 list entries", true)] {
        let flags = big(lists);
        let text = workload::document(&flags);
        let document = parse(&flags);
        let memory = Memory::from(document.clone());
        let now = noon();
        group.bench_function(BenchmarkId::new("parse", name), |b| {
            b.iter(|| tower_flags::Document::from_json(black_box(&text)));
        });
        group.bench_function(BenchmarkId::new("compile", name), |b| b.iter(|| FlagSet::compile(&document, now)));
        let mut is_on = false;
        group.bench_function(BenchmarkId::new("change one flag", name), |b| {
            b.iter(|| {
                is_on = !is_on;
                memory.set(&flags[5_000].name, is_on)
            });
        });
    }
    group.finish();
}

/// Very long lists; see [`workload::a_million_users`].
fn a_million_users(c: &mut Criterion) {
    let document = workload::a_million_users();
    let memory = Memory::from(document.clone());
    let mut group = c.benchmark_group("a million users");
    group.sample_size(20);
    let now = noon();
    group.bench_function("compile", |b| b.iter(|| FlagSet::compile(&document, now)));
    let mut is_on = false;
    group.bench_function("change one flag beside them", |b| {
        b.iter(|| {
            is_on = !is_on;
            memory.set("beside", is_on)
        });
    });
    for (name, prefix) in [("evaluate, listed", "user"), ("evaluate, not listed", "else")] {
        let contexts: Vec<Context> =
            (0..10_000).map(|user| Context::user(format!("{prefix}-{:07}", user * 97))).collect();
        let mut contexts = contexts.iter().cycle();
        group.bench_function(name, |b| {
            b.iter(|| contexts.next().map(|context| decided(memory.answer(&Query::new(context, now)))))
        });
    }
    group.finish();
}

/// The set of another engine, which is compiled once per update, and what the engine says of a request: a result for each
/// flag, by number.
fn foreign() -> (Arc<FlagSet>, Vec<(u32, bool)>) {
    let flags = flags(100, Mix::Usual, 0, Ids::Short);
    let set = flags.iter().fold(FlagSet::builder(), |set, flag| set.flag(&flag.name)).build();
    let number = |flag: &Flag| set.number(&flag.name).expect("it has just been added");
    let results = flags.iter().zip(0..).map(|(flag, at)| (number(flag), at % 2 == 0)).collect();
    (set, results)
}

/// The answers of a request from the results of another engine.
fn answers_of(set: &Arc<FlagSet>, results: &[(u32, bool)], query: &Query<'_>) -> Answers {
    let mut answers = Answers::of(set, query);
    for &(number, is_on) in results {
        answers.set(number, is_on);
    }
    answers
}

/// The benchmark of [`answers_of`].
const ANSWERS_OF: &str = "answers of another engine, 100 flags";

/// The results of another engine become answers, which are dropped.
fn other_engine(c: &mut Criterion) {
    let now = noon();
    let (set, results) = foreign();
    let contexts: Vec<Context> = users(Ids::Short).iter().map(workload::context).collect();
    let mut contexts = contexts.iter().cycle();
    c.bench_function(ANSWERS_OF, |b| {
        b.iter(|| contexts.next().map(|context| answers_of(&set, &results, &Query::new(context, now))));
    });
}

criterion_group!(benches, evaluate, schedules, lookup, compile_big, a_million_users, other_engine);

fn main() -> ExitCode {
    benches();
    Criterion::default().configure_from_args().final_summary();
    if !is_measuring() {
        return ExitCode::SUCCESS;
    }
    let goals = [of_lookup(), of_compiling(), of_another_engine(), under_swaps()].concat();
    if goals.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("\nTo reach; all but those of swaps are medians of {ROUNDS} rounds\n");
    ExitCode::from(u8::from(table::print(&goals) > 0))
}

fn of_lookup() -> Vec<Goal> {
    let (answers, names) = lookups();
    let names = names.iter().filter(|(name, _)| is_wanted(&format!("lookup among 1000/{name}")));
    let goal = |(name, names): &(&str, Vec<String>)| {
        // A call is a pass over all names.
        let time = time(100, || names.iter().filter(|name| answers.is_enabled(black_box(name))).count());
        Goal::at_most(25.0, format!("lookup among 1000, {name}, ns"), time / names.len() as f64)
    };
    names.map(goal).collect()
}

fn of_compiling() -> Vec<Goal> {
    let now = noon();
    let sets = [("without lists", false, 5.0), ("100000 list entries", true, 50.0)];
    let wanted = sets.into_iter().filter(|(name, ..)| is_wanted(&format!("10000 flags/compile/{name}")));
    let goal = |(name, lists, must): (&str, bool, f64)| {
        let document = parse(&big(lists));
        let time = time(1, || FlagSet::compile(&document, now));
        Goal::at_most(must, format!("compile 10000 flags, {name}, ms"), time / 1e6)
    };
    wanted.map(goal).collect()
}

fn of_another_engine() -> Vec<Goal> {
    if !is_wanted(ANSWERS_OF) {
        return Vec::new();
    }
    let now = noon();
    let (set, results) = foreign();
    let contexts: Vec<Context> = users(Ids::Short).iter().map(workload::context).collect();
    let mut contexts = contexts.iter().cycle();
    let time = time(10_000, || contexts.next().map(|context| answers_of(&set, &results, &Query::new(context, now))));
    vec![Goal::at_most(5.0, format!("{ANSWERS_OF}, µs"), time / 1e3)]
}

fn under_swaps() -> Vec<Goal> {
    let sets = [100, 1_000].into_iter().filter(|_| is_wanted("swaps"));
    let goals = |flags: usize| {
        let swaps = swaps::measure(flags, 15, Duration::from_millis(200));
        println!(
            "p50 of {flags} flags: {:.0} ns still, {:.0} ns with {:.0} swaps a second",
            swaps.still, swaps.swapped, swaps.rate
        );
        [
            Goal::at_most(1.1, format!("p50 of {flags} flags under swaps, to no swaps"), swaps.ratio).aim(1.02),
            // Fewer would say less.
            Goal::at_least(950.0, format!("swaps a second beside {flags} flags"), swaps.rate),
        ]
    };
    sets.flat_map(goals).collect()
}
