//! How many logins are under way at once, and how long a client that failed waits for the next one.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::peer::Peer;

/// How long the body of a login may take to arrive.
pub(super) const BODY_WITHIN: Duration = Duration::from_secs(5);
/// How many may log in at once.
const AT_ONCE: usize = 8;
/// How many of them from one address, where it is known.
const AT_ONCE_FROM_ONE: usize = 4;
/// The number of failures in a row that cause no wait, since people mistype.
const FREE: u32 = 4;
/// The longest wait after a failure, if the address is known, and if it is not, so that all clients share one wait.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
const LONGEST_WAIT_OF_ALL: Duration = Duration::from_secs(2);
/// How long failures are remembered.
const REMEMBERED: Duration = Duration::from_secs(15 * 60);
/// Of how many addresses.
const MAX_PEERS: usize = 4096;

/// Who logs in just now, and who has failed.
#[derive(Debug, Default)]
pub(super) struct Logins(Mutex<Peers>);

#[derive(Debug, Default)]
struct Peers {
    peers: HashMap<Peer, Record>,
    under_way: usize,
    failed: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Record {
    under_way: usize,
    failures: u32,
    last: Option<Instant>,
}

impl Record {
    /// When the next login may come.
    fn next(&self, peer: Peer) -> Option<Instant> {
        let doublings = self.failures.checked_sub(FREE)?;
        let longest = if peer.is_some() { LONGEST_WAIT } else { LONGEST_WAIT_OF_ALL };
        Some(self.last? + Duration::from_secs(1 << doublings.min(16)).min(longest))
    }

    fn is_over(&self, now: Instant) -> bool {
        self.under_way == 0 && self.last.is_none_or(|last| now.saturating_duration_since(last) > REMEMBERED)
    }
}

/// One login that is under way.
#[derive(Debug)]
pub(super) struct Place<'a> {
    logins: &'a Logins,
    peer: Peer,
}

impl Logins {
    fn peers(&self) -> MutexGuard<'_, Peers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many have failed since the start.
    pub(super) fn failed(&self) -> u64 {
        self.peers().failed
    }

    /// A place, or how long to wait for one.
    pub(super) fn enter(&self, peer: Peer, now: Instant) -> Result<Place<'_>, Duration> {
        let mut peers = self.peers();
        let record = peers.peers.get(&peer).copied().filter(|record| !record.is_over(now)).unwrap_or_default();
        if let Some(wait) =
            record.next(peer).and_then(|next| next.checked_duration_since(now)).filter(|wait| !wait.is_zero())
        {
            return Err(wait);
        }
        if peers.under_way >= AT_ONCE || peer.is_some() && record.under_way >= AT_ONCE_FROM_ONE {
            return Err(BODY_WITHIN);
        }
        peers.make_room(now);
        peers.under_way += 1;
        peers.peers.insert(peer, Record { under_way: record.under_way + 1, ..record });
        Ok(Place { logins: self, peer })
    }
}

impl Peers {
    fn make_room(&mut self, now: Instant) {
        if self.peers.len() < MAX_PEERS {
            return;
        }
        self.peers.retain(|_, record| !record.is_over(now));
        while self.peers.len() >= MAX_PEERS {
            let idle = self.peers.iter().filter(|(_, record)| record.under_way == 0);
            let Some(oldest) = idle.min_by_key(|(_, record)| record.last).map(|(peer, _)| *peer) else { return };
            self.peers.remove(&oldest);
        }
    }
}

impl Place<'_> {
    /// Counts a failure, and gives how many there were in a row.
    pub(super) fn failed(&self, now: Instant) -> u32 {
        let mut peers = self.logins.peers();
        peers.failed += 1;
        let record = peers.peers.entry(self.peer).or_default();
        record.failures = record.failures.saturating_add(1);
        record.last = Some(now);
        record.failures
    }

    pub(super) fn succeeded(&self) {
        let mut peers = self.logins.peers();
        let record = peers.peers.entry(self.peer).or_default();
        (record.failures, record.last) = (0, None);
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut peers = self.logins.peers();
        peers.under_way -= 1;
        if let Some(record) = peers.peers.get_mut(&self.peer) {
            record.under_way -= 1;
            if record.under_way == 0 && record.last.is_none() {
                peers.peers.remove(&self.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, SocketAddr};

    use axum::extract::ConnectInfo;

    use super::*;
    use crate::admin::peer::peer;

    fn address(text: &str) -> Peer {
        let mut parts = http::Request::new(()).into_parts().0;
        parts.extensions.insert(ConnectInfo(SocketAddr::new(text.parse().unwrap(), 80)));
        peer(&parts)
    }

    #[test]
    fn waits_grow_with_failures_and_end_with_a_success() {
        let (logins, start) = (Logins::default(), Instant::now());
        let waits = |peer: Peer, now: Instant| logins.enter(peer, now).map(drop).err().unwrap_or_default().as_secs();
        let fail = |peer: Peer, now: Instant| logins.enter(peer, now).unwrap().failed(now);
        let mallory = address("192.0.2.1");
        let mut now = start;
        let mut waited = Vec::new();
        for _ in 0..12 {
            now += Duration::from_secs(waits(mallory, now));
            fail(mallory, now);
            waited.push(waits(mallory, now));
        }
        assert_eq!(waited, [0, 0, 0, 1, 2, 4, 8, 16, 30, 30, 30, 30]);
        assert_eq!((waits(address("192.0.2.2"), now), waits(None, now)), (0, 0), "others do not wait");
        assert_eq!(logins.failed(), 12);
        now += Duration::from_secs(30);
        assert_eq!(waits(mallory, now + REMEMBERED), 0);
        logins.enter(mallory, now).unwrap().succeeded();
        assert_eq!((waits(mallory, now), logins.peers().peers.len()), (0, 0));
        for _ in 0..20 {
            now += Duration::from_secs(waits(None, now));
            fail(None, now);
        }
        assert_eq!(waits(None, now), 2, "where nobody is known, all wait for one");
        now += REMEMBERED + Duration::from_secs(1);
        fail(None, now);
        assert_eq!(waits(None, now), 0, "old failures do not count");
    }

    #[test]
    fn few_are_under_way_at_once() {
        let (logins, now) = (Logins::default(), Instant::now());
        let (a, b, c) = (address("192.0.2.1"), address("2001:db8::1"), address("192.0.2.3"));
        let mut places: Vec<Place<'_>> = (0..4).map(|_| logins.enter(a, now).unwrap()).collect();
        assert_eq!(logins.enter(a, now).unwrap_err(), BODY_WITHIN);
        places.extend((0..4).map(|_| logins.enter(b, now).unwrap()));
        assert_eq!(logins.enter(c, now).unwrap_err(), BODY_WITHIN);
        drop(places);
        assert!(logins.enter(c, now).is_ok() && logins.peers().peers.is_empty());
    }

    #[test]
    fn a_network_is_one_peer_and_many_are_forgotten() {
        assert_eq!(address("2001:db8::1"), address("2001:db8::ffff:2"));
        assert_ne!(address("2001:db8::1"), address("2001:db8:0:1::1"));
        assert_eq!(address("::ffff:192.0.2.1"), address("192.0.2.1"));
        let (logins, now) = (Logins::default(), Instant::now());
        for number in 0..10_000_u32 {
            let later = now + Duration::from_millis(number.into());
            logins.enter(Some(IpAddr::V4(number.into())), later).unwrap().failed(later);
        }
        assert_eq!(logins.peers().peers.len(), MAX_PEERS);
        assert!(logins.peers().peers.contains_key(&Some(IpAddr::V4(9_999.into()))));
    }
}
