//! Keys in a folder: a file of 32 random bytes a day, which only its owner may read.
//!
//! Processes may share it: a key is written to a temporary file and linked to its name, so all of
//! them read the first one. Deleting a file deletes the key.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::Offset;

use crate::client::day_keys::KeyStore;
use crate::client::visitor_id::{Day, DayKey};
use crate::private_file;

const SUFFIX: &str = ".key";
const DAY_SECONDS: i64 = 86_400;

/// A folder of keys.
#[derive(Debug, Clone)]
pub struct KeyFolder(PathBuf);

impl KeyFolder {
    /// Opens a folder, and makes it where it is not there.
    ///
    /// # Errors
    /// The disk's.
    pub fn open(folder: &Path) -> io::Result<Self> {
        private_file::create_folder(folder, |name| name.ends_with(SUFFIX))?;
        Ok(Self(folder.to_owned()))
    }

    fn path(&self, day: Day) -> PathBuf {
        self.0.join(format!("{}{SUFFIX}", day_name(day)))
    }

    fn make(&self, day: Day) -> io::Result<()> {
        let mut key = DayKey::default();
        getrandom::fill(&mut key).map_err(|error| io::Error::other(error.to_string()))?;
        let temporary =
            self.0.join(format!("{}.{}.half", day_name(day), uuid::Uuid::new_v4().simple()));
        let mut file = private_file::create_new(&temporary)?;
        let made = file.write_all(&key).and_then(|()| file.sync_all());
        let linked = made.and_then(|()| std::fs::hard_link(&temporary, self.path(day)));
        std::fs::remove_file(&temporary)?;
        match linked {
            // Another process was first.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            linked => linked.and_then(|()| File::open(&self.0)?.sync_all()),
        }
    }
}

impl KeyStore for KeyFolder {
    fn day_key(&self, day: Day) -> io::Result<DayKey> {
        let path = self.path(day);
        let bytes = match private_file::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.make(day)?;
                private_file::read(&path)?
            }
            read => read?,
        };
        let wrong = |_| io::Error::other(format!("{} is not a key of 32 bytes", path.display()));
        DayKey::try_from(bytes.as_slice()).map_err(wrong)
    }

    fn forget_day(&self, day: Day) -> io::Result<bool> {
        match std::fs::remove_file(self.path(day)) {
            Ok(()) => File::open(&self.0)?.sync_all().map(|()| true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn days(&self) -> io::Result<Vec<Day>> {
        let mut days = Vec::new();
        for entry in std::fs::read_dir(&self.0)? {
            let file = entry?.file_name();
            let stem = file.to_str().and_then(|file| file.strip_suffix(SUFFIX));
            days.extend(stem.and_then(|stem| parse_day(stem).ok()));
        }
        days.sort_unstable();
        Ok(days)
    }
}

/// A day as text: `2026-11-26`.
pub fn day_name(day: Day) -> String {
    let start = day.checked_mul(DAY_SECONDS).and_then(|second| Timestamp::from_second(second).ok());
    // The link store may hold days that no calendar has; no click is of one.
    start.unwrap_or(Timestamp::UNIX_EPOCH).strftime("%Y-%m-%d").to_string()
}

/// The day that such a text names.
///
/// # Errors
/// What to write instead.
pub fn parse_day(text: &str) -> Result<Day, String> {
    let date = text.parse::<Date>().ok().filter(|date| date.to_string() == text);
    let start = date.and_then(|date| Offset::UTC.to_timestamp(date.at(0, 0, 0, 0)).ok());
    let start = start.ok_or_else(|| format!("{text:?} is not a day such as 2026-11-26"))?;
    Ok(start.as_second().div_euclid(DAY_SECONDS))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_key_stays_the_same_until_it_is_forgotten_and_is_never_the_same_again() {
        let root = tempfile::tempdir().unwrap();
        let folder = KeyFolder::open(&root.path().join("keys")).unwrap();
        let key = folder.day_key(20_000).unwrap();
        assert_eq!(folder.day_key(20_000).unwrap(), key);
        assert_ne!(folder.day_key(20_001).unwrap(), key);
        assert_eq!(folder.days().unwrap(), [20_000, 20_001]);
        assert!(folder.forget_day(20_000).unwrap());
        assert!(!folder.forget_day(20_000).unwrap());
        assert_eq!(folder.days().unwrap(), [20_001]);
        assert_ne!(folder.day_key(20_000).unwrap(), key);
    }

    #[test]
    fn only_the_owner_may_read_a_key_and_nothing_else_is_left() {
        let root = tempfile::tempdir().unwrap();
        let folder = KeyFolder::open(&root.path().join("keys")).unwrap();
        folder.day_key(20_783).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&folder.0), 0o700);
        let files: Vec<_> = std::fs::read_dir(&folder.0).unwrap().map(|it| it.unwrap()).collect();
        assert_eq!(files.len(), 1);
        assert_eq!(
            (files[0].file_name().to_str(), mode(&files[0].path())),
            (Some("2026-11-26.key"), 0o600)
        );
    }

    #[test]
    fn l10_a_link_in_place_of_a_key_is_refused_and_its_target_stays() {
        let root = tempfile::tempdir().unwrap();
        let folder = KeyFolder::open(&root.path().join("keys")).unwrap();
        let victim = root.path().join("victim");
        for content in [None, Some([7; 32])] {
            content.iter().for_each(|content| std::fs::write(&victim, content).unwrap());
            std::os::unix::fs::symlink(&victim, folder.path(5)).unwrap();
            let error = folder.day_key(5).unwrap_err().to_string();
            assert!(error.contains("is a symbolic link"), "{error}");
            assert_eq!(std::fs::read(&victim).ok(), content.map(Vec::from));
            std::fs::remove_file(folder.path(5)).unwrap();
        }
    }

    #[test]
    fn m11_keys_of_an_earlier_start_become_private() {
        let root = tempfile::tempdir().unwrap();
        let folder = KeyFolder::open(root.path()).unwrap();
        folder.day_key(5).unwrap();
        let open = std::fs::Permissions::from_mode(0o644);
        std::fs::set_permissions(folder.path(5), open).unwrap();
        KeyFolder::open(root.path()).unwrap();
        let mode = std::fs::metadata(folder.path(5)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn the_first_thread_makes_the_key_for_all() {
        let root = tempfile::tempdir().unwrap();
        let folder = KeyFolder::open(root.path()).unwrap();
        let keys: Vec<_> = std::thread::scope(|scope| {
            let all: Vec<_> = (0..8).map(|_| scope.spawn(|| folder.day_key(5).unwrap())).collect();
            all.into_iter().map(|it| it.join().unwrap()).collect()
        });
        assert!(keys.iter().all(|key| *key == keys[0]));
    }

    #[test]
    fn a_file_of_another_length_is_no_key() {
        let root = tempfile::tempdir().unwrap();
        let folder = KeyFolder::open(root.path()).unwrap();
        std::fs::write(folder.path(5), b"short").unwrap();
        assert!(folder.day_key(5).unwrap_err().to_string().contains("1970-01-06.key"));
    }

    #[test]
    fn days_are_written_as_iso_dates() {
        for (day, text) in [(0, "1970-01-01"), (20_783, "2026-11-26"), (-1, "1969-12-31")] {
            assert_eq!((day_name(day).as_str(), parse_day(text)), (text, Ok(day)));
        }
        for text in ["", "2026-11-31", "26.11.2026", "2026-11-26T01:00", "20261126"] {
            assert!(parse_day(text).is_err(), "{text}");
        }
    }
}
