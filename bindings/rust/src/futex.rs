// SPDX-License-Identifier: MIT

//! Waiting for a value in shared memory, as C programs do with futex(2).
//!
//! The word is one of [`MappingMut::atomics`](crate::MappingMut::atomics); who waits and who wakes may
//! be any process and any language that has it mapped.

use std::ptr;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

/// Sleeps for as long as the word has that value, until somebody wakes, at most for that time.
///
/// It may return early, so look at the word in a loop.
pub fn wait(word: &AtomicU32, value: u32, timeout: Option<Duration>) {
    let limit = timeout.map(|timeout| libc::timespec {
        tv_sec: timeout.as_secs().try_into().unwrap_or(libc::time_t::MAX),
        tv_nsec: timeout.subsec_nanos().into(),
    });
    let limit = limit.as_ref().map_or(ptr::null(), |limit| limit as *const libc::timespec);
    // SAFETY: the word outlives the call, and limit is null or lives until its end.
    unsafe {
        libc::syscall(libc::SYS_futex, word as *const AtomicU32, libc::FUTEX_WAIT, value, limit)
    };
}

/// Wakes up to so many of those who wait.
pub fn wake(word: &AtomicU32, count: i32) {
    // SAFETY: the word outlives the call.
    unsafe { libc::syscall(libc::SYS_futex, word as *const AtomicU32, libc::FUTEX_WAKE, count) };
}
