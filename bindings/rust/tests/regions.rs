// SPDX-License-Identifier: MIT

//! On the mount that $IOMEMFS names, which must be empty, and is again afterwards.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::io::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use iomem::{futex, Error, EventKind, Mount, Options, Region, Seal};

const LIMIT: Duration = Duration::from_secs(30);

/// Tests are threads of one process, and each wants the mount for itself.
static ALONE: Mutex<()> = Mutex::new(());

struct Empty {
    mount: Mount,
    _alone: MutexGuard<'static, ()>,
}

impl Empty {
    fn new() -> Empty {
        let alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        Empty { mount: Mount::new().expect("$IOMEMFS must name a mount"), _alone: alone }
    }
}

impl std::ops::Deref for Empty {
    type Target = Mount;
    fn deref(&self) -> &Mount {
        &self.mount
    }
}

impl Drop for Empty {
    fn drop(&mut self) {
        for info in self.mount.list(None).unwrap() {
            if !info.flags.iter().any(|flag| flag == "ephemeral") {
                self.mount.remove(&info.name).unwrap();
            }
        }
        if !thread::panicking() {
            eventually(|| names(&self.mount).is_empty());
        }
        for entry in fs::read_dir(self.mount.path()).unwrap() {
            fs::remove_dir(entry.unwrap().path()).unwrap_or_default();
        }
    }
}

fn eventually(condition: impl Fn() -> bool) {
    let end = Instant::now() + LIMIT;
    while !condition() {
        assert!(Instant::now() < end, "it did not come to pass");
        thread::sleep(Duration::from_millis(5));
    }
}

fn names(mount: &Mount) -> Vec<OsString> {
    let mut names: Vec<OsString> =
        mount.list(None).unwrap().into_iter().map(|info| info.name).collect();
    names.sort();
    names
}

#[track_caller]
fn fails<T>(result: Result<T, Error>, errno: i32, words: &str) {
    let error = result.err().expect("it succeeded");
    assert_eq!(error.raw_os_error(), errno, "{error}");
    assert!(error.to_string().contains(words), "{error}");
}

#[test]
fn made_opened_mapped() {
    let mount = Empty::new();
    let made = mount.create("frames", 10_000, Options::new().fixed().mode(0o640)).unwrap();
    let memory = made.map_mut().unwrap();
    memory.write_at(9_993, b"was see");
    memory.atomics::<AtomicU32>()[2].store(7, Ordering::Release);
    drop(made);
    let opened = mount.open_read_only("frames").unwrap();
    assert_eq!((opened.size(), opened.name()), (Ok(10_000), Some(OsStr::new("frames"))));
    let seen = opened.map().unwrap();
    let mut text = [0; 8];
    seen.read_at(9_992, &mut text);
    assert_eq!(&text, b"\0was see");
    assert_eq!(seen.load::<AtomicU32>(8, Ordering::Acquire), 7);
    assert_eq!(seen.len(), 10_000);
    let info = mount.stat("frames").unwrap();
    assert_eq!((info.size, info.mode, info.flags[0].as_str()), (10_000, 0o640, "fixed"));
    assert_eq!(info.seals, [Seal::Shrink, Seal::Grow]);
    assert_eq!(info, mount.list(None).unwrap()[0]);
    fails(mount.resize("frames", 1), libc::EPERM, "fixed");
    fails(opened.map_mut(), libc::EACCES, "mmap");
}

#[test]
fn only_what_is_fixed_is_mapped_safely() {
    let mount = Empty::new();
    let loose = mount.create("loose", 4096, Options::new()).unwrap();
    assert!(!loose.is_fixed());
    fails(loose.map(), libc::EPERM, "loose: not fixed");
    fails(loose.map_mut(), libc::EPERM, "unsafe");
    // SAFETY: nobody shrinks it.
    let memory = unsafe { loose.map_mut_unsealed() }.unwrap();
    memory.write_at(0, b"x");
    mount.seal("loose", &[Seal::Shrink]).unwrap();
    assert!(loose.is_fixed());
    loose.map().unwrap();
    // By its descriptor alone, whatever has the name by now.
    fs::rename(mount.path().join("loose"), mount.path().join("moved")).unwrap();
    mount.create("loose", 1, Options::new()).unwrap();
    let bare = Region::from(OwnedFd::from(loose));
    assert!(bare.is_fixed() && bare.name().is_none());
    // A file of another file system is none.
    let file = fs::File::open("/etc/passwd").unwrap();
    fails(Region::from(OwnedFd::from(file)).map(), libc::EPERM, "not fixed");
}

#[test]
fn bounds_are_checked() {
    let memory = Region::anonymous(10, true).unwrap().map_mut().unwrap();
    assert_eq!(memory.atomics::<AtomicU32>().len(), 2);
    let panics =
        |call: &dyn Fn()| std::panic::catch_unwind(std::panic::AssertUnwindSafe(call)).is_err();
    std::panic::set_hook(Box::new(|_| ()));
    let results = [
        panics(&|| memory.write_at(7, b"four")),
        panics(&|| memory.write_at(usize::MAX, b"four")),
        panics(&|| memory.read_at(11, &mut [])),
        panics(&|| assert_eq!(memory.load::<AtomicU32>(8, Ordering::Relaxed), 0)),
        panics(&|| assert_eq!(memory.load::<AtomicU32>(2, Ordering::Relaxed), 0)),
    ];
    let _ = std::panic::take_hook();
    assert_eq!(results, [true; 5]);
    memory.write_at(10, b"");
    memory.write_at(0, b"0123456789");
    for offset in 0..10 {
        for length in 0..=10 - offset {
            let mut out = vec![0; length];
            memory.read_at(offset, &mut out);
            assert_eq!(out, &b"0123456789"[offset..offset + length]);
        }
    }
}

#[test]
fn size_zero() {
    let mount = Empty::new();
    let region = mount.create("a", 0, Options::new().fixed()).unwrap();
    let memory = region.map_mut().unwrap();
    assert!(memory.is_empty() && memory.atomics::<AtomicU32>().is_empty());
    assert!(Region::anonymous(0, true).unwrap().map().unwrap().is_empty());
}

#[test]
fn changes_and_errors() {
    let mount = Empty::new();
    mount.create("a", 4096, Options::new().mode(0o444)).unwrap();
    mount.resize("a", 8192).unwrap();
    mount.seal("a", &[Seal::Shrink, Seal::Write]).unwrap();
    assert_eq!(mount.stat("a").unwrap().seals, [Seal::Shrink, Seal::Write]);
    fails(mount.resize("a", 1), libc::EPERM, "sealed");
    fails(mount.seal("a", &[]), libc::EINVAL, "a");
    fails(mount.create("a", 1, Options::new()), libc::EEXIST, "a: exists already");
    fails(mount.create("b", 1, Options::new().mode(0o7777)), libc::EINVAL, "mode=");
    fails(mount.create("b", 1, Options::new().owner("nobody")), libc::EINVAL, "owner=nobody");
    mount.create("b", 1, Options::new().owner("process")).unwrap();
    assert_eq!(mount.stat("b").unwrap().flags, ["owner=process"]);
    mount.remove("b").unwrap();
    fails(mount.create("b", 2 << 30, Options::new()), libc::ENOSPC, "size=");
    fails(mount.create("b\nc 1", 1, Options::new().owner("a\nb 2")), libc::EINVAL, "");
    mount.remove("a").unwrap();
    fails(mount.remove("a"), libc::ENOENT, "a");
    fails(mount.stat("a"), libc::ENOENT, "a");
    fails(mount.open("a"), libc::ENOENT, "a");
    assert_eq!(mount.open("a").unwrap_err().kind(), std::io::ErrorKind::NotFound);
    mount.create("b", 65536, Options::new().populate()).unwrap();
    assert_eq!(mount.stat("b").unwrap().allocated, 65536);
}

#[test]
fn strange_names() {
    let mount = Empty::new();
    let mut strange: Vec<OsString> =
        ["with space", "tab\tnew\nline", "back\\slash", "häßlich", "-", "a: b", "\"q\""]
            .iter()
            .map(OsString::from)
            .collect();
    strange.push(OsStr::from_bytes(b"\xff\xfe").to_owned());
    for name in &strange {
        mount.create(name, 1, Options::new()).unwrap();
        assert_eq!(&mount.stat(name).unwrap().name, name);
    }
    strange.sort();
    assert_eq!(names(&mount), strange);
    for name in ["", "/a", "a/", "a//b", "..", "a/../b", ".ctl", ".ctl/create", "a\0b"] {
        fails(mount.create(name, 1, Options::new()), libc::EINVAL, "not a path");
        fails(mount.open(name), libc::EINVAL, "not a path");
    }
}

#[test]
fn directories() {
    let mount = Empty::new();
    fs::create_dir(mount.path().join("d")).unwrap();
    mount.create("d/a", 1, Options::new()).unwrap();
    mount.create("b", 1, Options::new()).unwrap();
    assert_eq!(names(&mount), ["b", "d/a"]);
    assert_eq!(mount.list(Some(Path::new("d"))).unwrap()[0].name, "a");
    assert_eq!(mount.stat("d/a").unwrap().name, "d/a");
    let below = Mount::at(mount.path().join("d")).unwrap();
    assert_eq!(names(&below), ["a"]);
    fails(mount.wait("d", Some(LIMIT)), libc::EISDIR, "d");
    fails(mount.stat("d"), libc::EINVAL, "not a region");
}

#[test]
fn waiting() {
    let mount = Empty::new();
    fails(mount.wait("late", Some(Duration::from_millis(20))), libc::ETIMEDOUT, "late");
    thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            mount.wait("d/late", Some(LIMIT)).unwrap();
            let mut text = [0; 4];
            mount.open_read_only("d/late").unwrap().map().unwrap().read_at(0, &mut text);
            text
        });
        let early = mount.create("early", 4096, Options::new().fixed()).unwrap();
        early.map_mut().unwrap().write_at(0, b"here");
        fs::create_dir(mount.path().join("d")).unwrap();
        fs::rename(mount.path().join("early"), mount.path().join("d/late")).unwrap();
        assert_eq!(&waiter.join().unwrap(), b"here");
    });
    mount.wait("d/late", None).unwrap();
}

#[test]
fn events() {
    let mount = Empty::new();
    let mut events = mount.events(None).unwrap();
    assert_eq!(events.next_within(Some(Duration::ZERO)).unwrap(), None);
    mount.create("a b", 4096, Options::new()).unwrap();
    mount.remove("a b").unwrap();
    let first = events.next_within(Some(LIMIT)).unwrap().unwrap();
    assert_eq!((first.kind, first.name.unwrap()), (EventKind::Create, "a b".into()));
    assert_eq!(first.size, Some(4096));
    assert!(events.any(|event| event.unwrap().kind == EventKind::Remove));
    assert!(events.as_raw_fd() > 2);
    fails(mount.events(Some(Path::new("none"))), libc::ENOENT, "none");
}

#[test]
fn through_a_socket() {
    let (here, there) = UnixStream::pair().unwrap();
    let sent = Region::anonymous(4096, true).unwrap();
    sent.send(&here).unwrap();
    let received = Region::receive(&there).unwrap();
    assert!(received.is_fixed());
    received.map_mut().unwrap().write_at(0, b"sent");
    let mut text = [0; 4];
    sent.map().unwrap().read_at(0, &mut text);
    assert_eq!(&text, b"sent");
    use std::io::Write;
    (&here).write_all(b"x").unwrap();
    fails(Region::receive(&there), libc::EBADMSG, "");
    drop(here);
    fails(Region::receive(&there), libc::EPIPE, "");
    fails(sent.send(&there), libc::EPIPE, "");
}

#[test]
fn futexes_wake() {
    let memory = Region::anonymous(4096, true).unwrap().map_mut().unwrap();
    let word = &memory.atomics::<AtomicU32>()[0];
    thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            while word.load(Ordering::Acquire) == 0 {
                futex::wait(word, 0, None);
            }
        });
        word.store(1, Ordering::Release);
        futex::wake(word, i32::MAX);
        waiter.join().unwrap();
    });
    // A value that it has not any more, and a time that ends.
    futex::wait(word, 0, None);
    futex::wait(word, 1, Some(Duration::from_millis(1)));
}

#[test]
fn without_a_mount() {
    fails(Mount::at("/proc"), libc::ENODEV, "/proc: no iomemfs is mounted there");
}

/// Not a test of its own: the process that `a_killed_holder` kills.
#[test]
fn holder() {
    if std::env::var_os("IOMEM_TEST_HOLDS").is_none() {
        return;
    }
    let mount = Mount::new().unwrap();
    let kept: Vec<_> = ["alone", "shared"]
        .iter()
        .map(|name| mount.create(name, 4096, Options::new().fixed().ephemeral()).unwrap())
        .map(|region| region.map_mut().unwrap())
        .collect();
    kept[1].write_at(0, b"x");
    println!("\nready");
    loop {
        thread::park();
    }
}

#[test]
fn a_killed_holder_leaves_nothing_and_takes_nothing_from_others() {
    let mount = Empty::new();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "holder", "--nocapture"])
        .env("IOMEM_TEST_HOLDS", "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    assert!(output.lines().any(|line| line.unwrap() == "ready"));
    let shared = mount.open_read_only("shared").unwrap().map().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    eventually(|| names(&mount) == ["shared"]);
    let mut byte = [0];
    shared.read_at(0, &mut byte);
    assert_eq!((&byte, names(&mount)), (b"x", vec!["shared".into()]));
    drop(shared);
    eventually(|| names(&mount).is_empty());
}
