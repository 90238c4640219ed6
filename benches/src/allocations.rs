//! A global allocator that counts what the current thread asks for while it is told to.

#![allow(unsafe_code, reason = "an allocator is unsafe by its trait; this one passes everything on to the system's")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Install it with `#[global_allocator]` in the program that counts. While nobody counts it costs one
/// load of a shared word, so it may stay installed while times are taken.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counting;

/// How many threads count.
static COUNTING: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static COUNT: Cell<Option<Allocated>> = const { Cell::new(None) };
}

/// What was allocated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allocated {
    /// Allocations and reallocations.
    pub times: u64,
    /// Bytes asked for and not given back; what the system's allocator adds is not in it.
    pub kept: i64,
}

/// Does the work and returns what this thread allocated meanwhile.
pub fn count<T>(work: impl FnOnce() -> T) -> (T, Allocated) {
    let before = COUNT.replace(Some(Allocated::default()));
    COUNTING.fetch_add(1, Ordering::Relaxed);
    let done = work();
    COUNTING.fetch_sub(1, Ordering::Relaxed);
    let allocated = COUNT.replace(before).unwrap_or_default();
    (done, allocated)
}

fn note(times: u64, bytes: i64) {
    if COUNTING.load(Ordering::Relaxed) > 0 {
        // A thread that ends may allocate after its locals are gone.
        let _ = COUNT.try_with(|count| {
            if let Some(Allocated { times: so_far, kept }) = count.get() {
                count.set(Some(Allocated { times: so_far + times, kept: kept + bytes }));
            }
        });
    }
}

// SAFETY: every call is passed on unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(1, layout.size() as i64);
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(1, layout.size() as i64);
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(1, size as i64 - layout.size() as i64);
        unsafe { System.realloc(memory, layout, size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        note(0, -(layout.size() as i64));
        unsafe { System.dealloc(memory, layout) }
    }
}
