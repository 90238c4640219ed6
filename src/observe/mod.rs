//! What became of requests, for telemetry and for guards.
//!
//! An [`Observer`] is called once per request of a [`FlagLayer`](crate::FlagLayer), when the body of its response has ended
//! or was dropped, with the [`Outcome`]: the flags that were read, the status, the times and the failure.
//!
//! ```
//! use std::sync::Arc;
//! use std::sync::atomic::{AtomicU64, Ordering};
//!
//! use tower_flags::observe::Outcome;
//! use tower_flags::{FlagLayer, Memory};
//!
//! let failures = Arc::new(AtomicU64::new(0));
//! let count = Arc::clone(&failures);
//! let layer = FlagLayer::new(Memory::new()).observe(move |outcome: &Outcome<'_>| {
//!     let has_new_cart = outcome.reads().iter().any(|read| read.name == "new_cart" && read.enabled);
//!     if has_new_cart && outcome.is_failure() {
//!         count.fetch_add(1, Ordering::Relaxed);
//!     }
//! });
//! # let _ = layer;
//! ```
//!
//! # Rules
//!
//! 1. Each request that is decided has exactly one outcome, also if its connection is closed or its handler panics. A
//!    request that the layer skips has none.
//! 2. Observers run on the thread that ends the body, outside of the request's scope, one after the other. They must not
//!    block.
//! 3. A panic of an observer is caught, counted in [`FlagLayer::counts`](crate::FlagLayer::counts), and logged once.
//! 4. Layers inside of layers have observers of their own. All see the same reads.
//! 5. Without an observer nothing is measured.

mod observer;
mod outcome;

pub use observer::Observer;
pub(crate) use outcome::Reads;
pub use outcome::{Failure, Outcome};
