//! What both Java parts say to their virtual machine.

use std::path::Path;

use crate::error::{StackError, Trying as _};

/// Flags for a machine that leaves nothing outside `folder`, bears `mark` and uses at most
/// `heap` of memory for its objects.
pub(crate) fn flags(mark: &str, folder: &Path, heap: &str) -> Result<Vec<String>, StackError> {
    let temporary = folder.join("tmp");
    std::fs::remove_dir_all(&temporary).ok();
    std::fs::create_dir_all(&temporary)
        .trying(|| format!("making the folder {}", temporary.display()))?;
    Ok(vec![
        format!("-D{mark}"),
        format!("-Xmx{heap}"),
        "-XX:+UseSerialGC".to_owned(),
        format!("-Djava.io.tmpdir={}", temporary.display()),
        // Its file would stand in the machine's folder for temporary ones.
        "-XX:-UsePerfData".to_owned(),
    ])
}
