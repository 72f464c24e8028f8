// SPDX-License-Identifier: MIT

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::io::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::path::Path;
use std::time::Duration;

use crate::poll::{readable, Deadline};
use crate::{names, Error, Result};

const PIECE: usize = 64 * 1024;

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EventKind {
    /// A region was made.
    Create,
    /// Its size was changed.
    Resize,
    /// Something was forbidden.
    Seal,
    /// It has a new name.
    Rename,
    /// Its name was removed, by somebody or because it was ephemeral.
    Remove,
    /// Nobody has it open through the mount any more.
    LastClose,
    /// A new process of the daemon serves; nothing was lost.
    Restart,
    /// The reader was too slow: events are missing.
    Overflow,
    /// Something that this version does not know.
    Other(String),
}

impl EventKind {
    fn of(word: &str) -> EventKind {
        match word {
            "create" => EventKind::Create,
            "resize" => EventKind::Resize,
            "seal" => EventKind::Seal,
            "rename" => EventKind::Rename,
            "remove" => EventKind::Remove,
            "last-close" => EventKind::LastClose,
            "restart" => EventKind::Restart,
            "overflow" => EventKind::Overflow,
            other => EventKind::Other(other.to_owned()),
        }
    }
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// Its number.
    pub sequence: u64,
    /// What happened.
    pub kind: EventKind,
    /// None if it is not about a region.
    pub name: Option<OsString>,
    /// Bytes, of what has a size.
    pub size: Option<u64>,
    /// Who did it.
    pub uid: Option<u32>,
    /// The process (or its thread) that did it.
    pub pid: Option<i32>,
    /// Events that are missing, of [`EventKind::Overflow`].
    pub lost: Option<u64>,
}

fn parse(line: &[u8]) -> Option<Event> {
    let mut words = line.split(|&byte| byte == b' ');
    let mut word = || words.next();
    let sequence = std::str::from_utf8(word()?).ok()?.parse().ok()?;
    let kind = EventKind::of(std::str::from_utf8(word()?).ok()?);
    let name = Some(word()?).filter(|&name| name != b"-").map(names::unescape);
    let (mut size, mut uid, mut pid, mut lost) = (None, None, None, None);
    for pair in words {
        match std::str::from_utf8(pair).ok()?.split_once('=') {
            Some(("size", value)) => size = value.parse().ok(),
            Some(("uid", value)) => uid = value.parse().ok(),
            Some(("pid", value)) => pid = value.parse().ok(),
            Some(("lost", value)) => lost = value.parse().ok(),
            _ => (),
        }
    }
    Some(Event { sequence, kind, name, size, uid, pid, lost })
}

/// What happens below a directory, from the moment at which this was made: an iterator without end, and
/// a descriptor that poll(2) and event loops take.
#[derive(Debug)]
pub struct Events {
    file: File,
    text: Vec<u8>,
}

impl Events {
    pub(crate) fn open(directory: &Path) -> Result<Events> {
        let path = directory.join(".ctl/events");
        let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&path);
        let file = file.map_err(|error| Error::of(&error, &path))?;
        Ok(Events { file, text: Vec::new() })
    }

    /// The next event; None if there is none within that time.  Without a time it waits for ever.
    pub fn next_within(&mut self, timeout: Option<Duration>) -> Result<Option<Event>> {
        let deadline = Deadline::after(timeout);
        loop {
            if let Some(end) = self.text.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.text.drain(..=end).collect();
                let event = parse(&line[..end]);
                return event.map(Some).ok_or_else(|| Error::about(libc::EBADMSG, "events"));
            }
            if !readable(self.file.as_raw_fd(), deadline)? {
                return Ok(None);
            }
            self.receive()?;
        }
    }

    /// Drops what is there.
    pub(crate) fn drain(&mut self) -> Result<()> {
        self.receive()?;
        self.text.clear();
        Ok(())
    }

    fn receive(&mut self) -> Result<()> {
        let before = self.text.len();
        self.text.resize(before + PIECE, 0);
        let result = self.file.read(&mut self.text[before..]);
        self.text.truncate(before + *result.as_ref().unwrap_or(&0));
        match result {
            Ok(0) => Err(Error::about(libc::EPIPE, "events")),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(Error::of(&error, "events")),
        }
    }
}

impl Iterator for Events {
    type Item = Result<Event>;

    fn next(&mut self) -> Option<Result<Event>> {
        self.next_within(None).transpose()
    }
}

impl AsFd for Events {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl AsRawFd for Events {
    fn as_raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let event = parse(b"7 create a\\040b size=4096 uid=0 pid=12 newer=x").unwrap();
        assert_eq!((event.sequence, event.kind), (7, EventKind::Create));
        assert_eq!(event.name.unwrap(), "a b");
        assert_eq!((event.size, event.pid, event.lost), (Some(4096), Some(12), None));
        let event = parse(b"8 overflow - lost=3").unwrap();
        assert_eq!((event.name, event.lost), (None, Some(3)));
        assert_eq!(parse(b"9 thaw a").unwrap().kind, EventKind::Other("thaw".into()));
        assert_eq!(parse(b""), None);
        assert_eq!(parse(b"x create a"), None);
    }
}
