//! How often the request path allocates, and how much memory lists take. The numbers are exact, so
//! the limits are what is measured.

use std::sync::Arc;

use serde_json::{Map, json};
use tower_flags::engine::Query;
use tower_flags::{Context, Document, FlagSet};
use tower_flags_benches::allocations::{Counting, count};
use tower_flags_benches::server::{Around, answer, app, request};
use tower_flags_benches::workload::{
    self, HEADER_BYTES, Ids, Kind, Mix, compile, context, context_with_attributes, decided, fifty_active, flags, noon,
    user,
};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations of one evaluation, after a first one.
fn of_evaluation(set: &Arc<FlagSet>, context: &Context) -> u64 {
    let now = noon();
    drop(decided(set.answer(&Query::new(context, now))));
    count(|| decided(set.answer(&Query::new(context, now)))).1.times
}

#[test]
fn an_evaluation_allocates_nothing_for_ten_flags_and_once_for_any_number() {
    for ids in [Ids::Short, Ids::Uuid] {
        for number in [10, 100, 1_000, 10_000] {
            let set = compile(&flags(number, Mix::Usual, 10, ids));
            let times = of_evaluation(&set, &context(&user(1, ids)));
            println!("evaluation of {number} flags, {ids:?} ids: {times} allocations");
            assert!(times <= u64::from(number > 10), "{number} flags, {ids:?} ids: {times}");
        }
    }
}

/// What is too long for lanes is hashed one by one, and allocates no more.
#[test]
fn long_ids_allocate_nothing_more() {
    for length in [55, 90, 100, 119, 120, 256] {
        let set = compile(&flags(1_000, Mix::Rich, 10, Ids::Short));
        let times = of_evaluation(&set, &context_with_attributes(&user(1, Ids::Short)).clone());
        let context = Context::user("u".repeat(length));
        let long = of_evaluation(&set, &context);
        println!("evaluation of 1000 flags, an id of {length} bytes: {long} allocations");
        assert_eq!((times, long), (1, 1), "{length}");
    }
}

#[test]
fn variants_and_rules_in_use_allocate_nothing_more() {
    for number in [10, 100, 1_000] {
        let set = compile(&flags(number, Mix::Rich, 10, Ids::Short));
        let times = of_evaluation(&set, &context_with_attributes(&user(1, Ids::Short)));
        println!("evaluation of {number} flags with variants and rules: {times} allocations");
        assert!(times <= u64::from(number > 10), "{number} flags: {times}");
    }
}

#[test]
fn reading_a_flag_allocates_nothing() {
    let workload = flags(1_000, Mix::Rich, 10, Ids::Short);
    let undecided = compile(&workload).answer(&Query::new(&context(&user(1, Ids::Short)), noon()));
    let answers = decided(undecided.clone());
    let read = || {
        let on = workload.iter().filter(|flag| answers.is_enabled(&flag.name)).count();
        let variants = workload.iter().filter(|flag| answers.variant(&flag.name).is_some()).count();
        (on + variants, answers.is_enabled("no-such-flag"))
    };
    let ((found, unknown), allocated) = count(read);
    assert!(found > 100 && !unknown);
    println!("reading each of 1000 flags and its variant: {} allocations", allocated.times);
    assert_eq!(allocated.times, 0);
    let (_, first) = count(|| undecided.is_enabled(&workload[0].name));
    assert_eq!(first.times, 0, "nor does the first look, which decides one flag");
}

#[test]
fn the_layer_allocates_little_over_a_trivial_one() {
    let user = fifty_active().next().expect("there is such a user");
    let of = |around| {
        let mut app = app(around);
        answer(&mut app, request(&user));
        let request = request(&user);
        let (bytes, allocated) = count(|| answer(&mut app, request));
        println!("a request, {around}: {} allocations, header of {bytes} bytes", allocated.times);
        assert_eq!(
            bytes,
            match around {
                Around::Constant | Around::HeaderOn => HEADER_BYTES,
                Around::Trivial => 2,
                Around::Bare | Around::HeaderOff | Around::Unread => 0,
            }
        );
        allocated.times
    };
    of(Around::Bare);
    let (trivial, constant) = (of(Around::Trivial), of(Around::Constant));
    assert_eq!(trivial, constant);
    let (on, off) = (of(Around::HeaderOn) - trivial, of(Around::HeaderOff).saturating_sub(trivial));
    println!("the layer over the trivial one: {on} with its header (at most 9), {off} without");
    assert!(on <= 5, "{on}");
    assert!(off <= 4, "{off}");
}

/// Bytes that a compiled set keeps when the document it came from is gone.
fn kept_by(workload: &[workload::Flag]) -> i64 {
    let text = workload::document(workload);
    let now = noon();
    let (set, allocated) = count(|| {
        let document = Document::from_json(&text).expect("the workload is a document");
        FlagSet::compile(&document, now)
    });
    assert_eq!(set.len(), workload.len());
    allocated.kept
}

#[test]
fn an_entry_of_an_allow_list_takes_at_most_40_bytes() {
    let with_lists = flags(10_000, Mix::Usual, 100, Ids::Short);
    let without: Vec<_> = with_lists
        .iter()
        .cloned()
        .map(|mut flag| {
            if let Kind::Users(users) = &mut flag.kind {
                users.clear();
            }
            flag
        })
        .collect();
    let (with_lists, without) = (kept_by(&with_lists), kept_by(&without));
    let entry = (with_lists - without) as f64 / 100_000.0;
    println!("a set of 10000 flags: {} KiB; with 100000 list entries: {} KiB", without / 1024, with_lists / 1024);
    println!("an entry of an allow-list, definition included: {entry:.1} bytes (at most 40)");
    assert!(entry <= 40.0, "{entry}");
}

#[test]
fn a_million_users_take_at_most_40_bytes_each() {
    let now = noon();
    let (set, allocated) = count(|| FlagSet::compile(&workload::a_million_users(), now));
    assert!(set.problems().is_empty() && set.len() == 20);
    let (kept, entry) = (allocated.kept / 1024, allocated.kept as f64 / 1_000_000.0);
    println!("a set with a million users on lists: {kept} KiB, {entry:.1} bytes a user (at most 40)");
    assert!(entry <= 40.0, "{entry}");
}

/// Each thread that searches keeps memory of its own for each pattern.
#[test]
fn patterns_of_a_set_take_at_most_17_mib_and_2_mib_in_each_thread() {
    let pattern = |number: usize| {
        json!({"rules": [{"when": [{"attribute": "name", "op": "matches", "values": [format!("\\w{{5}}\\W{number}")]}], "serve": true}],
            "enabled": true})
    };
    let flags: Map<_, _> = (0..300).map(|number| (format!("f{number}"), pattern(number))).collect();
    let document = Document::from_json(&json!({ "flags": flags }).to_string()).expect("it is a document");
    let (set, allocated) = count(|| FlagSet::compile(&document, noon()));
    let refused = set.problems().len();
    println!("300 Unicode patterns: {} KiB compiled, {refused} over a budget", allocated.kept / 1024);
    // The budget is 16 MiB, which these patterns exceed.
    assert!(refused > 0 && allocated.kept <= 17 * 1024 * 1024, "{refused} over a budget, {allocated:?}");
    let context = Context::anonymous().with_attribute("name", "ünïcö ".repeat(200));
    let kept: i64 = std::thread::scope(|scope| {
        let search = || count(|| drop(decided(set.answer(&Query::new(&context, noon()))))).1.kept;
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(search)).collect();
        threads.into_iter().map(|thread| thread.join().expect("searching does not panic")).sum()
    });
    println!("8 threads that search with them keep {} KiB", kept / 1024);
    assert!(kept > 0 && kept <= 8 * 2 * 1024 * 1024, "{kept}");
}
