//! Evaluation while the rules are swapped.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tower_flags::engine::Query;
use tower_flags::source::Source;
use tower_flags::{Context, Memory};

use crate::table::median;
use crate::workload::{self, Ids, Mix};

/// What swaps do to readers.
#[derive(Clone, Copy, Debug)]
pub struct Swaps {
    /// Median time of an evaluation without swaps, in nanoseconds, the clock's own time included.
    pub still: f64,
    /// The same while rules are swapped.
    pub swapped: f64,
    /// The median over rounds of one to the other.
    pub ratio: f64,
    /// Swaps a second that came about.
    pub rate: f64,
}

/// Evaluates sets of this many flags through [`Memory`], in turn without swaps and with one flag of
/// the set being changed a thousand times a second by another thread.
///
/// # Panics
///
/// If the other thread does.
#[must_use]
pub fn measure(flags: usize, rounds: usize, slice: Duration) -> Swaps {
    let memory = Memory::from(workload::parse(&workload::flags(flags, Mix::Usual, 100, Ids::Short)));
    let contexts: Vec<Context> = workload::users(Ids::Short).iter().map(workload::context).collect();
    let (mut still, mut swapped, mut ratios, mut rates) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    evaluate(&memory, &contexts, slice);
    for _ in 0..rounds {
        let without = evaluate(&memory, &contexts, slice);
        let stop = AtomicBool::new(false);
        let with = thread::scope(|scope| {
            let writer = scope.spawn(|| swap(&memory, &stop));
            let with = evaluate(&memory, &contexts, slice);
            stop.store(true, Ordering::Relaxed);
            rates.push(writer.join().expect("the writer does not panic"));
            with
        });
        still.push(without);
        swapped.push(with);
        ratios.push(with / without);
    }
    Swaps {
        still: median(&mut still),
        swapped: median(&mut swapped),
        ratio: median(&mut ratios),
        rate: median(&mut rates),
    }
}

/// Swaps every millisecond until told to stop; returns how many a second it came to.
fn swap(memory: &Memory, stop: &AtomicBool) -> f64 {
    let (start, mut swaps) = (Instant::now(), 0_u32);
    while !stop.load(Ordering::Relaxed) {
        memory.set("swapped", swaps.is_multiple_of(2)).expect("this is a name");
        swaps += 1;
        thread::sleep((start + Duration::from_millis(1) * swaps).saturating_duration_since(Instant::now()));
    }
    f64::from(swaps) / start.elapsed().as_secs_f64()
}

/// The median time of an evaluation.
fn evaluate(memory: &Memory, contexts: &[Context], slice: Duration) -> f64 {
    let now = workload::noon();
    let end = Instant::now() + slice;
    let mut times = Vec::with_capacity(1 << 20);
    for context in contexts.iter().cycle() {
        let start = Instant::now();
        let flags = workload::decided(memory.answer(&Query::new(context, now)));
        drop(std::hint::black_box(flags));
        let stop = Instant::now();
        times.push((stop - start).as_nanos() as f64);
        if stop >= end {
            break;
        }
    }
    median(&mut times)
}
