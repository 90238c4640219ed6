//! What happens to real stores, done to them while processes serve requests from their rules: killed, frozen, cut
//! off, locked, raced, absent, restored from an old copy. No request fails, no edit is lost, and every process has the
//! newest rules soon after.
//!
//! Each of the tests of the first four faults has a twin that runs it against something deliberately broken, and
//! has to see it fail. `TOWER_FLAGS_DOSE=large` is for the large doses: see `tests/faults.sh`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![cfg(all(
    feature = "file",
    feature = "http",
    feature = "postgres",
    feature = "redis",
    feature = "sqlite",
    feature = "testing"
))]

#[path = "../support/dose.rs"]
mod dose;
#[path = "../support/hasty.rs"]
mod hasty;
#[path = "../support/places.rs"]
mod places;
#[path = "../support/proxy.rs"]
mod proxy;
#[path = "../support/servers.rs"]
mod servers;
#[path = "../support/mod.rs"]
mod support;
#[path = "../support/urls.rs"]
mod urls;

mod absent;
mod broken;
mod counted;
mod cut;
mod fleet;
mod frozen;
mod killed;
mod locked;
mod older;
mod race;
