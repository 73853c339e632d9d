//! The flags of the Java virtual machine that both Java parts share.

use std::path::Path;

use crate::error::{IoContext as _, StackError};

/// Flags for a virtual machine that writes nothing outside `folder`, has `mark` in its command line
/// and a heap of at most `heap`.
pub(crate) fn flags(mark: &str, folder: &Path, heap: &str) -> Result<Vec<String>, StackError> {
    let temporary = folder.join("tmp");
    std::fs::remove_dir_all(&temporary).ok();
    std::fs::create_dir_all(&temporary)
        .io_context(|| format!("creating the folder {}", temporary.display()))?;
    Ok(vec![
        format!("-D{mark}"),
        format!("-Xmx{heap}"),
        "-XX:+UseSerialGC".to_owned(),
        format!("-Djava.io.tmpdir={}", temporary.display()),
        // Its file would be outside `folder`.
        "-XX:-UsePerfData".to_owned(),
    ])
}
