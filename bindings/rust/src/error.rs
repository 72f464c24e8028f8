// SPDX-License-Identifier: MIT

use std::ffi::OsStr;
use std::{fmt, io};

/// What failed: an errno, and the daemon's words where it has any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    errno: i32,
    text: String,
}

/// What the functions of this crate return.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn new(errno: i32, text: impl Into<String>) -> Error {
        let text = text.into();
        Error { errno, text }
    }

    /// An errno's own words, about something.
    pub(crate) fn about(errno: i32, what: impl AsRef<OsStr>) -> Error {
        let words = io::Error::from_raw_os_error(errno).to_string();
        let words = words.split(" (os error").next().unwrap_or_default();
        Error::new(errno, format!("{}: {words}", what.as_ref().to_string_lossy()))
    }

    pub(crate) fn of(error: &io::Error, what: impl AsRef<OsStr>) -> Error {
        Error::about(error.raw_os_error().unwrap_or(libc::EIO), what)
    }

    pub(crate) fn last(what: impl AsRef<OsStr>) -> Error {
        Error::of(&io::Error::last_os_error(), what)
    }

    /// The errno, such as `libc::ENOENT`.  `ENODEV`: there is no iomemfs.
    pub fn raw_os_error(&self) -> i32 {
        self.errno
    }

    /// The kind that std has for it.
    pub fn kind(&self) -> io::ErrorKind {
        io::Error::from_raw_os_error(self.errno).kind()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Error {}

impl From<Error> for io::Error {
    fn from(error: Error) -> io::Error {
        io::Error::new(error.kind(), error)
    }
}
