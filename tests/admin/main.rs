//! The admin API over real sockets.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod access;
mod api;
mod described;
mod editing;
mod exchange;
mod fleet;
mod outage;
mod process;
mod reading;
mod rollout;
#[path = "../support/servers.rs"]
mod servers;
mod stores;
#[path = "../support/mod.rs"]
mod support;
#[path = "../support/urls.rs"]
mod urls;
