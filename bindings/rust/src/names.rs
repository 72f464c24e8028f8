// SPDX-License-Identifier: MIT

//! Names of regions are bytes, and escaped in commands and events.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use crate::{Error, Result};

/// Refuses what is not a path below the mount.
pub fn check(name: &OsStr) -> Result<()> {
    let bytes = name.as_bytes();
    let is_bad = |part: &[u8]| matches!(part, b"" | b"." | b".." | b".ctl");
    if bytes.contains(&0) || bytes.split(|&byte| byte == b'/').any(is_bad) {
        let text = format!("{}: not a path below the mount", name.to_string_lossy());
        return Err(Error::new(libc::EINVAL, text));
    }
    Ok(())
}

pub fn escape(name: &OsStr) -> Vec<u8> {
    let mut escaped = Vec::with_capacity(name.len());
    for &byte in name.as_bytes() {
        if byte <= b' ' || byte == b'\\' || byte == 0x7f {
            escaped.extend_from_slice(format!("\\{byte:03o}").as_bytes());
        } else {
            escaped.push(byte);
        }
    }
    escaped
}

fn octal(digits: &[u8]) -> Option<u8> {
    let text = std::str::from_utf8(digits).ok()?;
    u8::from_str_radix(text, 8).ok()
}

pub fn unescape(escaped: &[u8]) -> OsString {
    let mut name = Vec::with_capacity(escaped.len());
    let mut at = 0;
    while at < escaped.len() {
        let code = match escaped[at] {
            b'\\' => escaped.get(at + 1..at + 4).and_then(octal),
            _ => None,
        };
        name.push(code.unwrap_or(escaped[at]));
        at += if code.is_some() { 4 } else { 1 };
    }
    OsString::from_vec(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_undone() {
        let every: Vec<u8> = (1..=255).collect();
        let name = OsString::from_vec(every);
        let escaped = escape(&name);
        assert!(!escaped.iter().any(|&byte| byte <= b' '));
        assert_eq!(unescape(&escaped), name);
        assert_eq!(unescape(b"a\\04"), "a\\04");
        assert_eq!(unescape(b"\\999\\"), "\\999\\");
    }

    #[test]
    fn paths_stay_below_the_mount() {
        for name in ["", "/a", "a/", "a//b", ".", "..", "a/../b", ".ctl", ".ctl/create", "a\0"] {
            assert!(check(OsStr::new(name)).is_err(), "{name:?}");
        }
        for name in ["a", "a/b", "...", "a.ctl", " "] {
            assert!(check(OsStr::new(name)).is_ok(), "{name:?}");
        }
    }
}
