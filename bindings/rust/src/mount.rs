// SPDX-License-Identifier: MIT

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::json::{self, Value};
use crate::poll::Deadline;
use crate::{names, Error, Events, Region, Result};

const DEFAULT: &str = "/mnt/mem";
const ATTEMPTS: u32 = 100;
const PAUSE_FIRST: Duration = Duration::from_millis(1);
const PAUSE_LONGEST: Duration = Duration::from_millis(50);
/// Events tell of regions; this is for what they do not tell, such as directories.
const PAUSE_WITH_EVENTS: Duration = Duration::from_millis(500);

/// What cannot be done to a region any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Seal {
    /// It does not get smaller.
    Shrink,
    /// It does not get larger.
    Grow,
    /// Nobody writes to it.
    Write,
}

impl Seal {
    const ALL: [(Seal, &'static str); 3] =
        [(Seal::Shrink, "shrink"), (Seal::Grow, "grow"), (Seal::Write, "write")];

    fn word(self) -> &'static str {
        Seal::ALL[self as usize].1
    }
}

/// How a region is made: `Options::new().fixed().mode(0o640)`.
#[derive(Clone, Debug, Default)]
pub struct Options {
    mode: Option<u32>,
    words: Vec<String>,
}

impl Options {
    /// Permissions as umask(2) leaves them, and nothing special.
    pub fn new() -> Options {
        Options::default()
    }

    fn with(mut self, word: impl Into<String>) -> Options {
        self.words.push(word.into());
        self
    }

    /// Its size never changes, so that nobody can take pages away: such a region is mapped safely.
    #[must_use]
    pub fn fixed(self) -> Options {
        self.with("fixed")
    }

    /// The name goes with the last reference, however its holder ended.
    #[must_use]
    pub fn ephemeral(self) -> Options {
        self.with("ephemeral")
    }

    /// All pages are there when the name appears.
    #[must_use]
    pub fn populate(self) -> Options {
        self.with("populate")
    }

    /// The same with huge pages.
    #[must_use]
    pub fn huge(self) -> Options {
        self.with("huge")
    }

    /// "process", "service" or "container": the name goes when that one, of this process, has
    /// ended, and the last reference is gone.
    #[must_use]
    pub fn owner(self, owner: &str) -> Options {
        self.with(format!("owner={owner}"))
    }

    /// Permissions.
    #[must_use]
    pub fn mode(mut self, mode: u32) -> Options {
        self.mode = Some(mode);
        self
    }

    fn line(&self, size: u64) -> String {
        let mode = self.mode.map(|mode| format!("mode={mode:o}"));
        let words: Vec<String> = std::iter::once(size.to_string())
            .chain(mode)
            .chain(self.words.iter().cloned())
            .collect();
        words.join(" ")
    }
}

/// What is known of a region; see iomemfs-ctl(7).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RegionInfo {
    /// Relative to what was listed.
    pub name: OsString,
    /// Bytes.
    pub size: u64,
    /// Bytes that have memory.
    pub allocated: u64,
    /// Permissions.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// `st_ino` of the file.
    pub inode: u64,
    /// Names.
    pub links: u32,
    /// How often it is open through the mount.
    pub refs: u32,
    /// Options of `create`.
    pub flags: Vec<String>,
    /// What is forbidden.
    pub seals: Vec<Seal>,
    /// Time of birth, UTC, as in RFC 3339.
    pub created: String,
    /// Who made it.
    pub creator_uid: u32,
    /// The process (or its thread) that made it.
    pub creator_pid: i32,
    /// The name of its program.
    pub creator_command: OsString,
}

fn words_of(value: Option<&Value>) -> Option<Vec<String>> {
    let words = value?.list()?.iter();
    words.map(|word| String::from_utf8(word.text()?.to_vec()).ok()).collect()
}

fn info_of(value: &Value) -> Option<RegionInfo> {
    let number = |key| value.get(key).and_then(Value::number);
    let small = |key| number(key).and_then(|n| u32::try_from(n).ok());
    let large = |key| number(key).and_then(|n| u64::try_from(n).ok());
    let text = |key| value.get(key).and_then(Value::text);
    let string = |key| text(key).map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    // JSON has no bytes that are not UTF-8: such a name is there a second time, escaped.
    let os_string = |key, escaped| match text(escaped) {
        Some(escaped) => Some(names::unescape(escaped)),
        None => text(key).map(|bytes| OsString::from_vec(bytes.to_vec())),
    };
    let seals = words_of(value.get("seals"))?;
    Some(RegionInfo {
        name: os_string("name", "name_escaped")?,
        size: large("size")?,
        allocated: large("allocated")?,
        mode: u32::from_str_radix(&string("mode")?, 8).ok()?,
        uid: small("uid")?,
        gid: small("gid")?,
        inode: large("inode")?,
        links: small("links")?,
        refs: small("refs")?,
        flags: words_of(value.get("flags"))?,
        seals: Seal::ALL
            .iter()
            .filter(|(_, word)| seals.iter().any(|seal| seal == word))
            .map(|(seal, _)| *seal)
            .collect(),
        created: string("created")?,
        creator_uid: small("creator_uid")?,
        creator_pid: number("creator_pid").and_then(|n| n.try_into().ok())?,
        creator_command: os_string("creator_command", "creator_command_escaped")?,
    })
}

/// What the extended attribute of a region says.
pub(crate) fn info_of_json(text: &[u8]) -> Option<RegionInfo> {
    info_of(&json::parse(text)?)
}

/// An iomemfs, or a directory in it, that names are relative to.
#[derive(Clone, Debug)]
pub struct Mount {
    path: PathBuf,
}

impl Mount {
    /// At `$IOMEMFS`, or `/mnt/mem`.  ENODEV if there is no iomemfs.
    pub fn new() -> Result<Mount> {
        let path = std::env::var_os("IOMEMFS").filter(|path| !path.is_empty());
        Mount::at(path.unwrap_or_else(|| DEFAULT.into()))
    }

    /// At that path.
    pub fn at(path: impl Into<PathBuf>) -> Result<Mount> {
        let path = path.into();
        if !path.join(".ctl/create").exists() {
            let text = format!("{}: no iomemfs is mounted there", path.display());
            return Err(Error::new(libc::ENODEV, text));
        }
        Ok(Mount { path })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn path_of(&self, name: &OsStr) -> Result<PathBuf> {
        names::check(name)?;
        Ok(self.path.join(name))
    }

    fn directory(&self, directory: Option<&Path>) -> Result<PathBuf> {
        directory.map_or_else(|| Ok(self.path.clone()), |below| self.path_of(below.as_os_str()))
    }

    /// Carries out a command in one write(2); what the daemon says of an error is read from the same
    /// open file.
    fn command(&self, verb: &str, name: &OsStr, rest: &str) -> Result<()> {
        names::check(name)?;
        let mut line = names::escape(name);
        if !rest.is_empty() {
            line.push(b' ');
        }
        line.extend_from_slice(rest.as_bytes());
        line.push(b'\n');
        let path = self.path.join(".ctl").join(verb);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)
            .map_err(|error| Error::of(&error, &path))?;
        file.write(&line).map(drop).map_err(|error| match reason(&file) {
            Some(text) => Error::new(error.raw_os_error().unwrap_or(libc::EIO), text),
            None => Error::of(&error, name),
        })
    }

    /// Makes a region and opens it for reading and writing.
    pub fn create(&self, name: impl AsRef<OsStr>, size: u64, options: Options) -> Result<Region> {
        let name = name.as_ref();
        let is_ephemeral = options.words.iter().any(|word| word == "ephemeral");
        let mut left = if is_ephemeral { ATTEMPTS } else { 1 };
        loop {
            self.command("create", name, &options.line(size))?;
            left -= 1;
            match self.open_made(name, &options) {
                // Whoever opened it in between and closed it again was its last user: it is gone.
                Err(error) if error.raw_os_error() == libc::ENOENT && left > 0 => (),
                result => return result,
            }
        }
    }

    fn open_made(&self, name: &OsStr, options: &Options) -> Result<Region> {
        match self.open(name) {
            // Made with a mode that forbids its maker to write.
            Err(error) if error.raw_os_error() == libc::EACCES && options.mode.is_some() => {
                self.open_read_only(name)
            }
            result => result,
        }
    }

    fn open_with(&self, name: &OsStr, write: bool) -> Result<Region> {
        let path = self.path_of(name)?;
        let file = OpenOptions::new().read(true).write(write).open(path);
        let file: File = file.map_err(|error| Error::of(&error, name))?;
        Ok(Region::named(file, name, self))
    }

    /// Opens a region for reading and writing.
    pub fn open(&self, name: impl AsRef<OsStr>) -> Result<Region> {
        self.open_with(name.as_ref(), true)
    }

    /// Opens a region for reading.
    pub fn open_read_only(&self, name: impl AsRef<OsStr>) -> Result<Region> {
        self.open_with(name.as_ref(), false)
    }

    /// Changes the size of a region.
    pub fn resize(&self, name: impl AsRef<OsStr>, size: u64) -> Result<()> {
        self.command("resize", name.as_ref(), &size.to_string())
    }

    /// Forbids for good.
    pub fn seal(&self, name: impl AsRef<OsStr>, seals: &[Seal]) -> Result<()> {
        let words: Vec<&str> = seals.iter().map(|seal| seal.word()).collect();
        self.command("seal", name.as_ref(), &words.join(","))
    }

    /// Removes the name.  Who has the region open or mapped keeps it.
    pub fn remove(&self, name: impl AsRef<OsStr>) -> Result<()> {
        self.command("remove", name.as_ref(), "")
    }

    /// The regions below a directory (None: all), with names relative to it.
    pub fn list(&self, directory: Option<&Path>) -> Result<Vec<RegionInfo>> {
        let path = self.directory(directory)?.join(".ctl/regions.json");
        let text = fs::read(&path).map_err(|error| Error::of(&error, &path))?;
        json::parse(&text)
            .as_ref()
            .and_then(|value| value.get("regions"))
            .and_then(Value::list)
            .and_then(|regions| regions.iter().map(info_of).collect())
            .ok_or_else(|| Error::about(libc::EBADMSG, &path))
    }

    /// What is known of one region.
    pub fn stat(&self, name: impl AsRef<OsStr>) -> Result<RegionInfo> {
        let name = name.as_ref();
        let path = self.path_of(name)?;
        let found = fs::symlink_metadata(path).map_err(|error| Error::of(&error, name))?;
        if !found.is_file() {
            let text = format!("{}: not a region", name.to_string_lossy());
            return Err(Error::new(libc::EINVAL, text));
        }
        let directory = Path::new(name).parent().filter(|parent| !parent.as_os_str().is_empty());
        let last = Path::new(name).file_name();
        match self.attribute(name)? {
            Some(info) => Ok(RegionInfo { name: name.to_owned(), ..info }),
            // The mount has xattr=off.
            None => self
                .list(directory)?
                .into_iter()
                .find(|info| Some(info.name.as_os_str()) == last)
                .map(|info| RegionInfo { name: name.to_owned(), ..info })
                .ok_or_else(|| Error::about(libc::ENOENT, name)),
        }
    }

    /// By the extended attribute; None if the mount has none.
    fn attribute(&self, name: &OsStr) -> Result<Option<RegionInfo>> {
        let mut path = self.path.join(name).into_os_string().into_vec();
        let mut text = vec![0; 64 * 1024];
        path.push(0);
        // SAFETY: strings of C, and a buffer as large as it is said to be.
        let length = unsafe {
            libc::lgetxattr(
                path.as_ptr().cast(),
                b"user.iomemfs\0".as_ptr().cast(),
                text.as_mut_ptr().cast(),
                text.len(),
            )
        };
        if let Ok(length) = usize::try_from(length) {
            let info = info_of_json(&text[..length]);
            return info.map(Some).ok_or_else(|| Error::about(libc::EBADMSG, name));
        }
        let error = std::io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::EOPNOTSUPP | libc::ENODATA) => Ok(None),
            _ => Err(Error::of(&error, name)),
        }
    }

    /// What happens to the regions below a directory (None: everywhere), from now on.
    pub fn events(&self, directory: Option<&Path>) -> Result<Events> {
        Events::open(&self.directory(directory)?)
    }

    /// Waits until there is a region of that name.  ETIMEDOUT after that time.
    pub fn wait(&self, name: impl AsRef<OsStr>, timeout: Option<Duration>) -> Result<()> {
        let name = name.as_ref();
        let path = self.path_of(name)?;
        let directory = path.parent().unwrap_or(&self.path);
        let deadline = Deadline::after(timeout);
        let mut events = Events::open(directory).ok();
        let mut pause = PAUSE_FIRST;
        while !is_region(&path, name)? {
            if deadline.has_passed() {
                let text = format!("{}: did not appear in time", name.to_string_lossy());
                return Err(Error::new(libc::ETIMEDOUT, text));
            }
            if let Some(events) = &mut events {
                if events.next_within(Some(deadline.at_most(PAUSE_WITH_EVENTS)))?.is_some() {
                    events.drain()?;
                }
                continue;
            }
            std::thread::sleep(deadline.at_most(pause));
            pause = (2 * pause).min(PAUSE_LONGEST);
            // The directory may have been made meanwhile.
            events = Events::open(directory).ok();
        }
        Ok(())
    }
}

/// Why the last command of an open control file failed.
fn reason(file: &File) -> Option<String> {
    let mut text = [0; 512];
    let length = file.read_at(&mut text, 0).ok().filter(|&length| length > 0)?;
    let text = String::from_utf8_lossy(&text[..length]);
    Some(text.trim_end().to_owned())
}

fn is_region(path: &Path, name: &OsStr) -> Result<bool> {
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => Err(Error::about(libc::EISDIR, name)),
        Ok(_) => Ok(true),
        Err(error) => match error.raw_os_error() {
            Some(libc::ENOENT | libc::ENOTDIR) => Ok(false),
            _ => Err(Error::of(&error, name)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn options_are_words() {
        assert_eq!(Options::new().line(5), "5");
        let options = Options::new().fixed().mode(0o640).owner("process");
        assert_eq!(options.line(4096), "4096 mode=640 fixed owner=process");
    }

    #[test]
    fn names_are_bytes() {
        let name = OsStr::from_bytes(b"\xff");
        let text =
            br#"{"name":"?","name_escaped":"\\377","size":1,"allocated":0,"mode":"0640","uid":0,"gid":0,"inode":2,
            "links":1,"refs":0,"flags":["fixed"],"seals":["shrink","grow"],"created":"x",
            "creator_uid":0,"creator_pid":1,"creator_command":"c"}"#;
        let info = info_of_json(text).unwrap();
        assert_eq!((info.name.as_os_str(), info.mode), (name, 0o640));
        assert_eq!(info.seals, [Seal::Shrink, Seal::Grow]);
        assert_eq!(info_of_json(b"{}"), None);
    }
}
