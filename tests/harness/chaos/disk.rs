//! A small disk of its own under ClickHouse, so that it can be full while nothing else is.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Far more than a run needs; memory is taken only as it is filled.
const SIZE: &str = "size=3g";
const PIECE: usize = 1 << 20;

/// The disk, in memory. It goes when it goes, which must be after the engine.
#[derive(Debug)]
pub struct Disk {
    folder: PathBuf,
}

impl Disk {
    /// Mounts one where the engine of the stack in `folder` will keep its data.
    ///
    /// # Errors
    /// Why not: it takes the right to mount.
    pub fn under(folder: &Path) -> Result<Self, String> {
        let folder = data(folder);
        std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", SIZE, "tmpfs"])
            .arg(&folder)
            .stdin(Stdio::null())
            .output();
        let mounted = mounted.map_err(|error| format!("mount: {error}"))?;
        match mounted.status.success() {
            true => Ok(Self { folder }),
            false => Err(String::from_utf8_lossy(&mounted.stderr).trim().to_owned()),
        }
    }

    /// Unmounts what a run that was killed may have left there.
    pub fn clear(folder: &Path) {
        unmount(&data(folder));
    }

    fn ballast(&self) -> PathBuf {
        self.folder.join("ballast")
    }

    /// Fills it to the last byte. True if it was seen to be full.
    pub(super) fn fill(&self) -> bool {
        let open = OpenOptions::new().create(true).append(true).open(self.ballast());
        let Ok(mut file) = open else { return false };
        // Large pieces first, then what they leave.
        for size in [PIECE, 1 << 12, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
        File::create(self.folder.join("proof")).and_then(|mut file| file.write_all(b"x")).is_err()
    }

    /// Gives the room back.
    pub(super) fn free(&self) {
        for name in ["ballast", "proof"] {
            std::fs::remove_file(self.folder.join(name)).ok();
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        unmount(&self.folder);
    }
}

fn data(folder: &Path) -> PathBuf {
    folder.join("clickhouse").join("data")
}

fn unmount(folder: &Path) {
    Command::new("umount").arg(folder).stdin(Stdio::null()).output().ok();
}
