//! How much of the code an input reaches, in a build that counts it.
//!
//! `cargo xtask fuzz` builds with the counters of LLVM's SanitizerCoverage: a byte for each branch, which each passage
//! makes one more. The compiler hands them over before `main`; in every other build there are none, and nothing here runs.
//!
//! Must not know: what an input is, and how it was made.
#![expect(
    unsafe_code,
    reason = "the counters are the compiler's: a symbol that it calls, and memory that it names"
)]

use std::ptr;
use std::sync::Mutex;

/// Where the counters lie, as first and last address. Each module of the program names the same.
static COUNTERS: Mutex<Option<(usize, usize)>> = Mutex::new(None);

/// Called by the program before `main`, once for each of its modules.
// SAFETY: no other function has this name, which is the compiler's for a function of this form.
#[unsafe(no_mangle)]
extern "C" fn __sanitizer_cov_8bit_counters_init(first: *mut u8, end: *mut u8) {
    if let Ok(mut counters) = COUNTERS.lock() {
        *counters = Some((first.expose_provenance(), end.expose_provenance()));
    }
}

/// What was reached so far.
pub(crate) struct Coverage {
    first: *mut u8,
    /// For each counter, how often it was passed in one input: a bit for each range of numbers.
    seen: Vec<u8>,
    now: Vec<u8>,
}

impl Coverage {
    /// That of this program; `None` where its build counts nothing.
    pub(crate) fn of_this_build() -> Option<Self> {
        let (first, end) = (*COUNTERS.lock().ok()?)?;
        let size = end.checked_sub(first)?;
        Some(Self {
            first: ptr::with_exposed_provenance_mut(first),
            seen: vec![0; size],
            now: vec![0; size],
        })
    }

    /// Whether what ran since the last call reached something that nothing had reached before it.
    pub(crate) fn grew(&mut self) -> bool {
        // SAFETY: the compiler's own section of this program, which lives as long as it does: `now` is as long, and lies
        // elsewhere. Only passages of this thread are counted where a test has a process of its own; where another
        // thread passes meanwhile, a count is wrong and nothing else.
        unsafe {
            ptr::copy_nonoverlapping(self.first, self.now.as_mut_ptr(), self.now.len());
            ptr::write_bytes(self.first, 0, self.now.len());
        }
        let mut grew = false;
        for (now, seen) in self.now.chunks(64).zip(self.seen.chunks_mut(64)) {
            if now.iter().all(|count| *count == 0) {
                continue;
            }
            for (count, seen) in now.iter().zip(seen) {
                let range = range(*count);
                grew |= *seen & range != range;
                *seen |= range;
            }
        }
        grew
    }

    /// How many counters were ever passed, and of how many.
    pub(crate) fn reached(&self) -> (usize, usize) {
        let passed = self.seen.iter().filter(|seen| **seen != 0);
        (passed.count(), self.seen.len())
    }
}

/// The bit of the range that a count lies in: once, twice, three times, up to 7, 15, 31, 127 times, more often.
fn range(count: u8) -> u8 {
    match count {
        0 => 0,
        1 => 1,
        2 => 1 << 1,
        3 => 1 << 2,
        4..=7 => 1 << 3,
        8..=15 => 1 << 4,
        16..=31 => 1 << 5,
        32..=127 => 1 << 6,
        128.. => 1 << 7,
    }
}
