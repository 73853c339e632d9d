//! A small disk of its own under a part, so that it can be full while nothing else is. It is a
//! file system in memory, mounted where the part keeps its data. It is made full by taking away
//! the room that is left, so that a full one takes no more memory than an empty one; it stays
//! when the part stops, and goes with `stack clean` or with the machine.

use std::ffi::CString;
use std::fs::{File, remove_file};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use rustix::fs::{stat, statvfs};
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_remount, unmount};

use crate::error::{StackError, Trying as _};
use crate::part::Part;
use crate::stack::Stack;

/// Room comes in pages.
const PAGE: u64 = 4096;
/// What a disk holds of which nothing is remembered.
const SIZE: u64 = 1 << 30;
/// How often a disk is made smaller before it is given up: its part may write, or remove files.
const ATTEMPTS: u32 = 100;
const PAUSE: Duration = Duration::from_millis(20);

/// A small disk that a stack is to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SmallDisk {
    /// Under whose data.
    pub part: Part,
    /// How much it holds.
    pub bytes: u64,
}

/// A text that means no small disk.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoSuchDisk {
    /// No part and size.
    #[error("a small disk is PART=BYTES, as clickhouse=512M")]
    Form,
    /// No size.
    #[error("a disk holds BYTES, with K, M or G behind if need be, 1M at least")]
    Bytes,
    /// A part without data.
    #[error("the registry keeps its data in Kafka; give the brokers a small disk")]
    Registry,
}

impl FromStr for SmallDisk {
    type Err = NoSuchDisk;

    fn from_str(text: &str) -> Result<Self, NoSuchDisk> {
        let (part, bytes) = text.split_once('=').ok_or(NoSuchDisk::Form)?;
        let part = part.parse().map_err(|_| NoSuchDisk::Form)?;
        if part == Part::Registry {
            return Err(NoSuchDisk::Registry);
        }
        Ok(Self { part, bytes: bytes_of(bytes)? })
    }
}

/// Reads a number of bytes: `512M` and the like.
///
/// # Errors
/// [`NoSuchDisk::Bytes`].
pub fn bytes_of(text: &str) -> Result<u64, NoSuchDisk> {
    let (digits, shift) = match text.as_bytes().last() {
        Some(b'K') => (&text[..text.len() - 1], 10),
        Some(b'M') => (&text[..text.len() - 1], 20),
        Some(b'G') => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    let number: u64 = digits.parse().map_err(|_| NoSuchDisk::Bytes)?;
    number.checked_mul(1 << shift).filter(|bytes| *bytes >= 1 << 20).ok_or(NoSuchDisk::Bytes)
}

/// What a disk holds, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// What is taken.
    pub used: u64,
    /// What it holds at most.
    pub limit: u64,
}

impl std::fmt::Display for Room {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {} bytes are taken", self.used, self.limit)
    }
}

impl Stack {
    /// Lets the disk under a part hold so many bytes from now on.
    ///
    /// # Errors
    /// [`StackError::NoSmallDisk`], [`StackError::MountDenied`]; [`StackError::Io`] for fewer
    /// than are taken.
    pub fn limit_disk(&self, part: Part, bytes: u64) -> Result<(), StackError> {
        let folder = self.small_disk(part)?;
        self.remember_limit(part, bytes)?;
        resize(part, &folder, bytes)?;
        self.say(&format!("{part}: its disk: {}", room(&folder)?));
        Ok(())
    }

    /// Makes the disk under a part full, and sees that nothing can be written.
    ///
    /// # Errors
    /// [`StackError::NoSmallDisk`], [`StackError::MountDenied`], [`StackError::RoomLeft`].
    pub fn fill_disk(&self, part: Part) -> Result<(), StackError> {
        let folder = self.small_disk(part)?;
        for _ in 0..ATTEMPTS {
            let full = room(&folder)?.used.max(PAGE);
            match resize(part, &folder, full) {
                Ok(()) if !can_write(&folder)? => {
                    self.say(&format!("{part}: its disk is full; writing fails"));
                    return Ok(());
                }
                Err(error @ StackError::MountDenied(_)) => return Err(error),
                // It has written or removed something meanwhile.
                Ok(()) | Err(_) => std::thread::sleep(PAUSE),
            }
        }
        Err(StackError::RoomLeft(part))
    }

    /// Gives the disk under a part its room back, and sees that something can be written.
    ///
    /// # Errors
    /// As [`Stack::fill_disk`]; [`StackError::NoRoom`].
    pub fn free_disk(&self, part: Part) -> Result<(), StackError> {
        let folder = self.small_disk(part)?;
        let file = self.limit_file(part);
        let limit = std::fs::read_to_string(&file).ok().and_then(|text| text.trim().parse().ok());
        resize(part, &folder, limit.unwrap_or(SIZE))?;
        if !can_write(&folder)? {
            return Err(StackError::NoRoom(part));
        }
        self.say(&format!("{part}: its disk has room: {}", room(&folder)?));
        Ok(())
    }

    /// What the disk under a part holds; none where it has no small disk.
    pub fn disk_room(&self, part: Part) -> Option<Room> {
        self.small_disk(part).and_then(|folder| room(&folder)).ok()
    }

    /// Takes away the small disks and all that is on them. Their parts must be down.
    ///
    /// # Errors
    /// [`StackError::InUse`], [`StackError::MountDenied`].
    pub fn drop_disks(&self) -> Result<(), StackError> {
        Part::ALL.into_iter().try_for_each(|part| self.drop_disk(part))
    }

    /// Takes away a part's small disk, if it has one.
    pub(crate) fn drop_disk(&self, part: Part) -> Result<(), StackError> {
        let Ok(folder) = self.small_disk(part) else { return Ok(()) };
        if self.running().contains(&part) {
            return Err(StackError::InUse(part));
        }
        unmount(&folder, UnmountFlags::empty())
            .map_err(|error| denied(part, error, "unmounting", &folder))
    }

    /// Mounts a disk if it is not there yet, and says whether it did. One that was there gets
    /// its new limit.
    pub(crate) fn make_disk(&self, disk: SmallDisk) -> Result<bool, StackError> {
        let SmallDisk { part, bytes } = disk;
        if self.small_disk(part).is_ok() {
            return self.limit_disk(part, bytes).map(|()| false);
        }
        if self.running().contains(&part) {
            return Err(StackError::InUse(part));
        }
        let folder = self.data(part);
        let what = || format!("making the folder {}", folder.display());
        std::fs::create_dir_all(&folder).trying(what)?;
        if std::fs::read_dir(&folder).trying(what)?.next().is_some() {
            return Err(StackError::DataInTheWay(part));
        }
        let size = CString::new(format!("size={bytes},mode=700")).unwrap_or_default();
        mount("tmpfs", &folder, "tmpfs", MountFlags::empty(), size.as_c_str())
            .map_err(|error| denied(part, error, "mounting", &folder))?;
        self.remember_limit(part, bytes)?;
        self.say(&format!("{part}: stands on a disk of {bytes} bytes, in memory"));
        Ok(true)
    }

    fn data(&self, part: Part) -> PathBuf {
        self.folder().join(part.name()).join("data")
    }

    fn limit_file(&self, part: Part) -> PathBuf {
        self.folder().join(part.name()).join("disk")
    }

    fn remember_limit(&self, part: Part, bytes: u64) -> Result<(), StackError> {
        let file = self.limit_file(part);
        std::fs::write(&file, bytes.to_string()).trying(|| format!("writing {}", file.display()))
    }

    /// Where the part's small disk is mounted: a folder on another device than the one around it.
    fn small_disk(&self, part: Part) -> Result<PathBuf, StackError> {
        let folder = self.data(part);
        let device = |path: &Path| stat(path).ok().map(|stat| stat.st_dev);
        let around = folder.parent().and_then(device);
        match device(&folder) {
            Some(own) if Some(own) != around => Ok(folder),
            _ => Err(StackError::NoSmallDisk(part)),
        }
    }
}

fn resize(part: Part, folder: &Path, bytes: u64) -> Result<(), StackError> {
    let size = format!("size={bytes}");
    mount_remount(folder, MountFlags::empty(), size.as_str())
        .map_err(|error| denied(part, error, &format!("letting it hold {bytes} bytes"), folder))
}

fn denied(part: Part, error: rustix::io::Errno, what: &str, folder: &Path) -> StackError {
    if matches!(error, rustix::io::Errno::PERM | rustix::io::Errno::ACCESS) {
        return StackError::MountDenied(part);
    }
    let what = format!("the disk under {part}: {what} ({})", folder.display());
    StackError::Io { what, source: error.into() }
}

fn room(folder: &Path) -> Result<Room, StackError> {
    let stat = statvfs(folder)
        .map_err(std::io::Error::from)
        .trying(|| format!("looking at {}", folder.display()))?;
    let limit = stat.f_blocks * stat.f_frsize;
    Ok(Room { used: limit - (stat.f_bfree * stat.f_frsize).min(limit), limit })
}

/// Whether a byte of a new file finds room.
fn can_write(folder: &Path) -> Result<bool, StackError> {
    let proof = folder.join("proof");
    let written = File::create(&proof).and_then(|mut file| file.write_all(b"x"));
    remove_file(&proof).ok();
    match written {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::StorageFull => Ok(false),
        Err(error) => Err(error).trying(|| format!("writing {}", proof.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_disk_is_a_part_and_a_size() {
        let disk = SmallDisk { part: Part::ClickHouse, bytes: 512 << 20 };
        assert_eq!("clickhouse=512M".parse(), Ok(disk));
        assert_eq!(bytes_of("3G"), Ok(3 << 30));
        assert_eq!(bytes_of("2097152"), Ok(2 << 20));
        for text in ["", "1", "1023K", "M", "-1M", "1T", "99999999999999999999G"] {
            assert_eq!(bytes_of(text), Err(NoSuchDisk::Bytes), "{text:?}");
        }
        assert_eq!("clickhouse".parse::<SmallDisk>(), Err(NoSuchDisk::Form));
        assert_eq!("registry=1G".parse::<SmallDisk>(), Err(NoSuchDisk::Registry));
    }
}
