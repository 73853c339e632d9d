//! A small disk of its own under a part's data, so that it can be full while nothing else is: a
//! file system in memory, mounted where the part has its data. Filling it lowers its limit to what
//! is used, so that a full disk takes no more memory than an empty one. It stays when the part
//! stops, and goes with `stack clean` or a restart of the machine.

use std::ffi::CString;
use std::fs::{File, remove_file};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use rustix::fs::{stat, statvfs};
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_remount, unmount};

use crate::error::{IoContext as _, StackError};
use crate::part::Part;

/// The file system allocates in pages.
const PAGE: u64 = 4096;
/// The limit of a disk whose own is not recorded.
const LIMIT_DEFAULT: u64 = 1 << 30;
/// How often a disk's limit is lowered before that fails: its part may write, or remove files.
const ATTEMPTS: u32 = 100;
const PAUSE: Duration = Duration::from_millis(20);

/// The small disk that a part is to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SmallDisk {
    /// The part.
    pub part: Part,
    /// The bytes that it can hold.
    pub bytes: u64,
}

/// A text that names no small disk.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSmallDisk {
    /// Not a part and a size.
    #[error("a small disk is PART=BYTES, such as clickhouse=512M")]
    Format,
    /// Not a size.
    #[error("the size of a disk is BYTES, or a number with K, M or G, and at least 1M")]
    Bytes,
    /// A part without data.
    #[error("the registry keeps its data in Kafka; give the brokers a small disk")]
    Registry,
    /// A part whose disk no test fills.
    #[error("only brokers and clickhouse can have a small disk")]
    Monitor,
}

impl FromStr for SmallDisk {
    type Err = InvalidSmallDisk;

    fn from_str(text: &str) -> Result<Self, InvalidSmallDisk> {
        let (part, bytes) = text.split_once('=').ok_or(InvalidSmallDisk::Format)?;
        let part = part.parse().map_err(|_| InvalidSmallDisk::Format)?;
        match part {
            Part::Registry => return Err(InvalidSmallDisk::Registry),
            Part::Alertmanager | Part::Prometheus => return Err(InvalidSmallDisk::Monitor),
            Part::Kafka | Part::Kafka2 | Part::Kafka3 | Part::ClickHouse => {}
        }
        Ok(Self { part, bytes: parse_bytes(bytes)? })
    }
}

/// Parses a number of bytes, such as `512M`.
///
/// # Errors
/// [`InvalidSmallDisk::Bytes`].
pub fn parse_bytes(text: &str) -> Result<u64, InvalidSmallDisk> {
    let (digits, shift) = match text.as_bytes().last() {
        Some(b'K') => (&text[..text.len() - 1], 10),
        Some(b'M') => (&text[..text.len() - 1], 20),
        Some(b'G') => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    let number: u64 = digits.parse().map_err(|_| InvalidSmallDisk::Bytes)?;
    number.checked_mul(1 << shift).filter(|bytes| *bytes >= 1 << 20).ok_or(InvalidSmallDisk::Bytes)
}

/// The usage of a disk, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskUsage {
    /// What is used.
    pub used: u64,
    /// What it can hold.
    pub limit: u64,
}

impl std::fmt::Display for DiskUsage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {} bytes used", self.used, self.limit)
    }
}

/// The disk of one part in one stack, mounted or not.
#[derive(Debug)]
pub(crate) struct PartDisk {
    part: Part,
    /// Where it is mounted.
    data: PathBuf,
    /// The file that records its limit.
    limit: PathBuf,
}

impl PartDisk {
    /// The disk under the data of `part` in the stack's folder.
    pub(crate) fn new(folder: &Path, part: Part) -> Self {
        let folder = folder.join(part.name());
        Self { part, data: folder.join("data"), limit: folder.join("disk") }
    }

    /// Whether it is mounted: its folder is on another device than the one around it.
    pub(crate) fn is_mounted(&self) -> bool {
        let device = |path: &Path| stat(path).ok().map(|stat| stat.st_dev);
        let own = device(&self.data);
        own.is_some() && own != self.data.parent().and_then(device)
    }

    fn check_mounted(&self) -> Result<(), StackError> {
        if self.is_mounted() { Ok(()) } else { Err(StackError::NoSmallDisk(self.part)) }
    }

    /// What it holds; none where it is not mounted.
    pub(crate) fn usage(&self) -> Option<DiskUsage> {
        self.check_mounted().and_then(|()| usage(&self.data)).ok()
    }

    /// Mounts it in an empty folder. The part must be down.
    pub(crate) fn mount(&self, bytes: u64) -> Result<(), StackError> {
        let what = || format!("creating the folder {}", self.data.display());
        std::fs::create_dir_all(&self.data).io_context(what)?;
        if std::fs::read_dir(&self.data).io_context(what)?.next().is_some() {
            return Err(StackError::DataExists(self.part));
        }
        let size = options(&format!("size={bytes},mode=700"));
        mount("tmpfs", &self.data, "tmpfs", MountFlags::empty(), size.as_c_str())
            .map_err(|error| self.error(error, "mounting"))?;
        self.record_limit(bytes)
    }

    /// Unmounts it with all that is on it. The part must be down.
    pub(crate) fn unmount(&self) -> Result<(), StackError> {
        unmount(&self.data, UnmountFlags::empty()).map_err(|error| self.error(error, "unmounting"))
    }

    /// Sets the bytes that it can hold.
    pub(crate) fn set_limit(&self, bytes: u64) -> Result<DiskUsage, StackError> {
        self.check_mounted()?;
        self.record_limit(bytes)?;
        self.resize(bytes)?;
        usage(&self.data)
    }

    /// Makes it full, and checks that nothing can be written.
    pub(crate) fn fill(&self) -> Result<(), StackError> {
        self.check_mounted()?;
        for _ in 0..ATTEMPTS {
            let full = usage(&self.data)?.used.max(PAGE);
            match self.resize(full) {
                Ok(()) if !can_write(&self.data)? => return Ok(()),
                Err(error @ StackError::MountDenied(_)) => return Err(error),
                // The part has written or removed something in between.
                Ok(()) | Err(_) => std::thread::sleep(PAUSE),
            }
        }
        Err(StackError::DiskNotFull(self.part))
    }

    /// Restores its limit, and checks that something can be written.
    pub(crate) fn free(&self) -> Result<DiskUsage, StackError> {
        self.check_mounted()?;
        let text = std::fs::read_to_string(&self.limit).ok();
        let limit = text.and_then(|text| text.trim().parse().ok());
        self.resize(limit.unwrap_or(LIMIT_DEFAULT))?;
        if !can_write(&self.data)? {
            return Err(StackError::DiskStillFull(self.part));
        }
        usage(&self.data)
    }

    fn record_limit(&self, bytes: u64) -> Result<(), StackError> {
        std::fs::write(&self.limit, bytes.to_string())
            .io_context(|| format!("writing {}", self.limit.display()))
    }

    fn resize(&self, bytes: u64) -> Result<(), StackError> {
        let size = options(&format!("size={bytes}"));
        mount_remount(&self.data, MountFlags::empty(), size.as_c_str())
            .map_err(|error| self.error(error, &format!("setting its limit to {bytes} bytes")))
    }

    fn error(&self, error: rustix::io::Errno, what: &str) -> StackError {
        if matches!(error, rustix::io::Errno::PERM | rustix::io::Errno::ACCESS) {
            return StackError::MountDenied(self.part);
        }
        let what = format!("the disk under {}: {what} ({})", self.part, self.data.display());
        StackError::Io { what, source: error.into() }
    }
}

/// Options of a mount.
#[expect(clippy::expect_used, reason = "an internal invariant")]
fn options(text: &str) -> CString {
    CString::new(text).expect("options have no zero byte")
}

fn usage(folder: &Path) -> Result<DiskUsage, StackError> {
    let stat = statvfs(folder)
        .map_err(std::io::Error::from)
        .io_context(|| format!("reading the usage of {}", folder.display()))?;
    let limit = stat.f_blocks * stat.f_frsize;
    Ok(DiskUsage { used: limit - (stat.f_bfree * stat.f_frsize).min(limit), limit })
}

/// Whether a byte of a new file can be written.
fn can_write(folder: &Path) -> Result<bool, StackError> {
    let probe = folder.join("probe");
    let written = File::create(&probe).and_then(|mut file| file.write_all(b"x"));
    remove_file(&probe).ok();
    match written {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::StorageFull => Ok(false),
        Err(error) => Err(error).io_context(|| format!("writing {}", probe.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_disk_is_a_part_and_a_size() {
        let disk = SmallDisk { part: Part::ClickHouse, bytes: 512 << 20 };
        assert_eq!("clickhouse=512M".parse(), Ok(disk));
        assert_eq!(parse_bytes("3G"), Ok(3 << 30));
        assert_eq!(parse_bytes("2097152"), Ok(2 << 20));
        for text in ["", "1", "1023K", "M", "-1M", "1T", "99999999999999999999G"] {
            assert_eq!(parse_bytes(text), Err(InvalidSmallDisk::Bytes), "{text:?}");
        }
        assert_eq!("clickhouse".parse::<SmallDisk>(), Err(InvalidSmallDisk::Format));
        assert_eq!("registry=1G".parse::<SmallDisk>(), Err(InvalidSmallDisk::Registry));
        assert_eq!("prometheus=1G".parse::<SmallDisk>(), Err(InvalidSmallDisk::Monitor));
    }
}
