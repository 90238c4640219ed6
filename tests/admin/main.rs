//! The admin API over real sockets.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod access;
mod api;
mod described;
#[cfg(all(feature = "file", feature = "postgres", feature = "redis"))]
mod down;
mod editing;
mod exchange;
mod fleet;
mod forged;
mod hostile;
mod hosts;
mod kept_off;
mod missing;
mod numbers;
mod outage;
mod own_export;
#[cfg(all(feature = "file", feature = "postgres", feature = "redis"))]
#[path = "../support/places.rs"]
mod places;
mod process;
#[path = "../support/proxy.rs"]
mod proxy;
mod reading;
mod refusals;
mod roles;
mod rollout;
mod security;
#[path = "../support/servers.rs"]
mod servers;
mod shutdown;
mod stores;
#[path = "../support/mod.rs"]
mod support;
#[path = "../support/urls.rs"]
mod urls;
#[cfg(feature = "file")]
mod users;
