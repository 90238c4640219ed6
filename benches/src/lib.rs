//! What the benchmarks of `tower-flags` have in common.
//!
//! | command | prints |
//! |---|---|
//! | `cargo bench -p tower-flags-benches --bench engine` | times of evaluation, lookup, compiling, of another engine's answers, and of evaluation under reloads; fails if a limit is missed |
//! | `cargo bench -p tower-flags-benches --bench layer` | times of a request through the layer, and through others; what a tester's token costs; fails if a limit is missed |
//! | `cargo bench -p tower-flags-benches --bench instructions` | instructions of the same, which repeat on busy machines |
//! | `cargo test -p tower-flags-benches -- --nocapture` | allocations and memory, which this test also holds to their limits |
//! | `cargo bench -p tower-flags-benches --bench wire` | server CPU per request on real sockets, beyond bare axum |
//! | `benches/http.sh` | requests a second over loopback |
//! | `benches/debug.sh` | server CPU per request in a debug build, beyond a service without flags |
//! | `benches/build.sh` | CPU seconds of a cold release build of the crate alone |
//! | `cargo run --release --manifest-path benches/peers/Cargo.toml` | other engines on the same work, vectors by `wide` beside `fearless_simd`, and the table of ratios |
//!
//! The work is the same on every run and every machine: flags, users and lists come from a mixing
//! function, not from a random source. Everything goes through the public API of `tower-flags`.

pub mod allocations;
pub mod arguments;
pub mod processor;
pub mod rounds;
pub mod server;
pub mod swaps;
pub mod table;
pub mod wire;
pub mod workload;
