//! Damaged segments: their files stay for the operator under a second name, which the outbox never
//! removes.
//!
//! Where the file system gives no second name (it has no hard links, or is full) the file keeps its
//! own until the outbox needs it no more, and is renamed in place of being removed.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::outbox::segment;
use crate::private_file;

const DAMAGED: &str = ".damaged";

/// Whether a damaged segment has its second name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecondName {
    /// It has one.
    Given,
    /// It gets one when the outbox needs it no more.
    Due,
}

/// Which file a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    /// The file with this metadata.
    pub fn of(metadata: &Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino() }
    }
}

/// A file under a second name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DamagedFile {
    /// Which file it is.
    pub id: FileId,
    /// Its length.
    pub bytes: u64,
}

/// Gives a damaged segment its second name, if that is possible now; none: there is no such file.
pub fn keep(folder: &Path, first: u64) -> Option<SecondName> {
    let path = segment::path(folder, first);
    match link(&path) {
        Ok(None) => Some(SecondName::Given),
        Ok(Some(aside)) => {
            log_kept(first, &aside);
            Some(SecondName::Given)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => {
            let (code, file) = ("outbox_damaged", path.display());
            tracing::error!(
                code, segment = first, %file, %error,
                "a segment is damaged and gets no second name now: it is renamed once its undamaged \
                 clicks are delivered"
            );
            Some(SecondName::Due)
        }
    }
}

/// Takes the own name of a damaged segment away: its file stays under a second one.
///
/// # Errors
/// The disk's; the file keeps its own name.
pub fn set_aside(folder: &Path, first: u64) -> io::Result<()> {
    match keep(folder, first) {
        Some(SecondName::Given) => std::fs::remove_file(segment::path(folder, first)),
        Some(SecondName::Due) => rename(folder, first),
        None => Ok(()),
    }
}

/// Gives a damaged segment a second name in place of its own. The folder belongs to this process: no
/// other one takes the name meanwhile.
///
/// # Errors
/// The disk's; the file keeps its own name.
pub fn rename(folder: &Path, first: u64) -> io::Result<()> {
    let path = segment::path(folder, first);
    for aside in second_names(&path) {
        match aside.symlink_metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                std::fs::rename(&path, &aside)?;
                log_kept(first, &aside);
                return private_file::sync_folder_of(&aside);
            }
            Ok(_) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The files of a folder under second names.
///
/// # Errors
/// The folder cannot be read.
pub fn list(folder: &Path) -> io::Result<Vec<DamagedFile>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let is_damaged = entry.file_name().to_str().is_some_and(|name| {
            name.split_once(DAMAGED).is_some_and(|(segment, _)| segment.ends_with(segment::SUFFIX))
        });
        if is_damaged {
            let metadata = entry.metadata()?;
            files.push(DamagedFile { id: FileId::of(&metadata), bytes: metadata.len() });
        }
    }
    Ok(files)
}

/// Links a second name to a segment; none if it has one already.
fn link(path: &Path) -> io::Result<Option<PathBuf>> {
    let own = FileId::of(&std::fs::metadata(path)?);
    for aside in second_names(path) {
        match private_file::hard_link(path, &aside) {
            Ok(()) => {
                private_file::sync_folder_of(&aside)?;
                return Ok(Some(aside));
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if FileId::of(&std::fs::metadata(&aside)?) == own {
                    return Ok(None);
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// The second names of a segment, in the order in which they are used: the number of its first click
/// may have been used before.
fn second_names(path: &Path) -> impl Iterator<Item = PathBuf> {
    (1_u32..).map(|number| {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(DAMAGED);
        if number > 1 {
            name.push(format!("-{number}"));
        }
        path.with_file_name(name)
    })
}

fn log_kept(first: u64, file: &Path) {
    let (code, file) = ("outbox_damaged", file.display());
    tracing::error!(
        code, segment = first, %file,
        "a segment is damaged: its undamaged clicks are delivered, and its file is kept"
    );
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;
    use crate::private_file::LINK_ERROR;

    #[test]
    fn h12_every_damaged_segment_is_kept_under_a_name_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        for number in 1..4_u64 {
            std::fs::write(segment::path(folder, 7), number.to_le_bytes()).unwrap();
            let aside = link(&segment::path(folder, 7)).unwrap().unwrap();
            assert_eq!(keep(folder, 7), Some(SecondName::Given), "it is kept already");
            std::fs::remove_file(segment::path(folder, 7)).unwrap();
            assert_eq!(std::fs::read(aside).unwrap(), number.to_le_bytes());
            assert_eq!(list(folder).unwrap().len() as u64, number);
            assert_eq!((keep(folder, 7), segment::list(folder).unwrap()), (None, vec![]));
        }
    }

    #[test]
    fn a_file_that_gets_no_second_name_is_renamed_and_replaces_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let causes = [Errno::PERM, Errno::OPNOTSUPP, Errno::NOSPC, Errno::DQUOT, Errno::MLINK];
        for (number, cause) in (0_u8..).zip(causes) {
            std::fs::write(segment::path(folder, 7), [number; 9]).unwrap();
            LINK_ERROR.set(Some(cause));
            assert_eq!(keep(folder, 7), Some(SecondName::Due));
            assert_eq!(segment::list(folder).unwrap(), [7], "it is read under its own name");
            set_aside(folder, 7).unwrap();
            LINK_ERROR.set(None);
            assert!(segment::list(folder).unwrap().is_empty());
            assert_eq!(list(folder).unwrap().len(), usize::from(number) + 1);
        }
        let mut kept: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| std::fs::read(entry.unwrap().path()).unwrap()[0])
            .collect();
        kept.sort_unstable();
        assert_eq!(kept, [0, 1, 2, 3, 4]);
    }
}
