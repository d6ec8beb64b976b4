//! An allocator that counts what one thread asks for.
//!
//! The only `unsafe` of these tests: a global allocator cannot be written without.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

/// What was asked for since counting began. A reallocation counts as an allocation of its new size:
/// that is what may be copied.
#[derive(Clone, Copy, Debug, Default)]
pub struct Count {
    /// Allocations.
    pub allocations: u64,
    /// Bytes, all together.
    pub bytes: u64,
    /// Bytes of the largest.
    pub largest: u64,
}

thread_local! {
    static COUNT: Cell<Count> = const { Cell::new(Count { allocations: 0, bytes: 0, largest: 0 }) };
}

/// What `work` asks for.
pub fn count(work: impl FnOnce()) -> Count {
    COUNT.set(Count::default());
    work();
    COUNT.get()
}

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

fn note(bytes: usize) {
    let bytes = bytes as u64;
    // Not while a thread is being taken down.
    let _ = COUNT.try_with(|count| {
        let mut now = count.get();
        now.allocations += 1;
        now.bytes += bytes;
        now.largest = now.largest.max(bytes);
        count.set(now);
    });
}

// SAFETY: everything is handed to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(size);
        unsafe { System.realloc(memory, layout, size) }
    }
}
