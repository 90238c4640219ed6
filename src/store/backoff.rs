//! When to try again.

use std::time::Duration;

use tokio::time::Instant;

use super::random::random_share;
use crate::error::ErrorKind;

/// The first attempt comes within this time after something failed, so that a fleet does not move as one; and
/// attempts are this far apart at the beginning of an outage.
const SOON: Duration = Duration::from_secs(2);
/// How long an outage counts as short.
const SHORT: Duration = Duration::from_secs(10);
/// Longest wait of a long outage.
const LONGEST: Duration = Duration::from_secs(30);
/// Wait where credentials are refused: trying them often may lock them.
const DENIED: Duration = Duration::from_secs(5 * 60);
/// Health after which the waits start anew.
const HEALTHY: Duration = Duration::from_secs(60);

/// The waits between attempts of one source, of the kills that a router writes, or of who compares a store with the
/// recent edits. Attempts never end.
///
/// 1. The first comes after a uniform 0 to 2 s.
/// 2. For the first 10 s of an outage they are at most 2 s apart, then twice as far each time, up to 30 s.
/// 3. Each wait is between 50 % and 100 % of that, at random.
/// 4. Refused credentials are tried again every 5 minutes.
/// 5. The doubling goes on where it was unless 60 s of health lie between: a long outage with a short return in it
///    is a long one.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    /// Since when the outage lasts, and how many attempts have failed in it.
    outage: Option<Outage>,
    healthy_since: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Outage {
    since: Instant,
    failures: u32,
    /// Failures after the short beginning.
    late_failures: u32,
    is_denied: bool,
}

impl Backoff {
    pub(crate) fn succeeded(&mut self, now: Instant) {
        let healthy_since = *self.healthy_since.get_or_insert(now);
        if now - healthy_since >= HEALTHY {
            self.outage = None;
        }
    }

    pub(crate) fn failed(&mut self, now: Instant, kind: ErrorKind) {
        let is_denied = kind == ErrorKind::Denied;
        let new = Outage { since: now, failures: 1, late_failures: 0, is_denied };
        self.outage = Some(match (self.outage, self.healthy_since.take()) {
            (None, _) => new,
            (Some(_), Some(healthy_since)) if now - healthy_since >= HEALTHY => new,
            (Some(last), Some(_)) => Outage { late_failures: last.late_failures, ..new },
            (Some(outage), None) => {
                let is_late = now - outage.since >= SHORT;
                Outage {
                    failures: outage.failures.saturating_add(1),
                    late_failures: outage.late_failures.saturating_add(u32::from(is_late)),
                    is_denied,
                    ..outage
                }
            }
        });
    }

    /// Whether it was the credentials.
    pub(crate) fn is_denied(&self) -> bool {
        self.outage.is_some_and(|outage| outage.is_denied)
    }

    /// How long to wait for the next attempt; `None` while everything is right.
    pub(crate) fn wait(&self, now: Instant) -> Option<Duration> {
        let outage = self.outage.filter(|_| self.healthy_since.is_none())?;
        Some(outage.wait(now, random_share()))
    }
}

impl Outage {
    /// `chance` is from 0 up to 1.
    fn wait(self, now: Instant, chance: f64) -> Duration {
        let is_short = now - self.since < SHORT;
        let full = match self {
            Self { is_denied: true, .. } => DENIED,
            Self { failures: ..=1, .. } => return SOON.mul_f64(chance),
            Self { late_failures, .. } if !is_short => SOON.saturating_mul(1 << late_failures.min(8)).min(LONGEST),
            _ => SOON,
        };
        full.mul_f64(0.5 + 0.5 * chance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: Duration = Duration::from_millis(1);

    /// How long such an outage waits, that is short or not.
    fn wait(failures: u32, late_failures: u32, chance: f64) -> Duration {
        let outage = Outage { since: Instant::now(), failures, late_failures, is_denied: false };
        let lasted = if late_failures > 0 { SHORT } else { SHORT - MILLI };
        outage.wait(outage.since + lasted, chance)
    }

    #[tokio::test(start_paused = true)]
    async fn waits_are_short_at_first_and_double_up_to_half_a_minute() {
        assert_eq!((wait(1, 0, 0.0), wait(1, 0, 0.5)), (Duration::ZERO, SOON / 2));
        let seconds = [(2, 0, 2), (9, 0, 2), (10, 1, 4), (11, 2, 8), (12, 3, 16), (13, 4, 30), (99, 90, 30)];
        for (failures, late, full) in seconds {
            let full = Duration::from_secs(full);
            assert_eq!(wait(failures, late, 0.0), full / 2, "{failures} {late}");
            assert_eq!(wait(failures, late, 1.0), full, "{failures} {late}");
        }
        let mut backoff = Backoff::default();
        backoff.failed(Instant::now(), ErrorKind::Denied);
        assert!(backoff.wait(Instant::now()).unwrap() >= DENIED / 2);
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_is_over_after_a_minute_of_health() {
        let mut backoff = Backoff::default();
        assert_eq!(backoff.wait(Instant::now()), None);
        for _ in 0..20 {
            backoff.failed(Instant::now(), ErrorKind::Unavailable);
            tokio::time::advance(Duration::from_secs(2)).await;
        }
        assert!(backoff.wait(Instant::now()).unwrap() >= LONGEST / 2);
        backoff.succeeded(Instant::now());
        assert_eq!(backoff.wait(Instant::now()), None);
        tokio::time::advance(HEALTHY - MILLI).await;
        backoff.failed(Instant::now(), ErrorKind::Unavailable);
        assert!(backoff.wait(Instant::now()).unwrap() < SOON, "it is asked soon whether it is back");
        tokio::time::advance(SHORT).await;
        backoff.failed(Instant::now(), ErrorKind::Unavailable);
        assert!(backoff.wait(Instant::now()).unwrap() >= LONGEST / 2, "it comes and goes");

        backoff.succeeded(Instant::now());
        tokio::time::advance(HEALTHY).await;
        backoff.failed(Instant::now(), ErrorKind::Unavailable);
        assert!(backoff.wait(Instant::now()).unwrap() < SOON, "another outage");
    }

    /// A thousand processes that lose the store for a minute at once.
    #[tokio::test(start_paused = true)]
    async fn a_fleet_that_lost_the_store_comes_back_a_few_at_a_time() {
        const PROCESSES: usize = 1000;
        const OUTAGE: f64 = 60.0;
        let start = Instant::now();
        let mut seconds = vec![0_usize; 200];
        for _ in 0..PROCESSES {
            let mut backoff = Backoff::default();
            let mut now = start;
            loop {
                backoff.failed(now, ErrorKind::Unavailable);
                now += backoff.wait(now).unwrap();
                let elapsed = (now - start).as_secs_f64();
                if elapsed >= OUTAGE {
                    break seconds[elapsed as usize] += 1;
                }
            }
        }
        let most = seconds.iter().max().unwrap();
        assert!(*most <= PROCESSES / 10, "{most} in one second: {seconds:?}");
        assert!(seconds[90..].iter().all(|second| *second == 0), "half a minute later all are back: {seconds:?}");
    }
}
