//! Timing in rounds: each round gives every row its slice in turn, so that whatever disturbs the
//! machine disturbs all rows alike. Ratios are taken round by round, and their median is quoted.
//!
//! What is measured is the processor time of this thread, in which no other program's share is. No
//! row hands work to another thread.

use std::hint::black_box;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use tower_flags_benches::allocations::count;
use tower_flags_benches::table::median;

/// Something to measure: does the work for the n-th user and returns something that depends on it.
pub struct Row<'a> {
    pub name: String,
    work: Box<dyn FnMut(usize) -> u64 + 'a>,
    calls: usize,
    next: usize,
    /// Nanoseconds a call, one for each round.
    times: Vec<f64>,
    pub allocations: f64,
}

impl<'a> Row<'a> {
    pub fn new(name: impl Into<String>, work: impl FnMut(usize) -> u64 + 'a) -> Self {
        Self { name: name.into(), work: Box::new(work), calls: 1, next: 0, times: Vec::new(), allocations: 0.0 }
    }

    fn run(&mut self, calls: usize) -> Duration {
        let start = processor_time();
        for _ in 0..calls {
            black_box((self.work)(self.next));
            self.next += 1;
        }
        processor_time() - start
    }

    /// Finds out how many calls fill a slice, and how often one allocates.
    fn prepare(&mut self, slice: Duration) {
        let mut calls = 1;
        let time = loop {
            let time = self.run(calls);
            if time * 4 >= slice {
                break time;
            }
            calls *= 2;
        };
        self.calls = ((calls as f64 * slice.as_secs_f64() / time.as_secs_f64()) as usize).max(1);
        let counted = calls.min(1_000);
        self.allocations = count(|| self.run(counted)).1.times as f64 / counted as f64;
    }

    /// The median time of a call in nanoseconds.
    pub fn time(&self) -> f64 {
        median(&mut self.times.clone())
    }

    /// The median over rounds of this row's time to another's.
    pub fn to(&self, other: &Self) -> f64 {
        median(&mut self.times.iter().zip(&other.times).map(|(this, other)| this / other).collect::<Vec<_>>())
    }
}

/// How long this thread has run so far.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

/// Measures the rows.
pub fn measure(rows: &mut [Row<'_>], rounds: usize, slice: Duration) {
    rows.iter_mut().for_each(|row| row.prepare(slice));
    for _ in 0..rounds {
        for row in &mut *rows {
            let time = row.run(row.calls);
            row.times.push(time.as_nanos() as f64 / row.calls as f64);
        }
    }
}

/// Prints the rows with their ratios to the first; a call is for that many of a thing.
pub fn print(title: &str, rows: &[Row<'_>], number: usize, thing: &str) {
    println!("\n{title}");
    let each = format!("ns a {thing}");
    println!("{:<58} {:>11} {each:>11} {:>9} {:>12}", "", "ns a call", "ratio", "allocations");
    for row in rows {
        let time = row.time();
        println!(
            "{:<58} {time:>11.0} {:>11.1} {:>9.2} {:>12.1}",
            row.name,
            time / number as f64,
            row.to(&rows[0]),
            row.allocations
        );
    }
}

/// What is kept of a row: its name, its median time in nanoseconds, and its ratio to the first row.
pub type Median = (String, f64, f64);

/// The medians of all rows.
pub fn medians(rows: &[Row<'_>]) -> Vec<Median> {
    rows.iter().map(|row| (row.name.clone(), row.time(), row.to(&rows[0]))).collect()
}

/// Prints medians of the same rows at several numbers of flags.
pub fn print_medians(title: &str, numbers: &[usize], columns: &[Vec<Median>]) {
    println!("\n{title}");
    let heads = numbers.iter().map(|number| format!(" {:>19}", format!("{number} flags")));
    println!("{:<58}{}", "ns a call (ratio to the first row)", heads.collect::<String>());
    for (at, (name, ..)) in columns[0].iter().enumerate() {
        let cells = columns.iter().map(|column| {
            let (_, time, ratio) = &column[at];
            format!(" {time:>10.0} {:>8}", format!("({ratio:.2})"))
        });
        println!("{name:<58}{}", cells.collect::<String>());
    }
}

/// The row of that name.
pub fn row<'r, 'a>(rows: &'r [Row<'a>], name: &str) -> &'r Row<'a> {
    rows.iter().find(|row| row.name == name).unwrap_or_else(|| panic!("no row is called {name}"))
}
