//! Medians of rounds, for goals.

use std::hint::black_box;

use crate::processor;
use crate::table::median;

/// Rounds of which the median is taken.
pub const ROUNDS: usize = 31;
/// Rounds before them that are not counted.
const WARM_UP: usize = 3;

/// The median over rounds of the processor time of a call, in nanoseconds.
pub fn time<T>(calls: usize, mut work: impl FnMut() -> T) -> f64 {
    let mut times: Vec<f64> = (0..WARM_UP + ROUNDS).map(|_| round(0..calls, |_| work())).collect();
    median(&mut times[WARM_UP..])
}

/// Two works that took turns.
#[derive(Clone, Copy, Debug)]
pub struct Compared {
    /// The median time of the first.
    pub first: f64,
    /// The median time of the second.
    pub second: f64,
    /// The median over rounds of the second to the first.
    pub ratio: f64,
}

/// Compares two works, of which each call is a [`round`]. They take turns, so that a disturbance of the machine affects
/// both.
pub fn compare(mut first: impl FnMut() -> f64, mut second: impl FnMut() -> f64) -> Compared {
    let rounds: Vec<(f64, f64)> = (0..WARM_UP + ROUNDS).map(|_| (first(), second())).collect();
    let of = |value: fn(&(f64, f64)) -> f64| median(&mut rounds[WARM_UP..].iter().map(value).collect::<Vec<_>>());
    Compared {
        first: of(|(first, _)| *first),
        second: of(|(_, second)| *second),
        ratio: of(|(first, second)| second / first),
    }
}

/// The processor time of a call, in nanoseconds. The inputs are made before.
pub fn round<I, T>(inputs: impl IntoIterator<Item = I>, mut work: impl FnMut(I) -> T) -> f64 {
    let inputs: Vec<I> = inputs.into_iter().collect();
    let calls = inputs.len() as f64;
    let start = processor::time();
    for input in inputs {
        black_box(work(input));
    }
    (processor::time() - start).as_nanos() as f64 / calls
}
