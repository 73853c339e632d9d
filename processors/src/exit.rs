//! Exit codes, and the lines that a command prints.

/// Drained, done, balanced.
pub const DONE: u8 = 0;
/// `audit` or `setup --check` found a difference.
pub const DIFFERS: u8 = 1;
/// The command line or environment is wrong.
pub const USAGE: u8 = 64;
/// A server was away until the deadline; trying again may help.
pub const TEMPORARY: u8 = 75;
/// A setting, a right or a table is wrong.
pub const CONFIGURATION: u8 = 78;
/// Ended by a signal before its end, as a shell says it of SIGTERM.
pub const TOLD: u8 = 143;

/// Prints why a command failed.
#[expect(clippy::print_stderr, reason = "the last word of a command that failed")]
pub fn complain(error: impl std::fmt::Display) {
    eprintln!("processors: {error}");
}

/// Prints a line of a command's result.
#[expect(clippy::print_stdout, reason = "a command's result")]
pub fn say(line: impl std::fmt::Display) {
    println!("{line}");
}
