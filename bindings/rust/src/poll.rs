// SPDX-License-Identifier: MIT

use std::os::unix::io::RawFd;
use std::time::{Duration, Instant};

use crate::{Error, Result};

/// When something is given up; None for never.
#[derive(Clone, Copy)]
pub struct Deadline(Option<Instant>);

impl Deadline {
    /// A time too far away to be told is none.
    pub fn after(timeout: Option<Duration>) -> Deadline {
        Deadline(timeout.and_then(|timeout| Instant::now().checked_add(timeout)))
    }

    /// None: there is no deadline.
    pub fn left(self) -> Option<Duration> {
        self.0.map(|end| end.saturating_duration_since(Instant::now()))
    }

    pub fn has_passed(self) -> bool {
        self.left() == Some(Duration::ZERO)
    }

    /// How long to sleep if it is to be no longer than that.
    pub fn at_most(self, pause: Duration) -> Duration {
        self.left().map_or(pause, |left| left.min(pause))
    }
}

/// Rounded up, so that nobody spins through the last millisecond.
fn milliseconds(timeout: Option<Duration>) -> i32 {
    timeout.map_or(-1, |timeout| {
        let rounded = timeout.saturating_add(Duration::from_nanos(999_999)).as_millis();
        i32::try_from(rounded).unwrap_or(i32::MAX)
    })
}

/// Whether there is something to read by then.
pub fn readable(fd: RawFd, deadline: Deadline) -> Result<bool> {
    loop {
        let mut poll_fd = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        // SAFETY: one structure, as the call says.
        let n = unsafe { libc::poll(&mut poll_fd, 1, milliseconds(deadline.left())) };
        if n > 0 {
            return Ok(true);
        }
        if n < 0 && std::io::Error::last_os_error().raw_os_error() != Some(libc::EINTR) {
            return Err(Error::last("poll"));
        }
        if deadline.has_passed() {
            return Ok(false);
        }
    }
}
