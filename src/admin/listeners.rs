//! How many listen to events.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many may listen at a time, and how many of one name: somebody with many windows keeps nobody out.
const MAX: usize = 256;
const MAX_OF_ONE: usize = 32;

/// Who listens, by name.
#[derive(Clone, Debug, Default)]
pub(super) struct Listeners(Arc<Mutex<BTreeMap<String, usize>>>);

/// One of those who listen, as long as they do.
pub(super) struct Seat {
    listeners: Listeners,
    name: String,
}

impl Listeners {
    /// A place, unless all are taken.
    pub(super) fn admit(&self, name: String) -> Option<Seat> {
        let mut counts = self.counts();
        let own = counts.get(&name).copied().unwrap_or_default();
        if own >= MAX_OF_ONE || counts.values().sum::<usize>() >= MAX {
            return None;
        }
        counts.insert(name.clone(), own + 1);
        Some(Seat { listeners: self.clone(), name })
    }

    fn counts(&self) -> MutexGuard<'_, BTreeMap<String, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut counts = self.listeners.counts();
        if let Some(own) = counts.get_mut(&self.name) {
            *own -= 1;
        }
        counts.retain(|_, own| *own > 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_have_a_place_and_those_who_go_leave_it_to_others() {
        let listeners = Listeners::default();
        let mut seats: Vec<Seat> = (0..MAX).map(|number| listeners.admit((number / 32).to_string()).unwrap()).collect();
        assert!(listeners.admit("one more".into()).is_none());
        seats.pop();
        assert!(listeners.admit("0".into()).is_none(), "it has all that one may have");
        seats.push(listeners.admit("one more".into()).unwrap());
        drop(seats);
        assert!(listeners.counts().is_empty());
    }
}
