// SPDX-License-Identifier: MIT

use std::mem::{align_of, size_of};
use std::ops::Deref;
use std::os::unix::io::{AsRawFd, BorrowedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::*;

use crate::{Error, Result};

/// As every atomic needs it.
#[repr(align(16))]
struct Aligned;

mod sealed {
    pub trait Sealed {}
}

/// The atomic integers of std: what may lie in memory that others write to.
pub trait Atomic: sealed::Sealed + Sync {
    /// The integer.
    type Value: Copy;
    #[doc(hidden)]
    fn load_value(&self, order: Ordering) -> Self::Value;
}

macro_rules! atomics {
    ($($atomic:ty => $value:ty),*) => {$(
        impl sealed::Sealed for $atomic {}
        impl Atomic for $atomic {
            type Value = $value;
            fn load_value(&self, order: Ordering) -> $value {
                self.load(order)
            }
        }
    )*};
}
atomics!(
    AtomicU8 => u8, AtomicU16 => u16, AtomicU32 => u32, AtomicUsize => usize,
    AtomicI8 => i8, AtomicI16 => i16, AtomicI32 => i32, AtomicIsize => isize
);
#[cfg(target_has_atomic = "64")]
atomics!(AtomicU64 => u64, AtomicI64 => i64);

/// All of a region, for reading.  Ends with the value, whatever becomes of the region's descriptor.
#[derive(Debug)]
pub struct Mapping {
    memory: NonNull<u8>,
    size: usize,
}

// SAFETY: safe functions reach the memory by atomic operations only.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    fn new(fd: BorrowedFd<'_>, size: usize, protection: libc::c_int) -> Result<Mapping> {
        if size == 0 {
            let memory = NonNull::<Aligned>::dangling().cast();
            return Ok(Mapping { memory, size });
        }
        // SAFETY: a new mapping, at an address that the kernel chooses.
        let address = unsafe {
            libc::mmap(ptr::null_mut(), size, protection, libc::MAP_SHARED, fd.as_raw_fd(), 0)
        };
        match NonNull::new(address.cast()) {
            Some(memory) if address != libc::MAP_FAILED => Ok(Mapping { memory, size }),
            _ => Err(Error::last("mmap")),
        }
    }

    pub(crate) fn read_only(fd: BorrowedFd<'_>, size: usize) -> Result<Mapping> {
        Mapping::new(fd, size, libc::PROT_READ)
    }

    /// Bytes that are mapped.
    pub fn len(&self) -> usize {
        self.size
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.size == 0
    }

    /// Where it is, for system calls and C.
    pub fn as_ptr(&self) -> *const u8 {
        self.memory.as_ptr()
    }

    /// The memory as a slice.
    ///
    /// # Safety
    /// Nobody, in this process or any other, writes to the region while the slice lives.
    pub unsafe fn as_slice(&self) -> &[u8] {
        // SAFETY: mapped for as long as self is; the caller vouches for the contents.
        unsafe { std::slice::from_raw_parts(self.memory.as_ptr(), self.size) }
    }

    fn check(&self, offset: usize, length: usize) {
        let is_inside = offset.checked_add(length).map_or(false, |end| end <= self.size);
        assert!(is_inside, "{length} bytes at {offset} are not within {} bytes", self.size);
    }

    /// The atomic at that offset.
    fn atomic<A: Atomic>(&self, offset: usize) -> &A {
        self.check(offset, size_of::<A>());
        assert!(offset % align_of::<A>() == 0, "offset {offset} is not aligned");
        // SAFETY: inside, aligned (the memory is page-aligned), and any bytes are an integer.
        unsafe { &*self.memory.as_ptr().add(offset).cast::<A>() }
    }

    /// The integer at that offset: `mapping.load::<AtomicU32>(0, Ordering::Acquire)`.
    ///
    /// # Panics
    /// If it is not inside, or not aligned, or as the `load` of the atomic does.
    pub fn load<A: Atomic>(&self, offset: usize, order: Ordering) -> A::Value {
        self.atomic::<A>(offset).load_value(order)
    }

    /// Copies from the memory.  Not atomic as a whole: what others write meanwhile may be there in part.
    ///
    /// # Panics
    /// If it is not all inside.
    pub fn read_at(&self, offset: usize, out: &mut [u8]) {
        self.check(offset, out.len());
        let mut at = offset;
        for piece in pieces(offset, out.len()) {
            let target = &mut out[at - offset..at - offset + piece];
            if piece == WORD {
                let word = self.atomic::<AtomicUsize>(at).load(Ordering::Relaxed);
                target.copy_from_slice(&word.to_ne_bytes());
            } else {
                target[0] = self.atomic::<AtomicU8>(at).load(Ordering::Relaxed);
            }
            at += piece;
        }
    }
}

const WORD: usize = size_of::<usize>();

/// Sizes of pieces that a copy is made of: bytes up to where words begin, words, bytes.
fn pieces(offset: usize, length: usize) -> impl Iterator<Item = usize> {
    let head = (offset.wrapping_neg() % WORD).min(length);
    let (words, tail) = ((length - head) / WORD, (length - head) % WORD);
    let ones = |n| std::iter::repeat(1).take(n);
    ones(head).chain(std::iter::repeat(WORD).take(words)).chain(ones(tail))
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if self.size > 0 {
            // SAFETY: ours, and nothing borrows from it any more.
            unsafe { libc::munmap(self.memory.as_ptr().cast(), self.size) };
        }
    }
}

/// All of a region, for reading and writing.
#[derive(Debug)]
pub struct MappingMut(Mapping);

impl MappingMut {
    pub(crate) fn new(fd: BorrowedFd<'_>, size: usize) -> Result<MappingMut> {
        Mapping::new(fd, size, libc::PROT_READ | libc::PROT_WRITE).map(MappingMut)
    }

    /// Where it is, for system calls and C.
    pub fn as_mut_ptr(&self) -> *mut u8 {
        self.0.memory.as_ptr()
    }

    /// The memory as atomics; what is left at its end is cut off.
    pub fn atomics<A: Atomic>(&self) -> &[A] {
        let count = self.0.size / size_of::<A>();
        // SAFETY: inside, page-aligned, and any bytes are an integer.
        unsafe { std::slice::from_raw_parts(self.0.memory.as_ptr().cast(), count) }
    }

    /// Copies to the memory.  Not atomic as a whole: others may see it in part.
    ///
    /// # Panics
    /// If it is not all inside.
    pub fn write_at(&self, offset: usize, bytes: &[u8]) {
        self.0.check(offset, bytes.len());
        let mut rest = bytes;
        let mut at = offset;
        for piece in pieces(offset, bytes.len()) {
            let (source, after) = rest.split_at(piece);
            if let Ok(word) = source.try_into() {
                let word = usize::from_ne_bytes(word);
                self.0.atomic::<AtomicUsize>(at).store(word, Ordering::Relaxed);
            } else {
                self.0.atomic::<AtomicU8>(at).store(source[0], Ordering::Relaxed);
            }
            rest = after;
            at += piece;
        }
    }

    /// The memory as a slice.
    ///
    /// # Safety
    /// Nobody else, in this process or any other, reads or writes the region while the slice lives.
    pub unsafe fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: mapped for as long as self is; the caller vouches for the contents.
        unsafe { std::slice::from_raw_parts_mut(self.0.memory.as_ptr(), self.0.size) }
    }
}

impl Deref for MappingMut {
    type Target = Mapping;

    fn deref(&self) -> &Mapping {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_aligned_and_whole() {
        for offset in 0..20 {
            for length in 0..40 {
                let mut at = offset;
                for piece in pieces(offset, length) {
                    assert!(piece == 1 || (piece == WORD && at % WORD == 0));
                    at += piece;
                }
                assert_eq!(at, offset + length);
            }
        }
    }
}
