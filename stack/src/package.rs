//! A package: fetched by its client, extracted, and checked against its pinned checksum.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::process::Command;

use sha2::{Digest as _, Sha256};

use crate::command::{log_tail, run_to_end};
use crate::error::{IoContext as _, StackError};
use crate::interrupt::Interrupt;

/// Runs the client that fetches a package.
///
/// # Errors
/// [`StackError::Fetch`] with the end of its output.
pub(crate) fn fetch(
    mut command: Command,
    folder: &Path,
    what: &'static str,
    interrupt: &Interrupt,
) -> Result<(), StackError> {
    let log = folder.join("fetch.log");
    let status = run_to_end(&mut command, &log, interrupt)?;
    if !status.success() {
        let arguments: Vec<_> =
            command.get_args().map(|argument| argument.to_string_lossy()).collect();
        let command = format!("{} {}", command.get_program().display(), arguments.join(" "));
        return Err(StackError::Fetch { what, command, output: log_tail(&log, 25) });
    }
    std::fs::remove_file(&log).io_context(|| format!("removing {}", log.display()))
}

/// Extracts these members of an archive, or all of them.
///
/// # Errors
/// As [`fetch`].
pub(crate) fn extract(
    package: &Path,
    folder: &Path,
    members: &[&str],
    interrupt: &Interrupt,
) -> Result<(), StackError> {
    let mut tar = Command::new("tar");
    tar.arg("-xzf").arg(package).arg("-C").arg(folder);
    if !members.is_empty() {
        tar.arg("--strip-components=1").args(members);
    }
    fetch(tar, folder, "a package (to extract it)", interrupt)
}

/// The SHA-256 of a file, in hexadecimal digits.
pub(crate) fn sha256(file: &Path) -> Result<String, StackError> {
    let what = || format!("reading {}", file.display());
    let mut source = File::open(file).io_context(what)?;
    let mut hasher = Sha256::new();
    let mut piece = vec![0; 1 << 20];
    loop {
        let len = source.read(&mut piece).io_context(what)?;
        if len == 0 {
            break;
        }
        hasher.update(&piece[..len]);
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Compares the checksum of a file.
///
/// # Errors
/// [`StackError::Checksum`].
pub(crate) fn check(file: &Path, pinned: &str) -> Result<(), StackError> {
    let found = sha256(file)?;
    if found == pinned {
        return Ok(());
    }
    let file = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Err(StackError::Checksum { file, found, pinned: pinned.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_file_is_not_accepted() {
        let file = std::env::temp_dir().join(format!("clicktrail-sha-{}", std::process::id()));
        std::fs::write(&file, "abc").unwrap();
        let sum = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        check(&file, sum).unwrap();
        std::fs::write(&file, "abd").unwrap();
        assert!(matches!(check(&file, sum), Err(StackError::Checksum { .. })));
        std::fs::remove_file(&file).unwrap();
    }
}
