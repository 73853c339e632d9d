//! How the process ends: a closed set of exit codes, after `sysexits`.
//!
//! Only `main` turns one into a process exit. Results and errors are printed here too.

use std::io::Write;
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
    /// A bug of ours.
    Invariant = 70,
    /// Clicks were not delivered, or a server was unreachable too long: trying again may help.
    Unavailable = 75,
    /// A setting, link file or input file is wrong: trying again does not help.
    Configuration = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// An error with the code that the process ends with.
#[derive(Debug)]
pub struct Failure {
    /// The code.
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

    /// An error that may pass without a change.
    pub fn unavailable(cause: impl Into<anyhow::Error>) -> Self {
        Self { exit: Exit::Unavailable, cause: cause.into() }
    }

    /// A broken invariant.
    pub fn invariant(cause: impl Into<anyhow::Error>) -> Self {
        Self { exit: Exit::Invariant, cause: cause.into() }
    }
}

/// Writes a line to stdout. A closed pipe is no error of ours.
pub fn print_line(line: &str) {
    write(&mut std::io::stdout().lock(), line);
}

/// Writes a line to stderr. A closed pipe is no error of ours.
pub fn print_error(line: &str) {
    write(&mut std::io::stderr().lock(), line);
}

fn write(to: &mut dyn Write, line: &str) {
    let _closed = writeln!(to, "{line}");
}
