#!/usr/bin/env bash
# Server CPU per request beyond a service without flags, in a debug build: a small service in a temporary folder has this
# checkout as a dependency and sets no profile. 10 and 100 flags of the usual mix, the layer as `FlagLayer::new` makes it,
# one flag read. Works offline once the dependencies of this workspace were fetched.
#
#   benches/debug.sh [options of `cargo run`]
#
# The options can set a profile to compare with: `--config profile.dev.package.md5-lanes.opt-level=1`. It takes a minute or
# two, most of it for building.
set -euo pipefail
checkout=$(cd "$(dirname "$0")/.." && pwd)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/src"
cp "$checkout/Cargo.lock" "$work"

cat >"$work/Cargo.toml" <<TOML
[package]
name = "service"
version = "0.0.0"
edition = "2024"

[workspace]

[dependencies]
axum = { version = "0.8", default-features = false, features = ["http1", "tokio"] }
tower-flags = { path = "$checkout" }
tower-flags-benches = { path = "$checkout/benches" }
TOML

cat >"$work/src/main.rs" <<'RUST'
use axum::Router;
use axum::routing::get;
use tower_flags::{FlagLayer, Memory, flag};
use tower_flags_benches::wire;
use tower_flags_benches::workload::{self, Ids, Mix, User};

async fn hello() -> &'static str {
    "Hello, World!"
}

async fn hello_by_flag() -> &'static str {
    if flag("cart-fast-path-0004") { "Hello, World." } else { "Hello, World!" }
}

fn service(number: usize) -> Router {
    let flags = workload::flags(number, Mix::Usual, 100, Ids::Short);
    assert!(flags.iter().any(|flag| flag.name == "cart-fast-path-0004"));
    let layer = FlagLayer::new(Memory::from(workload::parse(&flags))).trust_headers();
    Router::new().route("/", get(hello_by_flag)).layer(layer)
}

fn main() {
    let without = Router::new().route("/", get(hello));
    let services = [("no flags", without), ("10 flags", service(10)), ("100 flags", service(100))];
    let users: Vec<User> = workload::users(Ids::Short);
    wire::print(&wire::measure(&services.map(|(name, service)| (name, service.with_state(()))), &users, 11));
}
RUST

cargo run --offline --quiet --manifest-path "$work/Cargo.toml" --target-dir "$work/target" "$@"
