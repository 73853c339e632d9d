//! How the process ends: a closed set of exit codes, after `sysexits`.
//!
//! Only `main` turns one into a process exit; last words are written here too.

use std::io::Write;
use std::process::ExitCode;

/// Why the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Everything was delivered.
    Done = 0,
    /// The command line or the environment is wrong.
    Usage = 64,
    /// An input has malformed lines and `--strict` was asked for, or a link cannot be as entered.
    Data = 65,
    /// A bug of ours.
    Invariant = 70,
    /// Clicks were not delivered, or a server was away too long: trying again may help.
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
    /// What to tell the operator.
    pub cause: anyhow::Error,
}

impl Failure {
    /// A command line or environment that is none.
    pub fn usage(cause: impl Into<anyhow::Error>) -> Self {
        Self { exit: Exit::Usage, cause: cause.into() }
    }

    /// An input that cannot be used as it is.
    pub fn data(cause: impl Into<anyhow::Error>) -> Self {
        Self { exit: Exit::Data, cause: cause.into() }
    }

    /// Something that only a changed setting or file can mend.
    pub fn configuration(cause: impl Into<anyhow::Error>) -> Self {
        Self { exit: Exit::Configuration, cause: cause.into() }
    }

    /// Something that may mend itself.
    pub fn unavailable(cause: impl Into<anyhow::Error>) -> Self {
        Self { exit: Exit::Unavailable, cause: cause.into() }
    }

    /// Something that cannot happen.
    pub fn invariant(cause: impl Into<anyhow::Error>) -> Self {
        Self { exit: Exit::Invariant, cause: cause.into() }
    }
}

/// Writes a result to stdout. A closed pipe is no error of ours.
pub fn say(line: &str) {
    write(&mut std::io::stdout().lock(), line);
}

/// Writes a remark to stderr.
pub fn warn(line: &str) {
    write(&mut std::io::stderr().lock(), line);
}

fn write(to: &mut dyn Write, line: &str) {
    let _closed = writeln!(to, "{line}");
}
