// SPDX-License-Identifier: MIT

//! Regions through Unix sockets: one byte with the descriptor on it, as libiomem and Ruby have it.

use std::mem::{size_of, zeroed};
use std::os::unix::io::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::ptr;

use crate::{Error, Region, Result};

const FD_SIZE: u32 = size_of::<RawFd>() as u32;

/// Room for the control message of one descriptor, aligned as one.
#[repr(C)]
union Control {
    _header: libc::cmsghdr,
    bytes: [u8; 64],
}

/// Calls sendmsg(2) or recvmsg(2) with a message of one byte; again if a signal came.
fn with_message(
    control: &mut Control,
    room: u32,
    mut call: impl FnMut(&mut libc::msghdr) -> isize,
) -> Result<(isize, libc::msghdr)> {
    let mut byte = 0_u8;
    let mut piece = libc::iovec { iov_base: ptr::addr_of_mut!(byte).cast(), iov_len: 1 };
    loop {
        // SAFETY: zeros are a message of nothing.
        let mut message: libc::msghdr = unsafe { zeroed() };
        message.msg_iov = &mut piece;
        message.msg_iovlen = 1;
        message.msg_control = (control as *mut Control).cast();
        message.msg_controllen = room as _;
        let n = call(&mut message);
        if n >= 0 {
            return Ok((n, message));
        }
        if std::io::Error::last_os_error().raw_os_error() != Some(libc::EINTR) {
            return Err(Error::last("socket"));
        }
    }
}

impl Region {
    /// Sends it.
    pub fn send(&self, socket: &UnixStream) -> Result<()> {
        let mut control = Control { bytes: [0; 64] };
        // SAFETY: arithmetic only.
        let room = unsafe { libc::CMSG_SPACE(FD_SIZE) };
        with_message(&mut control, room, |message| {
            // SAFETY: there is room for one header and one descriptor.
            unsafe {
                let header = libc::CMSG_FIRSTHDR(message);
                (*header).cmsg_level = libc::SOL_SOCKET;
                (*header).cmsg_type = libc::SCM_RIGHTS;
                (*header).cmsg_len = libc::CMSG_LEN(FD_SIZE) as _;
                ptr::write_unaligned(libc::CMSG_DATA(header).cast::<RawFd>(), self.as_raw_fd());
                libc::sendmsg(socket.as_raw_fd(), message, libc::MSG_NOSIGNAL)
            }
        })?;
        Ok(())
    }

    /// Receives one.  EPIPE: the other end was closed; EBADMSG: a byte came without a descriptor.
    pub fn receive(socket: &UnixStream) -> Result<Region> {
        let mut control = Control { bytes: [0; 64] };
        // SAFETY: arithmetic only.
        let (room, whole) = unsafe { (libc::CMSG_SPACE(FD_SIZE), libc::CMSG_LEN(FD_SIZE)) };
        let (n, message) = with_message(&mut control, room, |message| {
            // SAFETY: the message is whole.
            unsafe { libc::recvmsg(socket.as_raw_fd(), message, libc::MSG_CMSG_CLOEXEC) }
        })?;
        if n == 0 {
            return Err(Error::about(libc::EPIPE, "socket"));
        }
        // SAFETY: the kernel filled it; the descriptor is new, and nobody else's.
        unsafe {
            let header = libc::CMSG_FIRSTHDR(&message);
            if header.is_null()
                || (*header).cmsg_level != libc::SOL_SOCKET
                || (*header).cmsg_type != libc::SCM_RIGHTS
                || (*header).cmsg_len as u32 != whole
            {
                return Err(Error::about(libc::EBADMSG, "socket"));
            }
            let fd = ptr::read_unaligned(libc::CMSG_DATA(header).cast::<RawFd>());
            Ok(Region::from(OwnedFd::from_raw_fd(fd)))
        }
    }
}
