//! Damaged segments: the outbox keeps their files for the operator under a second name, which it never
//! removes.
//!
//! If the file system cannot create a second name (it has no hard links, or is full), the file keeps its
//! own name as long as the outbox needs it. Then the outbox renames it instead of removing it.

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
    /// It has its second name.
    Given,
    /// It gets the second name when the outbox no longer needs the segment.
    Due,
}

/// Identifies a file under any of its names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    /// The id of the file with this metadata.
    pub fn of(metadata: &Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino() }
    }
}

/// A file with a second name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DamagedFile {
    /// The id of the file.
    pub id: FileId,
    /// Its length.
    pub bytes: u64,
}

/// Gives a damaged segment its second name, if that is possible now. `None` if the file does not exist.
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
                "a segment is damaged and cannot get a second name now: it is renamed after its \
                 undamaged clicks are delivered"
            );
            Some(SecondName::Due)
        }
    }
}

/// Removes the own name of a damaged segment: its file stays under a second name.
///
/// # Errors
/// An I/O error; the file keeps its own name.
pub fn set_aside(folder: &Path, first: u64) -> io::Result<()> {
    match keep(folder, first) {
        Some(SecondName::Given) => std::fs::remove_file(segment::path(folder, first)),
        Some(SecondName::Due) => rename(folder, first),
        None => Ok(()),
    }
}

/// Replaces the own name of a damaged segment by a second name. The folder belongs to this process, so no
/// other process takes the name in between.
///
/// # Errors
/// An I/O error; the file keeps its own name.
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

/// The files of a folder that have second names.
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

/// Links a second name to a segment; `None` if it has one already.
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

/// The possible second names of a segment, in the order in which they are tried. An earlier segment may
/// have had the same number.
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
