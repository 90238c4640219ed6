//! Times of a request: `cargo bench -p tower-flags-benches --bench layer`.
//!
//! In process, on a router whose state is given, from the request to the end of the body; making the
//! request is not in it. 100 flags, of which exactly 50 are on, with a header of 944 bytes.
//!
//! Ends with what a tester's token costs (alone: the same with `-- token`), and fails if an evaluation with
//! the two flags forced takes too long. Verifying the token is not part of that goal, but of the whole request
//! with and without the token, which is printed too.

use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::routing::get;
use criterion::{BatchSize, Criterion, criterion_group};
use http::HeaderValue;
use tower_flags::engine::{Forced, ForcedBy, Query};
use tower_flags::request::{OverrideToken, Overrides, SigningKey};
use tower_flags::{Context, FlagLayer, FlagSet, HeaderPolicy, Memory, Timestamp};
use tower_flags_benches::arguments::{is_measuring, is_wanted};
use tower_flags_benches::rounds::{Compared, ROUNDS, compare, round};
use tower_flags_benches::server::{Around, answer, app, headers, hello_by_flag, request};
use tower_flags_benches::table::{self, Goal};
use tower_flags_benches::workload::{self, User, decided, fifty_active, noon};

/// Requests and evaluations of a round.
const CALLS: usize = 2_000;

fn layer(c: &mut Criterion) {
    let users: Vec<User> = fifty_active().take(256).collect();
    let mut group = c.benchmark_group("request");
    for around in Around::ALL {
        let mut app = app(around);
        let mut users = users.iter().cycle();
        group.bench_function(around.to_string(), |b| {
            b.iter_batched(
                || request(users.next().expect("users come round again")),
                |request| answer(&mut app, request),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, layer);

fn main() -> ExitCode {
    benches();
    Criterion::default().configure_from_args().final_summary();
    if !is_measuring() || !is_wanted("token") {
        return ExitCode::SUCCESS;
    }
    let users: Vec<User> = fifty_active().take(256).collect();
    println!("\nA tester's token that forces two flags; medians of {ROUNDS} rounds\n");
    let (requests, evaluations) = (of_requests(&users), of_evaluations(&users));
    for (what, Compared { first, second, ratio }) in [("a request", requests), ("its evaluation", evaluations)] {
        println!("{what:<15} {first:>6.0} ns without, {second:>6.0} ns with the token, ratio {ratio:.2}");
    }
    let rest = (requests.second - requests.first) - (evaluations.second - evaluations.first);
    println!("{:<15} {rest:>6.0} ns: the token is verified and read, and the response names the flags\n", "the rest");
    let goal = Goal::at_most(1.2, "evaluation with two forced flags, to none forced", evaluations.ratio).aim(1.1);
    ExitCode::from(u8::from(table::print(&[goal]) > 0))
}

/// A whole request without and with a token.
fn of_requests(users: &[User]) -> Compared {
    let key = || SigningKey::new("fdc1d0a6c3b24ae0b0b4a7a0a1f3f5a7c9e2").expect("it is long enough");
    let (document, [on, off]) = workload::for_testers();
    let until = Timestamp::from(SystemTime::now() + Duration::from_secs(60 * 60));
    let token = OverrideToken::until(until).on(&on).off(&off).sign(&key()).expect("it is short enough");
    let token = HeaderValue::try_from(token).expect("a token is plain text");
    let layer = FlagLayer::new(Memory::from(document))
        .trust_headers()
        .header_policy(HeaderPolicy::Never)
        .overrides(Overrides::new(key()));
    let app = Router::new().route("/", get(hello_by_flag)).layer(layer).with_state(());
    let with_token = |user: &User| {
        let mut request = request(user);
        request.headers_mut().insert("x-flag-override", token.clone());
        request
    };
    let named = headers(&mut app.clone(), with_token(&users[0]));
    assert!(named.contains_key("x-flag-overrides"), "the token is in effect");
    let users = || users.iter().cycle().take(CALLS);
    let (mut first, mut second) = (app.clone(), app);
    compare(
        || round(users().map(request), |request| answer(&mut first, request)),
        || round(users().map(with_token), |request| answer(&mut second, request)),
    )
}

/// The evaluation alone, without and with the flags forced that a token names.
fn of_evaluations(users: &[User]) -> Compared {
    let now = noon();
    let (document, [on, off]) = workload::for_testers();
    let set = FlagSet::compile(&document, now);
    let forced = [Forced::new(on, true, ForcedBy::Override), Forced::new(off, false, ForcedBy::Override)];
    let contexts: Vec<Context> = users.iter().map(workload::context).collect();
    let contexts = || contexts.iter().cycle().take(CALLS);
    compare(
        || round(contexts(), |context| decided(set.answer(&Query::new(context, now)))),
        || round(contexts(), |context| decided(set.answer(&Query::new(context, now).forced(&forced)))),
    )
}
