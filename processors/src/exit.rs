//! Exit codes, and the lines that a command prints.

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

/// Prints why a command failed.
#[expect(clippy::print_stderr, reason = "the last line of a command that failed")]
pub fn print_error(error: impl std::fmt::Display) {
    eprintln!("processors: {error}");
}

/// Prints a line of a command's result.
#[expect(clippy::print_stdout, reason = "a command's result")]
pub fn print_line(line: impl std::fmt::Display) {
    println!("{line}");
}
