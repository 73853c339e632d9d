//! Day keys in a folder: one file of 32 random bytes per day, which only its owner may read.
//!
//! Several processes may share the folder. A process writes a key to a partial file, and gives it the name
//! of the key unless another file has that name; so all processes read the first key. Deleting the file
//! deletes the key. A crash may leave the partial file, which holds the same bytes: it is deleted with
//! the key, and at each start.
#![expect(clippy::disallowed_methods, reason = "day keys and names of partial files are random")]

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::Offset;

use crate::client::day_keys::key_window::KeyWindow;
use crate::client::day_keys::{FoundKeys, KeyStore};
use crate::client::visitor_id::{Day, DayKey};
use crate::private_file;

const KEY_SUFFIX: &str = ".key";
const PARTIAL_SUFFIX: &str = ".half";
/// Bytes of the day in a file name.
const DAY_BYTES: usize = "2026-11-26".len();
const DAY_SECONDS: i64 = 86_400;
/// Attempts to create a key if other processes delete its partial file.
const MAKE_TRIES: u32 = 5;

/// A folder of keys.
#[derive(Debug, Clone)]
pub struct KeyFolder(PathBuf);

/// A file of the folder, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum KeyFile {
    /// The key of a day.
    Key(Day),
    /// The partial file of the key of a day.
    Partial(Day),
}

impl KeyFile {
    /// Reads a name; `None` for the file of another program.
    fn parse(name: &str) -> Option<Self> {
        let (day, rest) = name.split_at_checked(DAY_BYTES)?;
        let day = parse_day(day).ok()?;
        if rest == KEY_SUFFIX {
            Some(Self::Key(day))
        } else if rest.starts_with('.') && rest.ends_with(PARTIAL_SUFFIX) {
            Some(Self::Partial(day))
        } else {
            None
        }
    }

    fn day(self) -> Day {
        match self {
            Self::Key(day) | Self::Partial(day) => day,
        }
    }

    fn is_partial(self) -> bool {
        matches!(self, Self::Partial(_))
    }
}

impl KeyFolder {
    /// Opens a folder, creates it if it does not exist, and deletes partial files that a crash left. Logs a
    /// file that it cannot delete: redirects do not depend on that.
    ///
    /// # Errors
    /// The folder cannot be created.
    pub fn open(folder: &Path) -> io::Result<Self> {
        private_file::create_folder(folder, |name| KeyFile::parse(name).is_some())?;
        let opened = Self(folder.to_owned());
        if let Err(error) = opened.delete(KeyFile::is_partial) {
            let folder = folder.display();
            tracing::error!(code = "visitor_key", %folder, %error, "cannot delete partial files");
        }
        Ok(opened)
    }

    fn path(&self, day: Day) -> PathBuf {
        self.0.join(format!("{}{KEY_SUFFIX}", day_name(day)))
    }

    fn files(&self) -> io::Result<Vec<(PathBuf, KeyFile)>> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&self.0)? {
            let entry = entry?;
            if let Some(file) = entry.file_name().to_str().and_then(KeyFile::parse) {
                files.push((entry.path(), file));
            }
        }
        Ok(files)
    }

    /// Deletes the files that `chosen` selects, and syncs the folder. Returns how many were keys, and how
    /// many files there were in all.
    fn delete(&self, chosen: impl Fn(KeyFile) -> bool) -> io::Result<Deleted> {
        let mut deleted = Deleted::default();
        for (path, file) in self.files()? {
            if !chosen(file) || !remove(&path)? {
                continue;
            }
            deleted.files += 1;
            deleted.keys += u64::from(!file.is_partial());
        }
        if deleted.files > 0 {
            File::open(&self.0)?.sync_all()?;
        }
        Ok(deleted)
    }

    /// Creates the key of a day, unless it exists.
    fn make(&self, day: Day) -> io::Result<()> {
        let mut tries = 1;
        loop {
            match self.try_make(day) {
                // Another process has started, and has deleted the partial file as one of a crash.
                Err(error) if error.kind() == ErrorKind::NotFound && tries < MAKE_TRIES => {
                    tries += 1;
                }
                made => return made,
            }
        }
    }

    fn try_make(&self, day: Day) -> io::Result<()> {
        let mut key = DayKey::default();
        getrandom::fill(&mut key).map_err(|error| io::Error::other(error.to_string()))?;
        let unique = uuid::Uuid::new_v4().simple();
        let partial = self.0.join(format!("{}.{unique}{PARTIAL_SUFFIX}", day_name(day)));
        let mut file = private_file::create_new(&partial)?;
        if let Err(error) = file.write_all(&key).and_then(|()| file.sync_all()) {
            remove(&partial)?;
            return Err(error);
        }
        // It gets no name if another process was first.
        if private_file::give_name(&partial, &self.path(day))? {
            File::open(&self.0)?.sync_all()?;
        }
        Ok(())
    }

    fn read(&self, day: Day) -> io::Result<DayKey> {
        let path = self.path(day);
        let wrong = |_| io::Error::other(format!("{} is not a key of 32 bytes", path.display()));
        DayKey::try_from(private_file::read(&path)?.as_slice()).map_err(wrong)
    }

    fn read_or_make(&self, day: Day) -> io::Result<DayKey> {
        match self.read(day) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.make(day)?;
                self.read(day)
            }
            read => read,
        }
    }
}

/// Numbers of deleted files.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Deleted {
    files: u64,
    keys: u64,
}

/// Deletes a file; false if there was none.
fn remove(path: &Path) -> io::Result<bool> {
    match std::fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

impl KeyStore for KeyFolder {
    fn window_keys(&self, window: KeyWindow) -> io::Result<FoundKeys> {
        let mut found = FoundKeys::default();
        let days = self.days()?.into_iter().chain(window.made());
        let days: BTreeSet<_> = days.filter(|day| window.contains(*day)).collect();
        for day in days {
            let is_made = window.made().contains(&day);
            match if is_made { self.read_or_make(day) } else { self.read(day) } {
                Ok(key) => {
                    found.keys.insert(day, key);
                }
                // Another process has deleted it.
                Err(error) if error.kind() == ErrorKind::NotFound && !is_made => {}
                Err(error) => {
                    found.faults.insert(day, error);
                }
            }
        }
        Ok(found)
    }

    /// Each key file shows the day of the clock at which it was created; with that, a clock that is ahead is
    /// noticed ([`KeyWindow::first_kept`]).
    fn forget_before(&self, window: KeyWindow) -> io::Result<u64> {
        let files = self.files()?;
        if files.iter().all(|(_, file)| window.first() <= file.day()) {
            return Ok(0);
        }
        let made = files.iter().filter(|(_, file)| !file.is_partial());
        let made = made.filter_map(|(path, _)| Some(path.metadata().ok()?.mtime()));
        let made = made.map(|second| second.div_euclid(DAY_SECONDS));
        let first = window.first_kept(made.filter(|day| *day < window.today()).max());
        if first < window.first() {
            let first = day_name(first);
            tracing::warn!(
                code = "visitor_key",
                first,
                "no key was made yesterday, so the clock may be ahead: keys from this day on are kept \
                 until tomorrow"
            );
        }
        Ok(self.delete(|file| file.day() < first)?.keys)
    }

    fn forget_day(&self, day: Day) -> io::Result<bool> {
        Ok(self.delete(|file| file.day() == day)?.files > 0)
    }

    fn days(&self) -> io::Result<Vec<Day>> {
        let files = self.files()?.into_iter().map(|(_, file)| file);
        let mut days: Vec<_> = files.filter(|file| !file.is_partial()).map(KeyFile::day).collect();
        days.sort_unstable();
        Ok(days)
    }
}

/// A day as text: `2026-11-26`.
pub fn day_name(day: Day) -> String {
    let start = day.checked_mul(DAY_SECONDS).and_then(|second| Timestamp::from_second(second).ok());
    // The link store may hold days outside of every calendar, for which there are no clicks.
    start.unwrap_or(Timestamp::UNIX_EPOCH).strftime("%Y-%m-%d").to_string()
}

/// The day of a text such as `2026-11-26`.
///
/// # Errors
/// A text for operators.
pub fn parse_day(text: &str) -> Result<Day, String> {
    let date = text.parse::<Date>().ok().filter(|date| date.to_string() == text);
    let start = date.and_then(|date| Offset::UTC.to_timestamp(date.at(0, 0, 0, 0)).ok());
    let start = start.ok_or_else(|| format!("{text:?} is not a day such as 2026-11-26"))?;
    Ok(start.as_second().div_euclid(DAY_SECONDS))
}
