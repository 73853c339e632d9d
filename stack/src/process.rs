//! Processes of the stack: started apart from ours, found again by pid file, and only
//! believed if the process's own command line bears the stack's mark, so that a pid
//! that was reused is never signalled.
#![expect(clippy::disallowed_methods, reason = "waiting for processes reads a clock")]

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::error::{StackError, Trying as _};
use crate::part::Part;

const POLL: Duration = Duration::from_millis(40);
/// How long a process may take to vanish after SIGKILL.
const KILL_WAIT: Duration = Duration::from_secs(10);

/// How long a process may take to stand still after SIGSTOP.
const STILL_WAIT: Duration = Duration::from_secs(2);

/// Tells a command that is under way to stop and clean up.
#[derive(Debug, Clone, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Asks for the stop; safe to call from anywhere, any number of times.
    pub fn raise(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// # Errors
    /// [`StackError::Interrupted`] once it was raised.
    pub(crate) fn check(&self) -> Result<(), StackError> {
        if self.0.load(Ordering::Relaxed) { Err(StackError::Interrupted) } else { Ok(()) }
    }
}

/// How a part's process is started.
#[derive(Debug)]
pub(crate) struct Launch {
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<OsString>,
    pub(crate) variables: Vec<(&'static str, String)>,
    pub(crate) folder: PathBuf,
}

/// One part's process in one stack: where its pid and log are, and the mark it bears.
#[derive(Debug, Clone)]
pub(crate) struct Slot {
    pub(crate) part: Part,
    pub(crate) pid_file: PathBuf,
    pub(crate) log: PathBuf,
    /// Stands in the command line of the process and of no other.
    pub(crate) mark: String,
}

impl Slot {
    /// Starts the process in a group of its own, so that a Ctrl-C meant for us passes it by.
    pub(crate) fn start(&self, launch: &Launch) -> Result<Pid, StackError> {
        let what = || format!("starting {} ({})", self.part, launch.program.display());
        let log = OpenOptions::new().create(true).append(true).open(&self.log).trying(what)?;
        let errors = log.try_clone().trying(what)?;
        let mut child = Command::new(&launch.program)
            .args(&launch.arguments)
            .envs(launch.variables.iter().map(|(name, value)| (name, value)))
            .current_dir(&launch.folder)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .process_group(0)
            .spawn()
            .trying(what)?;
        let pid = Pid::from_child(&child);
        let written = std::fs::write(&self.pid_file, format!("{}\n", pid.as_raw_nonzero()));
        if written.is_err() {
            kill_process_group(pid, Signal::KILL).ok();
        }
        // If we outlive it, its remains must be collected, or it would never seem gone.
        std::thread::spawn(move || child.wait());
        written.trying(|| format!("writing {}", self.pid_file.display()))?;
        Ok(pid)
    }

    /// The running process, if there is one and it is ours.
    pub(crate) fn running(&self) -> Option<Pid> {
        let text = std::fs::read_to_string(&self.pid_file).ok()?;
        let raw = text.trim().parse().ok().filter(|&raw: &i32| raw > 0)?;
        let pid = Pid::from_raw(raw)?;
        bears(pid, &self.mark).unwrap_or(false).then_some(pid)
    }

    /// Whether any process of the part is there.
    pub(crate) fn runs(&self) -> bool {
        self.running().is_some() || !bearing(&self.mark).is_empty()
    }

    /// The process that does the part's work: one that the running process has started, if it
    /// has, else itself.
    pub(crate) fn worker(&self) -> Option<Pid> {
        let running = self.running()?;
        bearing(&self.mark).into_iter().find(|&pid| pid != running).or(Some(running))
    }

    /// Ends the process that does the part's work, as a crash would.
    pub(crate) fn crash_worker(&self) -> Result<(), StackError> {
        let pid = self.worker().ok_or(StackError::NotRunning(self.part))?;
        kill_process(pid, Signal::KILL)
            .map_err(std::io::Error::from)
            .trying(|| format!("killing a process of {}", self.part))?;
        if self.gone(pid, KILL_WAIT) {
            return Ok(());
        }
        Err(StackError::Unkillable { part: self.part, pid: pid.as_raw_nonzero().get() })
    }

    /// Ends the part's processes: SIGTERM, `grace`, SIGKILL. Nothing happens if none runs.
    pub(crate) fn stop(&self, grace: Duration) -> Result<(), StackError> {
        // One may be left whose starter was killed, or died before it wrote its pid down.
        let (running, pids) = (self.running(), bearing(&self.mark));
        let send = |signal| {
            if let Some(pid) = running {
                kill_process_group(pid, signal).ok();
            }
            for &pid in &pids {
                kill_process(pid, signal).ok();
            }
        };
        // A stopped process does not hear SIGTERM.
        send(Signal::CONT);
        if !grace.is_zero() {
            send(Signal::TERM);
        }
        if !self.gone_within(&pids, grace) {
            send(Signal::KILL);
            if !self.gone_within(&pids, KILL_WAIT) {
                let pid = pids.first().map_or(0, |pid| pid.as_raw_nonzero().get());
                return Err(StackError::Unkillable { part: self.part, pid });
            }
        }
        std::fs::remove_file(&self.pid_file).ok();
        Ok(())
    }

    fn gone_within(&self, pids: &[Pid], wait: Duration) -> bool {
        within(wait, || !pids.iter().any(|&pid| self.left(pid)) && bearing(&self.mark).is_empty())
    }

    fn gone(&self, pid: Pid, wait: Duration) -> bool {
        within(wait, || !self.left(pid))
    }

    fn left(&self, pid: Pid) -> bool {
        lives(pid) && bears(pid, &self.mark) != Some(false)
    }

    /// Sends a signal to the part's processes.
    pub(crate) fn signal(&self, signal: Signal) -> Result<(), StackError> {
        self.running().ok_or(StackError::NotRunning(self.part))?;
        bearing(&self.mark).into_iter().try_for_each(|pid| {
            kill_process(pid, signal)
                .map_err(std::io::Error::from)
                .trying(|| format!("signalling {}", self.part))
        })
    }

    /// Whether all of the part's processes stand still, after a moment at most.
    pub(crate) fn stands(&self) -> bool {
        let still = |pid: Pid| {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
            stat.is_ok_and(|stat| {
                stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
            })
        };
        within(STILL_WAIT, || bearing(&self.mark).into_iter().all(still))
    }

    /// Waits until `ready` says yes.
    pub(crate) fn wait(
        &self,
        limit: Duration,
        interrupt: &Interrupt,
        mut ready: impl FnMut() -> bool,
    ) -> Result<(), StackError> {
        let end = Instant::now() + limit;
        loop {
            interrupt.check()?;
            if ready() {
                return Ok(());
            }
            if self.running().is_none() {
                return Err(self.not_ready("ended while it was starting".to_owned()));
            }
            if Instant::now() >= end {
                return Err(self.not_ready(format!("does not answer after {} s", limit.as_secs())));
            }
            std::thread::sleep(POLL);
        }
    }

    fn not_ready(&self, how: String) -> StackError {
        let tail = tail(&self.log, 20);
        StackError::NotReady { part: self.part, how, log: self.log.clone(), tail }
    }
}

/// Asks until it is so, or the time is over.
fn within(wait: Duration, so: impl Fn() -> bool) -> bool {
    let end = Instant::now() + wait;
    while !so() {
        if Instant::now() >= end {
            return false;
        }
        std::thread::sleep(POLL);
    }
    true
}

/// Whether the process's command line holds `mark`; `None` if it has none.
fn bears(pid: Pid, mark: &str) -> Option<bool> {
    let path = format!("/proc/{}/cmdline", pid.as_raw_nonzero());
    // There is none for a moment while a process becomes its program, and none for good
    // once it is ending.
    for _ in 0..50 {
        let line = std::fs::read(&path).ok()?;
        if !line.is_empty() {
            return Some(holds(&line, mark));
        }
        if !lives(pid) {
            return None;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    None
}

/// Every process whose command line holds `mark`.
pub(crate) fn bearing(mark: &str) -> Vec<Pid> {
    processes(|folder| holds(&std::fs::read(folder.join("cmdline")).unwrap_or_default(), mark))
}

/// A process's arguments, a zero byte after each.
pub(crate) fn command_line(pid: Pid) -> Vec<u8> {
    std::fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default()
}

/// Every process for whose folder in `/proc` this is so.
pub(crate) fn processes(so: impl Fn(&Path) -> bool) -> Vec<Pid> {
    let pid = |entry: std::fs::DirEntry| {
        let raw = entry.file_name().to_str()?.parse().ok()?;
        so(&entry.path()).then(|| Pid::from_raw(raw))?
    };
    std::fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(pid).collect()
}

/// Whether any thread of the process is left; until then its ports and files are open.
fn lives(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    stat.is_ok_and(|stat| !is_dead(&stat))
}

/// Reads `/proc/PID/stat`: a process is dead when its first thread is a zombie and its last.
fn is_dead(stat: &str) -> bool {
    let Some((_, rest)) = stat.rsplit_once(") ") else { return true };
    let mut fields = rest.split(' ');
    let zombie = matches!(fields.next(), Some("Z" | "X" | "x"));
    // State is the third field of the file, the number of threads the twentieth.
    zombie && fields.nth(16).is_none_or(|threads| matches!(threads, "0" | "1"))
}

fn holds(command_line: &[u8], mark: &str) -> bool {
    command_line.split(|&byte| byte == 0).any(|argument| argument.ends_with(mark.as_bytes()))
}

/// The last lines of a log.
pub(crate) fn tail(log: &Path, lines: usize) -> String {
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
    let output = File::create(log).trying(|| what.clone())?;
    let errors = output.try_clone().trying(|| what.clone())?;
    let command = command.stdin(Stdio::null()).stdout(output).stderr(errors).process_group(0);
    let mut child = command.spawn().trying(|| what.clone())?;
    let pid = Pid::from_child(&child);
    loop {
        if let Some(status) = child.try_wait().trying(|| what.clone())? {
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

/// Runs the user's command in the foreground; hands an interrupt on to it, politely at first.
///
/// # Errors
/// [`StackError::Io`] if it cannot be started.
pub fn run_command(command: &mut Command, interrupt: &Interrupt) -> Result<ExitStatus, StackError> {
    use std::io::IsTerminal as _;
    let what = format!("running {}", command.get_program().display());
    // At a terminal the command must stay in the foreground group to read from it; elsewhere
    // a group of its own lets us end what it leaves behind.
    let own_group = !std::io::stdin().is_terminal();
    if own_group {
        command.process_group(0);
    }
    let mut child = command.spawn().trying(|| what.clone())?;
    let pid = Pid::from_child(&child);
    let send = |signal| {
        if own_group { kill_process_group(pid, signal) } else { kill_process(pid, signal) }
    };
    let mut deadline = None;
    let status = loop {
        if let Some(status) = child.try_wait().trying(|| what.clone())? {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(pid: &str) -> (Slot, PathBuf) {
        let folder =
            std::env::temp_dir().join(format!("clicktrail-slot-{}-{pid}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let pid_file = folder.join("kafka.pid");
        std::fs::write(&pid_file, pid).unwrap();
        // Each its own: tests run beside each other, and one stops whatever bears its mark.
        let mark = format!("clicktrail.stack=kafka@{}", folder.display());
        (Slot { part: Part::Kafka, pid_file, log: folder.join("log"), mark }, folder)
    }

    #[test]
    fn a_foreign_process_with_our_pid_is_left_alone() {
        let mut sleep = Command::new("sleep").arg("30").spawn().unwrap();
        let (slot, folder) = slot(&sleep.id().to_string());
        assert!(slot.running().is_none());
        slot.stop(Duration::ZERO).unwrap();
        assert!(sleep.try_wait().unwrap().is_none(), "the sleeper was killed");
        assert!(!slot.pid_file.exists());
        sleep.kill().unwrap();
        sleep.wait().unwrap();
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_damaged_pid_file_is_no_process() {
        for text in ["", "x", "-1", "0", "1", "99999999999"] {
            let (slot, folder) = slot(text);
            assert!(slot.running().is_none(), "{text:?}");
            std::fs::remove_dir_all(folder).ok();
        }
    }

    #[test]
    fn the_mark_must_end_an_argument() {
        let line = b"java\0-Dclicktrail.stack=kafka@/a/.stack\0-cp\0x\0";
        assert!(holds(line, "clicktrail.stack=kafka@/a/.stack"));
        assert!(!holds(line, "clicktrail.stack=kafka@/a"));
        assert!(!holds(b"", "clicktrail.stack=kafka@/a"));
    }

    #[test]
    fn a_zombie_is_dead_and_a_strange_name_does_not_confuse() {
        let stat = |name: &str, state: &str, threads: u32| {
            format!("12 ({name}) {state} 1 12 12 0 -1 4 0 0 0 0 0 0 0 0 20 0 {threads} 0 99 0 0")
        };
        assert!(is_dead(&stat("sleep", "Z", 1)));
        assert!(!is_dead(&stat("java", "Z", 7)), "other threads still hold the ports");
        assert!(!is_dead(&stat("a) Z b", "S", 1)));
        assert!(is_dead(""));
    }

    #[test]
    fn our_own_process_is_found_and_ended() {
        let (slot, folder) = slot("0");
        let launch = Launch {
            program: "sh".into(),
            arguments: ["-c", "sleep 60; :", "sh", &slot.mark].map(Into::into).to_vec(),
            variables: Vec::new(),
            folder: folder.clone(),
        };
        let pid = slot.start(&launch).unwrap();
        assert_eq!(slot.running(), Some(pid));
        slot.stop(Duration::from_secs(5)).unwrap();
        assert!(slot.running().is_none());
        std::fs::remove_dir_all(folder).unwrap();
    }
}
