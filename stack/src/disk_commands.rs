//! The commands of the stack for the small disks of its parts.

use crate::disk::{DiskUsage, PartDisk};
use crate::error::StackError;
use crate::part::Part;
use crate::stack::Stack;

impl Stack {
    /// Sets the bytes that the disk under a part can hold.
    ///
    /// # Errors
    /// [`StackError::NoSmallDisk`], [`StackError::MountDenied`]; [`StackError::Io`] for fewer
    /// than are used.
    pub fn limit_disk(&self, part: Part, bytes: u64) -> Result<(), StackError> {
        let usage = PartDisk::new(self.folder(), part).set_limit(bytes)?;
        self.report(&format!("{part}: its disk: {usage}"));
        Ok(())
    }

    /// Makes the disk under a part full, and checks that nothing can be written.
    ///
    /// # Errors
    /// [`StackError::NoSmallDisk`], [`StackError::MountDenied`], [`StackError::DiskNotFull`].
    pub fn fill_disk(&self, part: Part) -> Result<(), StackError> {
        PartDisk::new(self.folder(), part).fill()?;
        self.report(&format!("{part}: its disk is full; writes fail"));
        Ok(())
    }

    /// Restores the limit of the disk under a part, and checks that something can be written.
    ///
    /// # Errors
    /// As [`Stack::fill_disk`]; [`StackError::DiskStillFull`].
    pub fn free_disk(&self, part: Part) -> Result<(), StackError> {
        let usage = PartDisk::new(self.folder(), part).free()?;
        self.report(&format!("{part}: its disk has free space: {usage}"));
        Ok(())
    }

    /// The usage of the disk under a part; none where it has no small disk.
    pub fn disk_usage(&self, part: Part) -> Option<DiskUsage> {
        PartDisk::new(self.folder(), part).usage()
    }

    /// Unmounts the small disks with all that is on them. Their parts must be down.
    ///
    /// # Errors
    /// [`StackError::InUse`], [`StackError::MountDenied`].
    pub fn drop_disks(&self) -> Result<(), StackError> {
        Part::ALL.into_iter().try_for_each(|part| self.unmount_disk(part))
    }
}
