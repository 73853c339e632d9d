//! Keys in a folder: a file of 32 random bytes a day, which only its owner may read.
//!
//! Processes may share it: a key is written to a partial file, which gets the key's name unless
//! another has it, so all of them read the first one. Deleting a file deletes the key. A crash may leave the partial file, which
//! holds the same bytes: it is deleted with the key, and at each start.

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
/// Bytes of a day in a file name.
const DAY_BYTES: usize = "2026-11-26".len();
const DAY_SECONDS: i64 = 86_400;
/// How often a key is made again whose partial file another process has deleted meanwhile.
const MAKE_TRIES: u32 = 5;

/// A folder of keys.
#[derive(Debug, Clone)]
pub struct KeyFolder(PathBuf);

/// A file of the folder, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum KeyFile {
    /// The key of a day.
    Key(Day),
    /// What making it wrote first.
    Partial(Day),
}

impl KeyFile {
    /// None of a file that is not ours.
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
    /// Opens a folder, made where it is not there, and deletes the partial files that a crash left.
    /// What cannot be deleted is logged: redirects do not depend on it.
    ///
    /// # Errors
    /// The folder cannot be made.
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

    /// Deletes the files that `chosen` names, for good; returns how many were keys, and how many
    /// files in all.
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

    /// Makes the key of a day, unless there is one.
    fn make(&self, day: Day) -> io::Result<()> {
        let mut tries = 1;
        loop {
            match self.try_make(day) {
                // Another process has started and has taken the partial file for one of a crash.
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
        // Or another process was first.
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

/// Files that were deleted.
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

    /// Each key that is made shows what day the clock then said: by that a clock is noticed that is
    /// ahead ([`KeyWindow::first_kept`]).
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

    fn names(folder: &KeyFolder) -> Vec<String> {
        let files = std::fs::read_dir(&folder.0).unwrap();
        let mut names: Vec<_> =
            files.map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// The key of a day that is today.
    fn made(folder: &KeyFolder, day: Day) -> DayKey {
        folder.window_keys(KeyWindow::new(day, 400)).unwrap().keys[&day]
    }

    #[test]
    fn a_key_stays_the_same_until_it_is_forgotten_and_is_never_the_same_again() {
        let root = tempfile::tempdir().unwrap();
        let folder = KeyFolder::open(&root.path().join("keys")).unwrap();
        let key = made(&folder, 20_000);
        assert_eq!(made(&folder, 20_000), key);
        assert_ne!(made(&folder, 20_001), key);
        assert_eq!(folder.days().unwrap(), [20_000, 20_001, 20_002]);
        assert!(folder.forget_day(20_000).unwrap());
        assert!(!folder.forget_day(20_000).unwrap());
        assert_eq!(folder.days().unwrap(), [20_001, 20_002]);
        assert_ne!(made(&folder, 20_000), key);
    }

    #[test]
    fn m15_a_key_is_deleted_after_its_days_and_made_on_no_later_day() {
        let root = tempfile::tempdir().unwrap();
        let folder = KeyFolder::open(root.path()).unwrap();
        let first = made(&folder, 100);
        let found = folder.window_keys(KeyWindow::new(101, 2)).unwrap();
        assert_eq!(found.keys.get(&100), Some(&first));
        assert_eq!(folder.forget_before(KeyWindow::new(101, 2)).unwrap(), 0);
        folder.forget_day(101).unwrap();
        let found = folder.window_keys(KeyWindow::new(102, 2)).unwrap();
        assert_eq!(found.keys.keys().copied().collect::<Vec<_>>(), [102, 103], "101 is not made");
        assert_eq!(folder.days().unwrap(), [100, 102, 103], "a read deletes none");
        assert_eq!(folder.forget_before(KeyWindow::new(102, 2)).unwrap(), 1);
        assert_eq!(folder.days().unwrap(), [102, 103]);
        // Files of others stay.
        for name in ["1970-01-01.txt", "1970-13-01.key", "x.half", "1970-01-01key"] {
            std::fs::write(root.path().join(name), b"x").unwrap();
        }
        folder.window_keys(KeyWindow::new(20_000, 1)).unwrap();
        folder.forget_before(KeyWindow::new(20_000, 1)).unwrap();
        assert_eq!(names(&folder).len(), 6, "{:?}", names(&folder));
    }

    #[test]
    fn m15_no_crash_leaves_bytes_of_a_key_that_forgetting_or_a_start_does_not_delete() {
        let root = tempfile::tempdir().unwrap();
        let folder = KeyFolder::open(root.path()).unwrap();
        // A crash between link and unlink, and one before the link, on two days.
        let halves = |day: &str| {
            for number in 0..3 {
                std::fs::write(root.path().join(format!("{day}.{number}.half")), b"k").unwrap();
            }
        };
        made(&folder, 20_783);
        halves("2026-11-26");
        halves("2026-11-27");
        assert_eq!(folder.days().unwrap(), [20_783, 20_784], "a partial file is no key");
        assert!(folder.forget_day(20_783).unwrap());
        assert!(names(&folder).iter().all(|name| !name.starts_with("2026-11-26")));
        assert_eq!(names(&folder).len(), 4);
        KeyFolder::open(root.path()).unwrap();
        assert_eq!(names(&folder), ["2026-11-27.key"]);
        // Also without a key, and by age.
        halves("2026-11-28");
        assert!(folder.forget_day(20_785).unwrap() && !folder.forget_day(20_785).unwrap());
        halves("2026-11-20");
        folder.window_keys(KeyWindow::new(20_784, 2)).unwrap();
        folder.forget_before(KeyWindow::new(20_784, 2)).unwrap();
        assert_eq!(names(&folder), ["2026-11-27.key", "2026-11-28.key"]);
    }

    #[test]
    fn m15_a_start_of_another_process_keeps_no_key_from_being_made() {
        let root = tempfile::tempdir().unwrap();
        let folder = KeyFolder::open(root.path()).unwrap();
        std::thread::scope(|scope| {
            let starts = scope.spawn(|| {
                let mut deleted = 0;
                while deleted < u64::from(MAKE_TRIES) - 1 {
                    deleted += folder.delete(KeyFile::is_partial).unwrap().files;
                }
            });
            let mut today = 0;
            while !starts.is_finished() {
                let found = folder.window_keys(KeyWindow::new(today, 1)).unwrap();
                assert_eq!((found.keys.len(), found.faults.len()), (2, 0), "{found:?}");
                today += 1;
            }
        });
    }

    #[test]
    fn only_the_owner_may_read_a_key_and_nothing_else_is_left() {
        let root = tempfile::tempdir().unwrap();
        let folder = KeyFolder::open(&root.path().join("keys")).unwrap();
        made(&folder, 20_783);
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&folder.0), 0o700);
        assert_eq!(names(&folder), ["2026-11-26.key", "2026-11-27.key"]);
        assert_eq!(mode(&folder.path(20_783)), 0o600);
    }

    #[test]
    fn l10_a_link_in_place_of_a_key_is_refused_and_its_target_stays() {
        let root = tempfile::tempdir().unwrap();
        let folder = KeyFolder::open(&root.path().join("keys")).unwrap();
        let victim = root.path().join("victim");
        for content in [None, Some([7; 32])] {
            content.iter().for_each(|content| std::fs::write(&victim, content).unwrap());
            std::os::unix::fs::symlink(&victim, folder.path(5)).unwrap();
            let error = folder.read_or_make(5).unwrap_err().to_string();
            assert!(error.contains("is a symbolic link"), "{error}");
            assert_eq!(std::fs::read(&victim).ok(), content.map(Vec::from));
            std::fs::remove_file(folder.path(5)).unwrap();
        }
    }

    #[test]
    fn m11_keys_of_an_earlier_start_become_private() {
        let root = tempfile::tempdir().unwrap();
        let folder = KeyFolder::open(root.path()).unwrap();
        folder.read_or_make(5).unwrap();
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
            let all: Vec<_> = (0..8).map(|_| scope.spawn(|| made(&folder, 5))).collect();
            all.into_iter().map(|it| it.join().unwrap()).collect()
        });
        assert!(keys.iter().all(|key| *key == keys[0]));
    }

    #[test]
    fn m15_a_key_that_cannot_be_deleted_is_a_fault_and_others_are_read() {
        let root = tempfile::tempdir().unwrap();
        let folder = KeyFolder::open(root.path()).unwrap();
        // A folder of that name is no file.
        std::fs::create_dir(folder.path(5)).unwrap();
        std::fs::create_dir(root.path().join("1970-01-06.x.half")).unwrap();
        let reopened = KeyFolder::open(root.path()).unwrap();
        let found = reopened.window_keys(KeyWindow::new(9, 1)).unwrap();
        assert_eq!(found.keys.keys().copied().collect::<Vec<_>>(), [9, 10]);
        assert!(found.faults.is_empty());
        assert!(reopened.forget_before(KeyWindow::new(9, 1)).is_err());
        assert!(reopened.forget_day(5).is_err(), "it does not say that the key is gone");
    }

    #[test]
    fn a_file_of_another_length_is_no_key_and_others_are_read() {
        let root = tempfile::tempdir().unwrap();
        let folder = KeyFolder::open(root.path()).unwrap();
        std::fs::write(folder.path(5), b"short").unwrap();
        let found = folder.window_keys(KeyWindow::new(5, 1)).unwrap();
        assert!(found.faults[&5].to_string().contains("1970-01-06.key"));
        assert_eq!(found.keys.keys().copied().collect::<Vec<_>>(), [6]);
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

    /// Says that the key of a day was made on another day.
    fn set_made(folder: &KeyFolder, day: Day, made: Day) {
        let file = File::options().write(true).open(folder.path(day)).unwrap();
        let second = u64::try_from(made * DAY_SECONDS).unwrap();
        file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(second)).unwrap();
    }

    #[test]
    fn a_clock_a_month_or_years_ahead_deletes_no_key_that_a_host_uses() {
        for ahead in [2, 3, 30, 400, 4_000] {
            let root = tempfile::tempdir().unwrap();
            let folder = KeyFolder::open(root.path()).unwrap();
            for today in [1_000, 1_001] {
                folder.window_keys(KeyWindow::new(today, 2)).unwrap();
            }
            [(1_000, 1_000), (1_001, 1_000), (1_002, 1_001)]
                .into_iter()
                .for_each(|(day, made)| set_made(&folder, day, made));
            // Each refresh of a day with the wrong clock, and a start.
            let wrong = KeyWindow::new(1_001 + ahead, 2);
            for _ in 0..3 {
                folder.window_keys(wrong).unwrap();
                assert_eq!(folder.forget_before(wrong).unwrap(), 0, "{ahead} days ahead");
            }
            let kept = folder.window_keys(KeyWindow::new(1_001, 2)).unwrap();
            assert_eq!(kept.keys.keys().copied().collect::<Vec<_>>(), [1_000, 1_001, 1_002]);
            // A host that did not run for so long deletes them on its second day.
            wrong.made().into_iter().for_each(|day| set_made(&folder, day, 1_001 + ahead));
            let next = KeyWindow::new(1_002 + ahead, 2);
            folder.window_keys(next).unwrap();
            assert!(folder.forget_before(next).unwrap() >= 2);
            assert!(folder.days().unwrap().into_iter().all(|day| next.contains(day)));
        }
    }

    #[test]
    fn a_host_that_runs_one_day_a_week_deletes_the_keys_of_the_week_before_the_last() {
        let root = tempfile::tempdir().unwrap();
        let folder = KeyFolder::open(root.path()).unwrap();
        for week in 0..6 {
            let today = 1_000 + 7 * week;
            let window = KeyWindow::new(today, 2);
            folder.window_keys(window).unwrap();
            folder.forget_before(window).unwrap();
            window.made().into_iter().for_each(|day| set_made(&folder, day, today));
            assert!(folder.days().unwrap().into_iter().all(|day| day >= today - 7));
        }
    }

    #[test]
    fn keys_are_made_where_the_file_system_has_no_hard_links() {
        let root = tempfile::tempdir().unwrap();
        let folder = KeyFolder::open(root.path()).unwrap();
        private_file::LINK_ERROR.set(Some(rustix::io::Errno::OPNOTSUPP));
        let key = made(&folder, 20_783);
        assert_eq!((made(&folder, 20_783), folder.make(20_783).is_ok()), (key, true));
        private_file::LINK_ERROR.set(None);
        assert_eq!(names(&folder), ["2026-11-26.key", "2026-11-27.key"]);
        assert_eq!(made(&folder, 20_783), key);
    }
}
