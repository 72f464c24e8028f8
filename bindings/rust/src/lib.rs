// SPDX-License-Identifier: MIT

//! Shared memory of an iomemfs: regions by name, mapped soundly.
//!
//! ```no_run
//! use std::sync::atomic::{AtomicU32, Ordering};
//! use iomem::{Mount, Options};
//!
//! # fn main() -> Result<(), iomem::Error> {
//! // one program
//! let mount = Mount::new()?; // $IOMEMFS, or /mnt/mem
//! let frames = mount.create("frames", 64 << 20, Options::new().fixed())?.map_mut()?;
//! frames.write_at(64, b"hello");
//! frames.atomics::<AtomicU32>()[0].store(1, Ordering::Release);
//!
//! // any other, in any language; this one waits until it is there
//! mount.wait("frames", None)?;
//! let seen = mount.open_read_only("frames")?.map()?;
//! let mut text = [0; 5];
//! seen.read_at(64, &mut text);
//! # Ok(())
//! # }
//! ```
//!
//! # What is sound, and what is not
//!
//! Two things can go wrong with memory that others hold, too.
//!
//! *Its pages can go away.* Whoever may write to a region can shrink it, and then touching what is
//! mapped beyond the new end is SIGBUS. A region that was made `fixed` is sealed against that for
//! life. [`Region::map`] and [`Region::map_mut`] therefore want a fixed region, ask the kernel or the
//! daemon whether it is one, and are safe. For others there are [`Region::map_unsealed`] and
//! [`Region::map_mut_unsealed`], which are `unsafe`: the caller vouches for those who may write.
//!
//! *Its contents change at any time.* A `&[u8]` promises the compiler that they do not. So a mapping is
//! read and written by copies ([`Mapping::read_at`], [`MappingMut::write_at`]) and by atomics
//! ([`Mapping::load`], [`MappingMut::atomics`]), which are safe whatever others do; a slice of it
//! ([`Mapping::as_slice`]) is `unsafe`, and the caller vouches that nobody writes while it lives.

#![deny(unsafe_op_in_unsafe_fn)]
#![warn(missing_docs)]

#[cfg(not(target_os = "linux"))]
compile_error!("iomemfs is a file system for Linux");

mod error;
mod events;
pub mod futex;
mod json;
mod mapping;
mod mount;
mod names;
mod poll;
mod region;
mod socket;

pub use error::{Error, Result};
pub use events::{Event, EventKind, Events};
pub use mapping::{Atomic, Mapping, MappingMut};
pub use mount::{Mount, Options, RegionInfo, Seal};
pub use region::Region;
