// SPDX-License-Identifier: MIT

//! frames write|read NAME: two programs, in two languages if you like, on the same memory.  The first
//! makes a region, the other waits for it by name and answers.  docs/languages.md has the same program
//! for the other languages.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use iomem::{futex, Mapping, MappingMut, Mount, Options, Result};

const TEXT: usize = 64;
const ANSWER: usize = 128;
const LENGTH: usize = 64;

/// Not every language wakes those who wait.
fn until(frames: &MappingMut, value: u32) {
    let state = &frames.atomics::<AtomicU32>()[0];
    loop {
        match state.load(Ordering::Acquire) {
            now if now == value => return,
            now => futex::wait(state, now, Some(Duration::from_millis(10))),
        }
    }
}

fn set_state(frames: &MappingMut, value: u32) {
    let state = &frames.atomics::<AtomicU32>()[0];
    state.store(value, Ordering::Release);
    futex::wake(state, i32::MAX);
}

fn text_at(frames: &Mapping, offset: usize) -> String {
    let mut bytes = [0; LENGTH];
    frames.read_at(offset, &mut bytes);
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(LENGTH);
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

fn writes(name: &str) -> Result<()> {
    let mount = Mount::new()?;
    let region = mount.create(name, 4096, Options::new().fixed().ephemeral())?;
    let frames = region.map_mut()?;
    frames.write_at(TEXT, b"hello from Rust");
    set_state(&frames, 1);
    until(&frames, 2);
    println!("Rust is told: {}", text_at(&frames, ANSWER));
    Ok(())
}

fn reads(name: &str) -> Result<()> {
    let mount = Mount::new()?;
    mount.wait(name, Some(Duration::from_secs(30)))?;
    let frames = mount.open(name)?.map_mut()?;
    until(&frames, 1);
    println!("Rust reads: {}", text_at(&frames, TEXT));
    frames.write_at(ANSWER, b"Rust has read it");
    set_state(&frames, 2);
    Ok(())
}

/// Nobody needs to have the region open: its name goes when this process has ended.
fn keeps(name: &str) -> Result<()> {
    drop(Mount::new()?.create(name, 4096, Options::new().owner("process"))?);
    println!("Rust keeps it");
    std::thread::sleep(Duration::from_secs(60));
    Ok(())
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match arguments[..] {
        ["write", name] => writes(name),
        ["read", name] => reads(name),
        ["keep", name] => keeps(name),
        _ => {
            eprintln!("usage: frames write|read|keep NAME");
            std::process::exit(2);
        }
    };
    if let Err(error) = result {
        eprintln!("{error}");
        std::process::exit(1);
    }
}
