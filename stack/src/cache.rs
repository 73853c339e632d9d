//! The cache of downloads: a folder that all clones share. An entry is complete or absent; two
//! commands that fetch at once wait for each other.
#![expect(clippy::disallowed_methods, reason = "waiting for a lock reads a clock")]

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::error::{IoContext as _, StackError};
use crate::interrupt::Interrupt;

/// The longest download on a slow line.
const LOCK_WAIT: Duration = Duration::from_secs(30 * 60);

/// The shared folder of downloads.
#[derive(Debug, Clone)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// A cache at `root`, which is created at its first use.
    pub fn at(root: PathBuf) -> Self {
        Self { root }
    }

    /// The cache of this user, which all clones share: `CLICKTRAIL_CACHE`, else `clicktrail` in
    /// the XDG cache folder.
    ///
    /// # Errors
    /// [`StackError::Io`] if the environment names no home.
    pub fn shared() -> Result<Self, StackError> {
        let variable =
            |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let cache_home =
            || variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")));
        let missing = || {
            StackError::Io {
            what: "finding the cache folder: neither XDG_CACHE_HOME nor HOME is set; set CLICKTRAIL_CACHE".to_owned(),
            source: std::io::ErrorKind::NotFound.into(),
        }
        };
        let root = variable("CLICKTRAIL_CACHE").or_else(|| Some(cache_home()?.join("clicktrail")));
        root.map(Self::at).ok_or_else(missing)
    }

    /// Where it is.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Removes the entries of these names, partial ones included, and their locks.
    pub(crate) fn remove(&self, names: &[&str], interrupt: &Interrupt) -> Result<(), StackError> {
        let what = || format!("emptying the cache {}", self.root.display());
        for name in names.iter().filter(|name| self.entry(&format!("{name}.lock")).exists()) {
            let locked = self.entry(&format!("{name}.lock"));
            let _lock = lock(&locked, LOCK_WAIT, interrupt)?;
            for folder in [self.entry(name), self.entry(&format!("{name}.partial"))] {
                remove(&folder).io_context(what)?;
            }
            std::fs::remove_file(&locked).io_context(what)?;
        }
        Ok(())
    }

    /// Path of an entry, complete if it exists.
    pub(crate) fn entry(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Creates the entry with `fill`, which gets an empty folder, unless it exists. The folder
    /// becomes the entry in one step when `fill` succeeds.
    pub(crate) fn ensure(
        &self,
        name: &str,
        interrupt: &Interrupt,
        fill: impl FnOnce(&Path) -> Result<(), StackError>,
    ) -> Result<PathBuf, StackError> {
        let entry = self.entry(name);
        if entry.is_dir() {
            return Ok(entry);
        }
        let what = || format!("using the cache {}", self.root.display());
        std::fs::create_dir_all(&self.root).io_context(what)?;
        let _lock = lock(&self.root.join(format!("{name}.lock")), LOCK_WAIT, interrupt)?;
        if entry.is_dir() {
            return Ok(entry);
        }
        // Only the holder of the lock uses this name, so what exists is of a killed process.
        let partial = self.root.join(format!("{name}.partial"));
        std::fs::remove_dir_all(&partial).ok();
        std::fs::create_dir_all(&partial).io_context(what)?;
        let filled =
            fill(&partial).and_then(|()| std::fs::rename(&partial, &entry).io_context(what));
        if filled.is_err() {
            std::fs::remove_dir_all(&partial).ok();
        }
        filled.map(|()| entry)
    }
}

/// Bytes of a file, or of all files in a folder.
pub(crate) fn size(path: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(path) else {
        // A file that is gone has no bytes.
        return path.metadata().map(|data| data.len()).unwrap_or(0);
    };
    entries.flatten().map(|entry| size(&entry.path())).sum()
}

/// Removes a folder or a file, if it exists.
pub(crate) fn remove(path: &Path) -> std::io::Result<()> {
    let removed =
        if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Takes a lock file, waiting while another process has it; dropping it releases the lock.
pub(crate) fn lock(
    path: &Path,
    limit: Duration,
    interrupt: &Interrupt,
) -> Result<File, StackError> {
    let what = || format!("locking {}", path.display());
    let file = OpenOptions::new().create(true).append(true).open(path).io_context(what)?;
    let end = Instant::now() + limit;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(error)) => return Err(error).io_context(what),
            Err(TryLockError::WouldBlock) => {}
        }
        interrupt.check()?;
        if Instant::now() >= end {
            return Err(StackError::Locked { path: path.to_owned(), waited: limit });
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(name: &str) -> Cache {
        let root =
            std::env::temp_dir().join(format!("clicktrail-cache-{}-{name}", std::process::id()));
        std::fs::remove_dir_all(&root).ok();
        Cache::at(root)
    }

    #[test]
    fn a_failed_fill_leaves_nothing() {
        let cache = cache("failed");
        let fill = |folder: &Path| {
            std::fs::write(folder.join("half"), "x").unwrap();
            Err(StackError::Interrupted)
        };
        assert!(cache.ensure("entry", &Interrupt::default(), fill).is_err());
        assert!(!cache.entry("entry").exists() && !cache.entry("entry.partial").exists());
        std::fs::remove_dir_all(cache.root).unwrap();
    }

    #[test]
    fn parallel_commands_fill_an_entry_once() {
        let cache = cache("twice");
        let fills = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let fill = |folder: &Path| {
                        fills.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        std::thread::sleep(Duration::from_millis(50));
                        std::fs::write(folder.join("file"), "x").unwrap();
                        Ok(())
                    };
                    let entry = cache.ensure("entry", &Interrupt::default(), fill).unwrap();
                    assert!(entry.join("file").exists());
                });
            }
        });
        assert_eq!(fills.into_inner(), 1);
        std::fs::remove_dir_all(cache.root).unwrap();
    }

    #[test]
    fn an_interrupt_ends_the_wait_for_a_lock() {
        let cache = cache("lock");
        std::fs::create_dir_all(&cache.root).unwrap();
        let path = cache.entry("lock");
        let _held = lock(&path, Duration::ZERO, &Interrupt::default()).unwrap();
        let interrupt = Interrupt::default();
        interrupt.raise();
        assert!(matches!(lock(&path, LOCK_WAIT, &interrupt), Err(StackError::Interrupted)));
        assert!(matches!(
            lock(&path, Duration::ZERO, &Interrupt::default()),
            Err(StackError::Locked { .. })
        ));
        std::fs::remove_dir_all(cache.root).unwrap();
    }
}
