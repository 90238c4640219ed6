//! How many listen to events, or fetch the whole history.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Places for requests that last, by the names of the callers. One caller cannot take the places of all others.
#[derive(Clone, Debug)]
pub(super) struct Seats {
    most: usize,
    most_of_one: usize,
    counts: Arc<Mutex<BTreeMap<String, usize>>>,
}

/// The place of one request, as long as it lasts.
pub(super) struct Seat {
    seats: Seats,
    name: String,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// The caller has all that one may have.
    OfOne,
    /// All are taken.
    All,
}

impl Seats {
    /// At most `most` places together, and at most `most_of_one` for one name.
    pub(super) fn new(most: usize, most_of_one: usize) -> Self {
        Self { most, most_of_one, counts: Arc::default() }
    }

    /// A place for a caller of this name.
    pub(super) fn admit(&self, name: &str) -> Result<Seat, Full> {
        let mut counts = self.counts();
        let own = counts.get(name).copied().unwrap_or_default();
        if own >= self.most_of_one {
            return Err(Full::OfOne);
        }
        if counts.values().sum::<usize>() >= self.most {
            return Err(Full::All);
        }
        counts.insert(name.to_owned(), own + 1);
        Ok(Seat { seats: self.clone(), name: name.to_owned() })
    }

    fn counts(&self) -> MutexGuard<'_, BTreeMap<String, usize>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut counts = self.seats.counts();
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
        let seats = Seats::new(256, 32);
        let mut taken: Vec<Seat> = (0..256).map(|number| seats.admit(&(number / 32).to_string()).unwrap()).collect();
        assert_eq!(seats.admit("one more").err(), Some(Full::All));
        taken.pop();
        assert_eq!(seats.admit("0").err(), Some(Full::OfOne), "it has all that one may have");
        taken.push(seats.admit("one more").unwrap());
        drop(taken);
        assert!(seats.counts().is_empty());
    }
}
