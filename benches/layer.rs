//! Times of a request: `cargo bench -p tower-flags-benches --bench layer`.
//!
//! In process, on a router whose state is given, from the request to the end of the body; making the
//! request is not in it. 100 flags, of which exactly 50 are on, with a header of 944 bytes.

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use tower_flags_benches::server::{Around, answer, app, request};
use tower_flags_benches::workload::{User, fifty_active};

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
criterion_main!(benches);
