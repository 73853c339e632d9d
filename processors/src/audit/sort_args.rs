//! Memory and folder of the comparisons of log and table.

use std::path::PathBuf;

use clap::Args;

use crate::audit::full_audit::SortSpace;

/// Arguments of every command that sorts what it compares.
#[derive(Debug, Args)]
pub(crate) struct SortArgs {
    /// Memory for sorting, in MiB; data beyond it goes to the scratch folder.
    #[arg(long, env = "CLICKTRAIL_AUDIT_MEMORY_MIB", default_value_t = 256,
        value_parser = clap::value_parser!(u32).range(4..=65_536))]
    memory_mib: u32,
    /// Folder for sorted data that exceeds the memory: 28 bytes for each record and
    /// each row; of a replay and of the continuous audit, 36 bytes for each record.
    #[arg(long, env = "TMPDIR", default_value = "/tmp")]
    scratch_dir: PathBuf,
}

impl SortArgs {
    /// Folder and memory.
    pub(crate) fn space(self) -> SortSpace {
        SortSpace { folder: self.scratch_dir, memory: self.memory_mib as usize * 1024 * 1024 }
    }
}
