//! Keeps a second demo, or a second bench, out of a clone: it would take the parts of the first one for those that a
//! crash left, and stop them.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

/// A locked file that holds the id of the process; the system releases it with the process, also after a crash.
#[derive(Debug)]
pub struct CloneLock {
    _file: File,
}

impl CloneLock {
    /// Locks the clone with this top folder for `program`, by a file in `.stack`.
    ///
    /// # Errors
    /// Another one runs in this clone; its process is named. Or the file cannot be written.
    pub fn take(clone: &Path, program: &str) -> Result<Self> {
        let folder = clone.join(".stack");
        let path = folder.join(format!("{program}.lock"));
        let what = || format!("locking {}", path.display());
        std::fs::create_dir_all(&folder).with_context(what)?;
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
        let mut file = file.with_context(what)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let id = std::fs::read_to_string(&path).unwrap_or_default();
                let id = if id.is_empty() { String::new() } else { format!(" (process {id})") };
                bail!(
                    "another {program} runs in this clone{id}: stop it by Ctrl-C, or start this one in another clone"
                );
            }
            Err(TryLockError::Error(error)) => return Err(error).with_context(what),
        }
        file.set_len(0).with_context(what)?;
        write!(file, "{}", std::process::id()).with_context(what)?;
        Ok(Self { _file: file })
    }
}
