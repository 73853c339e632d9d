//! Cleans up after a `stack run` however it ends: everything that its command starts bears
//! a cookie in its environment, and a process of its own, `stack watch`, waits for the end of
//! the one that runs. If that is killed, the watcher ends what it had started.

use std::io::{Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Signal, getpid, kill_process};

use crate::error::{StackError, Trying as _};
use crate::part::Part;
use crate::process::processes;
use crate::stack::Stack;

/// The variable that holds the cookie.
const VARIABLE: &str = "STACK_RUN";
/// How often what bears the cookie is looked for: who is killed may have started another.
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
    /// Starts a watcher over `stack`; parts that run already are not its business.
    ///
    /// # Errors
    /// [`StackError::NoProgram`], [`StackError::Io`].
    pub fn over(stack: &Stack) -> Result<Self, StackError> {
        let cookie = format!("{}@{}", getpid().as_raw_nonzero(), stack.folder().display());
        let mut command = Command::new(stack.program()?);
        command.arg("--dir").arg(stack.folder()).args(["watch", "--cookie", &cookie]);
        for part in stack.running() {
            command.args(["--keep", part.name()]);
        }
        // A group of its own, so that a Ctrl-C meant for us passes it by.
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::null());
        let child = command.spawn().trying(|| "starting `stack watch`".to_owned())?;
        Ok(Self { child, cookie })
    }

    /// What everything that is watched must bear in its environment.
    pub fn variable(&self) -> (&'static str, &str) {
        (VARIABLE, &self.cookie)
    }
}

impl Drop for Watch {
    /// Ends what still bears the cookie, and the watcher.
    fn drop(&mut self) {
        sweep(&self.cookie);
        if let Some(mut line) = self.child.stdin.take() {
            line.write_all(b".").ok();
        }
        self.child.wait().ok();
    }
}

/// Waits until standard input ends. A byte before that says that all is well; else what bears
/// the cookie is ended, and every part of `stack` but those in `keep`.
///
/// # Errors
/// [`StackError::Unkillable`].
pub fn watch(stack: &Stack, cookie: &str, keep: &[Part]) -> Result<(), StackError> {
    let mut said = [0];
    if std::io::stdin().read(&mut said).is_ok_and(|len| len > 0) {
        return Ok(());
    }
    sweep(cookie);
    let mut outcome = Ok(());
    for part in Part::ALL.into_iter().rev().filter(|part| !keep.contains(part)) {
        outcome = outcome.and(stack.end(part, GRACE));
    }
    outcome
}

/// Kills whatever bears the cookie, until nothing does.
fn sweep(cookie: &str) {
    let mark = format!("{VARIABLE}={cookie}").into_bytes();
    let bears = |folder: &Path| {
        let environment = std::fs::read(folder.join("environ")).unwrap_or_default();
        environment.split(|&byte| byte == 0).any(|variable| variable == mark)
    };
    for _ in 0..SWEEPS {
        let found = processes(bears);
        if found.is_empty() {
            return;
        }
        for pid in found {
            kill_process(pid, Signal::KILL).ok();
        }
        std::thread::sleep(PAUSE);
    }
}
