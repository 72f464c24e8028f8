// SPDX-License-Identifier: MIT

use std::ffi::{CStr, OsStr, OsString};
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::os::unix::io::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};

use crate::mount::{info_of_json, Mount};
use crate::{Error, Mapping, MappingMut, Result, Seal};

const ATTRIBUTE: &[u8] = b"user.iomemfs\0";
const ATTRIBUTE_MAX: usize = 64 * 1024;

/// An open region: a descriptor to map or to pass on.  Its mappings are values of their own.
#[derive(Debug)]
pub struct Region {
    file: File,
    name: Option<OsString>,
    mount: Option<Mount>,
}

impl Region {
    pub(crate) fn named(file: File, name: &OsStr, mount: &Mount) -> Region {
        Region { file, name: Some(name.to_owned()), mount: Some(mount.clone()) }
    }

    /// Memory without a name, which needs no mount: a memfd.
    pub fn anonymous(size: u64, fixed: bool) -> Result<Region> {
        let what = "anonymous memory";
        let name = CStr::from_bytes_with_nul(b"iomem\0").expect("it ends with NUL");
        let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
        // SAFETY: the name is a string of C.
        let fd = unsafe { libc::memfd_create(name.as_ptr(), flags) };
        if fd < 0 {
            return Err(Error::last(what));
        }
        // SAFETY: it is new, and nobody else's.
        let file = unsafe { File::from_raw_fd(fd) };
        file.set_len(size).map_err(|error| Error::of(&error, what))?;
        if fixed {
            let seals = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW;
            // SAFETY: no memory is involved.
            if unsafe { libc::fcntl(fd, libc::F_ADD_SEALS, seals) } < 0 {
                return Err(Error::last(what));
            }
        }
        Ok(Region { file, name: None, mount: None })
    }

    /// The name below the mount; None for memory without one.
    pub fn name(&self) -> Option<&OsStr> {
        self.name.as_deref()
    }

    /// Bytes, now.
    pub fn size(&self) -> Result<u64> {
        self.file.metadata().map(|found| found.len()).map_err(|error| self.error(&error))
    }

    fn error(&self, error: &std::io::Error) -> Error {
        Error::of(error, self.name.as_deref().unwrap_or_else(|| OsStr::new("region")))
    }

    /// Of a memfd, as the kernel knows them.
    fn seals(&self) -> Option<libc::c_int> {
        // SAFETY: no memory is involved.
        let seals = unsafe { libc::fcntl(self.file.as_raw_fd(), libc::F_GET_SEALS) };
        (seals >= 0).then_some(seals)
    }

    /// What the daemon says of the open file, in JSON.
    fn attribute(&self) -> Option<Vec<u8>> {
        let mut text = vec![0; ATTRIBUTE_MAX];
        // SAFETY: the name is a string of C, and the buffer as large as it is said to be.
        let length = unsafe {
            libc::fgetxattr(
                self.file.as_raw_fd(),
                ATTRIBUTE.as_ptr().cast(),
                text.as_mut_ptr().cast(),
                text.len(),
            )
        };
        text.truncate(usize::try_from(length).ok()?);
        Some(text)
    }

    fn is_on_fuse(&self) -> bool {
        const FUSE_SUPER_MAGIC: libc::c_long = 0x6573_5546;
        let mut found = std::mem::MaybeUninit::<libc::statfs>::uninit();
        // SAFETY: filled by a call that succeeded.
        unsafe {
            libc::fstatfs(self.file.as_raw_fd(), found.as_mut_ptr()) == 0
                && found.assume_init().f_type == FUSE_SUPER_MAGIC
        }
    }

    /// By the name, where the mount has no extended attributes.
    fn is_fixed_by_name(&self) -> bool {
        let info = match (&self.mount, &self.name) {
            (Some(mount), Some(name)) => mount.stat(name).ok(),
            _ => None,
        };
        match (info, self.file.metadata()) {
            // Another region may have the name by now.
            (Some(info), Ok(here)) => {
                info.inode == here.ino() && info.seals.contains(&Seal::Shrink)
            }
            _ => false,
        }
    }

    /// Whether its size can never shrink, so that what is mapped stays there.
    pub fn is_fixed(&self) -> bool {
        if let Some(seals) = self.seals() {
            return seals & libc::F_SEAL_SHRINK != 0;
        }
        if !self.is_on_fuse() {
            return false;
        }
        match self.attribute() {
            Some(text) => {
                let info = info_of_json(&text);
                info.map_or(false, |info| info.seals.contains(&Seal::Shrink))
            }
            None => self.is_fixed_by_name(),
        }
    }

    fn check_fixed(&self) -> Result<()> {
        if self.is_fixed() {
            return Ok(());
        }
        let name = self.name.as_deref().unwrap_or_else(|| OsStr::new("region"));
        let text = "not fixed: others can take its pages away, so that mapping it is unsafe";
        Err(Error::new(libc::EPERM, format!("{}: {text}", name.to_string_lossy())))
    }

    fn mapped_size(&self) -> Result<usize> {
        let size = self.size()?;
        usize::try_from(size).map_err(|_| Error::about(libc::ENOMEM, "mmap"))
    }

    /// Maps all of a region that is fixed, for reading.  EPERM if it is not fixed.
    pub fn map(&self) -> Result<Mapping> {
        self.check_fixed()?;
        // SAFETY: its size cannot shrink.
        unsafe { self.map_unsealed() }
    }

    /// Maps all of a region that is fixed, for reading and writing.  EPERM if it is not fixed.
    pub fn map_mut(&self) -> Result<MappingMut> {
        self.check_fixed()?;
        // SAFETY: its size cannot shrink.
        unsafe { self.map_mut_unsealed() }
    }

    /// Maps all of any region, for reading.
    ///
    /// # Safety
    /// Nobody shrinks the region while it is mapped: touching what was cut off is SIGBUS, in the middle of
    /// whatever code does it.
    pub unsafe fn map_unsealed(&self) -> Result<Mapping> {
        Mapping::read_only(self.as_fd(), self.mapped_size()?)
    }

    /// Maps all of any region, for reading and writing.
    ///
    /// # Safety
    /// As of [`Region::map_unsealed`].
    pub unsafe fn map_mut_unsealed(&self) -> Result<MappingMut> {
        MappingMut::new(self.as_fd(), self.mapped_size()?)
    }
}

/// Takes over a descriptor that came from elsewhere.
impl From<OwnedFd> for Region {
    fn from(fd: OwnedFd) -> Region {
        Region { file: File::from(fd), name: None, mount: None }
    }
}

impl From<Region> for OwnedFd {
    fn from(region: Region) -> OwnedFd {
        region.file.into()
    }
}

impl AsFd for Region {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl AsRawFd for Region {
    fn as_raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

impl IntoRawFd for Region {
    fn into_raw_fd(self) -> RawFd {
        self.file.into_raw_fd()
    }
}
