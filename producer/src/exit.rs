//! The exit codes of the process: a closed set, after `sysexits`. Only `main` exits with one.
//!
//! This file also prints results and errors.

use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

/// Why the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Everything was delivered.
    Done = 0,
    /// The command line or the environment is wrong.
    Usage = 64,
    /// An input has malformed lines and `--strict` was set, or a link is not valid.
    Data = 65,
    /// A bug of this program.
    Invariant = 70,
    /// Clicks were not delivered, a server was unreachable too long, a port, folder or database is in
    /// use, or a disk is full or fails: another attempt may succeed.
    Unavailable = 75,
    /// A setting, link file, input file or permission is wrong: another attempt fails too.
    Configuration = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// An error, with the exit code for it.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// The message for the operator.
    pub cause: anyhow::Error,
}

impl Failure {
    /// A wrong command line or environment.
    pub fn usage(cause: impl Into<anyhow::Error>) -> Self {
        Self { exit: Exit::Usage, cause: cause.into() }
    }

    /// An input that cannot be used as it is.
    pub fn data(cause: impl Into<anyhow::Error>) -> Self {
        Self { exit: Exit::Data, cause: cause.into() }
    }

    /// An error that only a changed setting or file fixes.
    pub fn configuration(cause: impl Into<anyhow::Error>) -> Self {
        Self { exit: Exit::Configuration, cause: cause.into() }
    }

    /// The failure of a chain of causes: unavailable if it holds an I/O error that may pass, and a
    /// configuration failure otherwise.
    pub fn of_chain(cause: anyhow::Error) -> Self {
        let passes = cause.chain().find_map(|it| it.downcast_ref()).is_some_and(may_pass);
        let exit = if passes { Exit::Unavailable } else { Exit::Configuration };
        Self { exit, cause }
    }

    /// An error that may pass without a change.
    pub fn unavailable(cause: impl Into<anyhow::Error>) -> Self {
        Self { exit: Exit::Unavailable, cause: cause.into() }
    }

    /// A broken invariant.
    pub fn invariant(cause: impl Into<anyhow::Error>) -> Self {
        Self { exit: Exit::Invariant, cause: cause.into() }
    }
}

/// Whether an I/O error may pass without a change of settings, names or permissions: a disk that is
/// full or fails, or no free file descriptor.
pub fn may_pass(error: &io::Error) -> bool {
    let lasts = matches!(
        error.kind(),
        ErrorKind::PermissionDenied
            | ErrorKind::NotFound
            | ErrorKind::NotADirectory
            | ErrorKind::IsADirectory
            | ErrorKind::ReadOnlyFilesystem
            | ErrorKind::InvalidFilename
            | ErrorKind::InvalidInput
            | ErrorKind::AlreadyExists
            | ErrorKind::Unsupported
    );
    !lasts
}

/// Writes a line to stdout. A closed pipe is not an error.
pub fn print_line(line: &str) {
    write(&mut io::stdout().lock(), line);
}

/// Writes a line to stderr. A closed pipe is not an error.
pub fn print_error(line: &str) {
    write(&mut io::stderr().lock(), line);
}

fn write(to: &mut dyn Write, line: &str) {
    let _closed = writeln!(to, "{line}");
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;
    use rustix::io::Errno;

    use super::*;

    #[test]
    fn an_error_of_the_disk_may_pass_and_a_wrong_name_or_permission_may_not() {
        let passes =
            [Errno::NOSPC, Errno::DQUOT, Errno::IO, Errno::MFILE, Errno::NFILE, Errno::NOMEM];
        let lasts = [
            Errno::ACCESS,
            Errno::PERM,
            Errno::ROFS,
            Errno::NOTDIR,
            Errno::NOENT,
            Errno::NAMETOOLONG,
        ];
        for (errors, exit) in [(passes, Exit::Unavailable), (lasts, Exit::Configuration)] {
            for error in errors.map(io::Error::from) {
                let chain = Err::<(), _>(error).context("folder").context("start").unwrap_err();
                let failure = Failure::of_chain(chain);
                assert_eq!(failure.exit, exit, "{:#}", failure.cause);
            }
        }
        assert_eq!(Failure::of_chain(anyhow::anyhow!("no file")).exit, Exit::Configuration);
    }
}
