//! Commands that run to their end: those of a download, and the user's.
#![expect(clippy::disallowed_methods, reason = "a command's grace period reads a clock")]

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::error::{IoContext as _, StackError};
use crate::interrupt::Interrupt;

const POLL: Duration = Duration::from_millis(40);
/// How long a command may take to end after SIGTERM.
const KILL_WAIT: Duration = Duration::from_secs(10);

/// The last lines of a log.
pub(crate) fn log_tail(log: &Path, lines: usize) -> String {
    let bytes = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// Runs a program to its end with its output in `log`; kills it, and what it started, on interrupt.
pub(crate) fn run_to_end(
    command: &mut Command,
    log: &Path,
    interrupt: &Interrupt,
) -> Result<ExitStatus, StackError> {
    let what = format!("running {}", command.get_program().display());
    let output = File::create(log).io_context(|| what.clone())?;
    let errors = output.try_clone().io_context(|| what.clone())?;
    let command = command.stdin(Stdio::null()).stdout(output).stderr(errors).process_group(0);
    let mut child = command.spawn().io_context(|| what.clone())?;
    let pid = Pid::from_child(&child);
    loop {
        if let Some(status) = child.try_wait().io_context(|| what.clone())? {
            return Ok(status);
        }
        if let Err(interrupted) = interrupt.check() {
            kill_process_group(pid, Signal::KILL).ok();
            child.wait().ok();
            return Err(interrupted);
        }
        std::thread::sleep(POLL);
    }
}

/// Runs the user's command in the foreground; passes an interrupt on to it: SIGTERM, and SIGKILL after a few seconds.
///
/// # Errors
/// [`StackError::Io`] if it cannot be started.
pub fn run_command(command: &mut Command, interrupt: &Interrupt) -> Result<ExitStatus, StackError> {
    use std::io::IsTerminal as _;
    let what = format!("running {}", command.get_program().display());
    // At a terminal the command must stay in the foreground group to read from it; elsewhere
    // with a group of its own, what it leaves behind can be ended.
    let own_group = !std::io::stdin().is_terminal();
    if own_group {
        command.process_group(0);
    }
    let mut child = command.spawn().io_context(|| what.clone())?;
    let pid = Pid::from_child(&child);
    let send = |signal| {
        if own_group { kill_process_group(pid, signal) } else { kill_process(pid, signal) }
    };
    let mut deadline = None;
    let status = loop {
        if let Some(status) = child.try_wait().io_context(|| what.clone())? {
            break status;
        }
        match (interrupt.check().is_err(), deadline) {
            (true, None) => {
                send(Signal::TERM).ok();
                deadline = Some(Instant::now() + KILL_WAIT);
            }
            (true, Some(end)) if Instant::now() >= end => {
                send(Signal::KILL).ok();
            }
            _ => {}
        }
        std::thread::sleep(POLL);
    };
    if own_group {
        kill_process_group(pid, Signal::KILL).ok();
    }
    Ok(status)
}
