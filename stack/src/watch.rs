//! Cleans up after a `stack run` however it ends: everything that its command starts has a
//! cookie in its environment, and a process of its own, `stack watch`, waits for the end of
//! `stack run`. If that is killed, the watcher ends what it had started.

use std::io::{Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Signal, getpid, kill_process};

use crate::error::{IoContext as _, StackError};
use crate::part::Part;
use crate::process_table::processes;
use crate::stack::Stack;

/// The variable that holds the cookie.
const VARIABLE: &str = "STACK_RUN";
/// How often processes with the cookie are killed: one may have started another before its end.
const SWEEPS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(25);
/// How long a part may take to end after its `stack run` was killed.
const GRACE: Duration = Duration::from_secs(5);

/// A watcher that waits for the end of this process.
#[derive(Debug)]
pub struct Watch {
    child: Child,
    cookie: String,
}

impl Watch {
    /// Starts a watcher of `stack`; it leaves parts that run already alone.
    ///
    /// # Errors
    /// [`StackError::NoProgram`], [`StackError::Io`].
    pub fn start(stack: &Stack) -> Result<Self, StackError> {
        let cookie = format!("{}@{}", getpid().as_raw_nonzero(), stack.folder().display());
        let mut command = Command::new(stack.program()?);
        command.arg("--dir").arg(stack.folder()).args(["watch", "--cookie", &cookie]);
        for part in stack.running() {
            command.args(["--keep", part.name()]);
        }
        // A group of its own, so that a Ctrl-C for us does not reach it.
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::null());
        let child = command.spawn().io_context(|| "starting `stack watch`".to_owned())?;
        Ok(Self { child, cookie })
    }

    /// The variable with the cookie, for the environment of all that is watched.
    pub fn variable(&self) -> (&'static str, &str) {
        (VARIABLE, &self.cookie)
    }
}

impl Drop for Watch {
    /// Ends what still has the cookie, and the watcher.
    fn drop(&mut self) {
        sweep(&self.cookie);
        if let Some(mut line) = self.child.stdin.take() {
            line.write_all(b".").ok();
        }
        self.child.wait().ok();
    }
}

/// Waits until standard input ends. A byte before that means success; else what has
/// the cookie is ended, and every part of `stack` but those in `keep`.
///
/// # Errors
/// [`StackError::Unkillable`].
pub fn watch(stack: &Stack, cookie: &str, keep: &[Part]) -> Result<(), StackError> {
    let mut byte = [0];
    if std::io::stdin().read(&mut byte).is_ok_and(|len| len > 0) {
        return Ok(());
    }
    sweep(cookie);
    let mut outcome = Ok(());
    for part in Part::ALL.into_iter().rev().filter(|part| !keep.contains(part)) {
        outcome = outcome.and(stack.end(part, GRACE));
    }
    outcome
}

/// Kills all processes that have the cookie.
fn sweep(cookie: &str) {
    let mark = format!("{VARIABLE}={cookie}").into_bytes();
    let has_cookie = |folder: &Path| {
        let environment = std::fs::read(folder.join("environ")).unwrap_or_default();
        environment.split(|&byte| byte == 0).any(|variable| variable == mark)
    };
    for _ in 0..SWEEPS {
        let found = processes(has_cookie);
        if found.is_empty() {
            return;
        }
        for pid in found {
            kill_process(pid, Signal::KILL).ok();
        }
        std::thread::sleep(PAUSE);
    }
}
