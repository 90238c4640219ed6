//! Instructions counted by callgrind, which repeat on busy machines:
//!
//! ```text
//! cargo install gungraun-runner --version 0.20.0 && cargo bench -p tower-flags-benches --bench instructions
//! ```
//!
//! It takes valgrind (`apt-get install valgrind`), which knows instructions up to AVX2: the counts are
//! those of lanes with AVX2, whatever the machine has. Every number is of one call, the second one, so
//! that nothing is counted that happens once.

use std::hint::black_box;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use gungraun::prelude::*;
use http::Request;
use tower_flags::engine::Query;
use tower_flags::{Context, FlagSet, Flags};
use tower_flags_benches::server::{self, Around};
use tower_flags_benches::workload::{self, Ids, Mix, compile, decided, fifty_active, flags, noon, user};

fn ready(number: usize, mix: Mix, ids: Ids) -> (Arc<FlagSet>, &'static Context) {
    let set = compile(&flags(number, mix, 100, ids));
    let context = Box::leak(Box::new(workload::context_with_attributes(&user(1, ids))));
    drop(decided(set.answer(&Query::new(context, noon()))));
    // Stays for good, so that its end is in no count.
    std::mem::forget(Arc::clone(&set));
    (set, context)
}

#[library_benchmark]
#[bench::ten(ready(10, Mix::Usual, Ids::Short))]
#[bench::hundred(ready(100, Mix::Usual, Ids::Short))]
#[bench::hundred_uuid(ready(100, Mix::Usual, Ids::Uuid))]
#[bench::hundred_variants_and_rules(ready(100, Mix::Rich, Ids::Short))]
#[bench::thousand(ready(1_000, Mix::Usual, Ids::Short))]
#[bench::thousand_uuid(ready(1_000, Mix::Usual, Ids::Uuid))]
fn evaluate((set, context): (Arc<FlagSet>, &'static Context)) {
    drop(black_box(decided(set.answer(&Query::new(black_box(context), black_box(workload_noon()))))));
}

/// The instant of the workload without the text it is read from.
fn workload_noon() -> tower_flags::Timestamp {
    tower_flags::Timestamp::from(std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_796_126_400))
}

fn answers(name: &str) -> (Flags, String) {
    let set = compile(&flags(1_000, Mix::Usual, 0, Ids::Short));
    let answers = decided(set.answer(&Query::new(&Context::user("alice"), noon())));
    assert_eq!(answers.flag_set().flag(name).is_some(), !name.starts_with("no"));
    let _ = answers.is_enabled(name);
    std::mem::forget(answers.clone());
    (answers.into(), name.to_owned())
}

fn some_name() -> String {
    flags(1_000, Mix::Usual, 0, Ids::Short).swap_remove(500).name
}

#[library_benchmark]
#[bench::present(answers(&some_name()))]
#[bench::absent(answers("no-such-flag-0500"))]
fn lookup((answers, name): (Flags, String)) -> (bool, Flags, String) {
    (black_box(answers.is_enabled(black_box(&name))), answers, name)
}

fn router(around: Around) -> (&'static mut Router, Request<Body>) {
    let user = fifty_active().next().expect("there is such a user");
    let app = Box::leak(Box::new(server::app(around)));
    server::answer(app, server::request(&user));
    (app, server::request(&user))
}

#[library_benchmark]
#[bench::bare(router(Around::Bare))]
#[bench::trivial(router(Around::Trivial))]
#[bench::constant(router(Around::Constant))]
#[bench::header_on(router(Around::HeaderOn))]
#[bench::header_off(router(Around::HeaderOff))]
fn request((app, request): (&'static mut Router, Request<Body>)) -> usize {
    black_box(server::answer(app, black_box(request)))
}

library_benchmark_group!(name = engine, benchmarks = [evaluate, lookup]);
library_benchmark_group!(name = layer, benchmarks = request);
gungraun::main!(library_benchmark_groups = [engine, layer]);
