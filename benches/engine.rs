//! Times of the engine: `cargo bench -p tower-flags-benches --bench engine`.
//!
//! Ends with the median of an evaluation while the rules are swapped a thousand times a second
//! (`swaps` alone: the same with `-- swaps`), which takes a second CPU.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group};
use tower_flags::{Context, FlagSet, Memory, Source};
use tower_flags_benches::workload::{self, Flag, Ids, Kind, Mix, compile, flags, noon, parse, users};
use tower_flags_benches::{swaps, table};

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
                b.iter(|| contexts.next().map(|context| set.evaluate(context, now)));
            });
        }
    }
    group.finish();
}

/// A name among 1 000, read mark included.
fn lookup(c: &mut Criterion) {
    let mut group = c.benchmark_group("lookup among 1000");
    let workload = flags(1_000, Mix::Usual, 0, Ids::Short);
    let answers = compile(&workload).evaluate(&Context::user("alice"), noon());
    let absent: Vec<String> = workload.iter().map(|flag| flag.name.replace('-', "_")).collect();
    let mut names = workload.iter().map(|flag| flag.name.as_str()).cycle();
    group.bench_function("present", |b| b.iter(|| names.next().map(|name| answers.is_enabled(name))));
    let mut names = absent.iter().map(String::as_str).cycle();
    group.bench_function("absent", |b| b.iter(|| names.next().map(|name| answers.is_enabled(name))));
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

/// A million users in allow-lists, in as many flags as the limit of 1 MiB a flag takes.
fn a_million_users(c: &mut Criterion) {
    let memory = Memory::new();
    for list in 0..20 {
        let users: Vec<String> = (0..50_000).map(|user| format!("\"user-{:07}\"", list * 50_000 + user)).collect();
        let flag: tower_flags::Flag =
            format!("{{\"allowed_users\": [{}]}}", users.join(", ")).parse().expect("a list of 50 000 users is a flag");
        memory.set(&format!("list_{list}"), flag).expect("a name");
    }
    let mut group = c.benchmark_group("a million users");
    group.sample_size(20);
    let mut is_on = false;
    group.bench_function("change one flag beside them", |b| {
        b.iter(|| {
            is_on = !is_on;
            memory.set("beside", is_on)
        });
    });
    let now = noon();
    for (name, prefix) in [("evaluate, listed", "user"), ("evaluate, not listed", "else")] {
        let contexts: Vec<Context> =
            (0..10_000).map(|user| Context::user(format!("{prefix}-{:07}", user * 97))).collect();
        let mut contexts = contexts.iter().cycle();
        group.bench_function(name, |b| b.iter(|| contexts.next().map(|context| memory.evaluate(context, now))));
    }
    group.finish();
}

criterion_group!(benches, evaluate, lookup, compile_big, a_million_users);

fn main() {
    benches();
    Criterion::default().configure_from_args().final_summary();
    if is_wanted("swaps") {
        let goals = [100, 1_000].map(|flags| {
            let swaps = swaps::measure(flags, 15, Duration::from_millis(200));
            println!(
                "p50 of {flags} flags: {:.0} ns still, {:.0} ns with {:.0} swaps a second",
                swaps.still, swaps.swapped, swaps.rate
            );
            table::Goal {
                what: format!("p50 of {flags} flags under swaps, to no swaps"),
                must: 1.1,
                aim: 1.02,
                measured: swaps.ratio,
            }
        });
        table::print(&goals);
    }
}

/// Whether the benchmark is among those asked for: criterion does not say.
fn is_wanted(name: &str) -> bool {
    let arguments: Vec<String> = std::env::args().collect();
    // What follows an option is its value; only the one that cargo adds has none.
    let is_value = |option: &str| option.starts_with("--") && option != "--bench";
    let filter = arguments.windows(2).find(|pair| !pair[1].starts_with('-') && !is_value(&pair[0]));
    filter.is_none_or(|pair| name.contains(&pair[1]))
}
