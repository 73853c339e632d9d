//! Exit codes, and the lines that a command prints.

use std::io::{ErrorKind, Write as _};

/// Success: drained, done, or balanced.
pub const DONE: u8 = 0;
/// `audit` or `setup --check` found a difference.
pub const DIFFERS: u8 = 1;
/// The command line or environment is wrong.
pub const USAGE: u8 = 64;
/// A server did not answer within the deadline; repeating the command may help.
pub const TEMPORARY: u8 = 75;
/// A setting, a right or a table is wrong.
pub const CONFIGURATION: u8 = 78;
/// A signal ended the command early; the code that a shell reports for SIGTERM.
pub const TERMINATED: u8 = 143;

/// Prints why a command failed; the exit code states it, too, if stderr is closed.
pub fn print_error(error: impl std::fmt::Display) {
    drop(writeln!(std::io::stderr(), "processors: {error}"));
}

/// Prints a line of a command's result. A reader that closed the pipe, such as `head`, needs no more
/// lines.
#[expect(clippy::panic, reason = "as `println!`: a result that is lost must not look like success")]
pub fn print_line(line: impl std::fmt::Display) {
    match writeln!(std::io::stdout(), "{line}") {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => panic!("stdout: {error}"),
        Ok(()) | Err(_) => {}
    }
}
