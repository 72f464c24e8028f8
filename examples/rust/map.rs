// SPDX-License-Identifier: MIT

//! A region from Rust, with the standard library and mmap(2): no crate is needed.

use std::ffi::c_void;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::os::unix::io::AsRawFd;

extern "C" {
    fn mmap(addr: *mut c_void, len: usize, prot: i32, flags: i32, fd: i32, off: i64)
        -> *mut c_void;
    fn munmap(addr: *mut c_void, len: usize) -> i32;
}

const PROT_READ_WRITE: i32 = 1 | 2;
const MAP_SHARED: i32 = 1;
const NAME: &str = "example-rust";
const SIZE: usize = 4096;

fn main() -> std::io::Result<()> {
    let mount = std::env::var("IOMEMFS").unwrap_or_else(|_| "/mnt/mem".to_string());
    let mut create = OpenOptions::new().write(true).open(format!("{mount}/.ctl/create"))?;
    create.write_all(format!("{NAME} {SIZE}\n").as_bytes())?;
    let path = format!("{mount}/{NAME}");
    let file = OpenOptions::new().read(true).write(true).open(&path)?;

    // SAFETY: the region has SIZE bytes, and nobody else writes to it here.
    let memory = unsafe {
        let address =
            mmap(std::ptr::null_mut(), SIZE, PROT_READ_WRITE, MAP_SHARED, file.as_raw_fd(), 0);
        assert!(address as isize != -1, "mmap: {}", std::io::Error::last_os_error());
        std::slice::from_raw_parts_mut(address as *mut u8, SIZE)
    };
    memory[..15].copy_from_slice(b"hello from Rust");

    let mut again = [0u8; 15];
    file.read_exact_at(&mut again, 0)?;
    println!("read(2) sees: {}", String::from_utf8_lossy(&again));
    unsafe { munmap(memory.as_mut_ptr() as *mut c_void, SIZE) };
    fs::remove_file(path)
}
