//! Processor time.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// How long this thread has run so far. The time of other threads and programs is not in it.
#[must_use]
pub fn time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}
