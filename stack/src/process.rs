//! The processes of the parts: started apart from ours, found again by pid file, and accepted only
//! if the process's command line has the stack's mark, so that a reused pid is never signalled.
#![expect(clippy::disallowed_methods, reason = "waiting for processes reads a clock")]

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::command::log_tail;
use crate::error::{IoContext as _, StackError};
use crate::interrupt::Interrupt;
use crate::part::Part;
use crate::process_table::{has_mark, is_alive, is_stopped, with_mark};

const POLL: Duration = Duration::from_millis(40);
/// How long a process may take to end after SIGKILL.
const KILL_WAIT: Duration = Duration::from_secs(10);
/// How long a process may take to stop after SIGSTOP.
const STOP_WAIT: Duration = Duration::from_secs(2);

/// How a part's process is started.
#[derive(Debug)]
pub(crate) struct Launch {
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<OsString>,
    pub(crate) variables: Vec<(&'static str, String)>,
    pub(crate) folder: PathBuf,
}

/// One part's process in one stack: where its pid and log are, and the mark in its command line.
#[derive(Debug, Clone)]
pub(crate) struct PartProcess {
    pub(crate) part: Part,
    pub(crate) pid_file: PathBuf,
    pub(crate) log: PathBuf,
    /// Ends an argument of the process and of no other.
    pub(crate) mark: String,
}

impl PartProcess {
    /// Starts the process in a group of its own, so that a Ctrl-C for us does not reach it.
    pub(crate) fn start(&self, launch: &Launch) -> Result<Pid, StackError> {
        let what = || format!("starting {} ({})", self.part, launch.program.display());
        let log = OpenOptions::new().create(true).append(true).open(&self.log).io_context(what)?;
        let errors = log.try_clone().io_context(what)?;
        let mut end = log.try_clone().io_context(what)?;
        let mut child = Command::new(&launch.program)
            .args(&launch.arguments)
            .envs(launch.variables.iter().map(|(name, value)| (name, value)))
            .current_dir(&launch.folder)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .process_group(0)
            .spawn()
            .io_context(what)?;
        let pid = Pid::from_child(&child);
        let written = std::fs::write(&self.pid_file, format!("{}\n", pid.as_raw_nonzero()));
        if written.is_err() {
            kill_process_group(pid, Signal::KILL).ok();
        }
        // If we outlive it, its status must be read, or it would stay a zombie.
        std::thread::spawn(move || {
            if let Ok(status) = child.wait()
                && !status.success()
            {
                writeln!(end, "stack: the process has ended: {status}").ok();
            }
        });
        written.io_context(|| format!("writing {}", self.pid_file.display()))?;
        Ok(pid)
    }

    /// The running process, if there is one and it is ours.
    pub(crate) fn running(&self) -> Option<Pid> {
        self.recorded().filter(|&pid| has_mark(pid, &self.mark).unwrap_or(false))
    }

    /// The process that the pid file names; it may be a foreign one, or none.
    fn recorded(&self) -> Option<Pid> {
        let text = std::fs::read_to_string(&self.pid_file).ok()?;
        let raw = text.trim().parse().ok().filter(|&raw: &i32| raw > 0)?;
        Pid::from_raw(raw)
    }

    /// Whether any process of the part is there.
    pub(crate) fn is_present(&self) -> bool {
        self.running().is_some() || !with_mark(&self.mark).is_empty()
    }

    /// The process that does the part's work: one that the running process has started, if it
    /// has, else itself.
    pub(crate) fn worker(&self) -> Option<Pid> {
        let running = self.running()?;
        with_mark(&self.mark).into_iter().find(|&pid| pid != running).or(Some(running))
    }

    /// Ends the process that does the part's work, as a crash would.
    pub(crate) fn crash_worker(&self) -> Result<(), StackError> {
        let pid = self.worker().ok_or(StackError::NotRunning(self.part))?;
        kill_process(pid, Signal::KILL)
            .map_err(std::io::Error::from)
            .io_context(|| format!("killing a process of {}", self.part))?;
        if self.ends_within(pid, KILL_WAIT) {
            return Ok(());
        }
        Err(StackError::Unkillable { part: self.part, pid: pid.as_raw_nonzero().get() })
    }

    /// Ends the part's processes: SIGTERM, `grace`, SIGKILL. Does nothing if none runs.
    pub(crate) fn stop(&self, grace: Duration) -> Result<(), StackError> {
        // One may be left whose `stack` command was killed before it wrote the pid file.
        let (running, pids) = (self.running(), with_mark(&self.mark));
        let send = |signal| {
            if let Some(pid) = running {
                kill_process_group(pid, signal).ok();
            }
            for &pid in &pids {
                kill_process(pid, signal).ok();
            }
        };
        // A stopped process does not receive SIGTERM.
        send(Signal::CONT);
        if !grace.is_zero() {
            send(Signal::TERM);
        }
        if !self.all_end_within(&pids, grace) {
            send(Signal::KILL);
            if !self.all_end_within(&pids, KILL_WAIT) {
                let pid = pids.first().map_or(0, |pid| pid.as_raw_nonzero().get());
                return Err(StackError::Unkillable { part: self.part, pid });
            }
        }
        std::fs::remove_file(&self.pid_file).ok();
        Ok(())
    }

    fn all_end_within(&self, pids: &[Pid], wait: Duration) -> bool {
        within(wait, || {
            !pids.iter().any(|&pid| self.is_left(pid)) && with_mark(&self.mark).is_empty()
        })
    }

    fn ends_within(&self, pid: Pid, wait: Duration) -> bool {
        within(wait, || !self.is_left(pid))
    }

    fn is_left(&self, pid: Pid) -> bool {
        is_alive(pid) && has_mark(pid, &self.mark) != Some(false)
    }

    /// Sends a signal to the part's processes.
    pub(crate) fn signal(&self, signal: Signal) -> Result<(), StackError> {
        self.running().ok_or(StackError::NotRunning(self.part))?;
        with_mark(&self.mark).into_iter().try_for_each(|pid| {
            kill_process(pid, signal)
                .map_err(std::io::Error::from)
                .io_context(|| format!("signalling {}", self.part))
        })
    }

    /// Whether all of the part's processes are stopped, after a short wait at most.
    pub(crate) fn is_stopped(&self) -> bool {
        within(STOP_WAIT, || with_mark(&self.mark).into_iter().all(is_stopped))
    }

    /// Waits until `ready` returns true.
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
            if !self.is_starting() {
                return Err(self.not_ready("ended while it was starting".to_owned()));
            }
            if Instant::now() >= end {
                return Err(self.not_ready(format!("does not answer after {} s", limit.as_secs())));
            }
            std::thread::sleep(POLL);
        }
    }

    /// Whether the started process is there. The command line of one that is still loading its
    /// program is empty, for seconds when the disk is busy: that is no sign that it has ended.
    fn is_starting(&self) -> bool {
        self.recorded().is_some_and(|pid| self.is_left(pid))
    }

    fn not_ready(&self, how: String) -> StackError {
        let tail = log_tail(&self.log, 20);
        StackError::NotReady { part: self.part, how, log: self.log.clone(), tail }
    }
}

/// Whether the condition becomes true within this time.
fn within(wait: Duration, condition: impl Fn() -> bool) -> bool {
    let end = Instant::now() + wait;
    while !condition() {
        if Instant::now() >= end {
            return false;
        }
        std::thread::sleep(POLL);
    }
    true
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// A part in a folder of its own: tests run in parallel, and each removes its folder.
    fn process(pid: &str) -> (PartProcess, PathBuf) {
        static FOLDERS: AtomicU32 = AtomicU32::new(0);
        let (own, number) = (std::process::id(), FOLDERS.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(format!("clicktrail-process-{own}-{number}"));
        std::fs::create_dir_all(&folder).unwrap();
        let pid_file = folder.join("kafka.pid");
        std::fs::write(&pid_file, pid).unwrap();
        // Each test stops all processes with its mark.
        let mark = format!("clicktrail.stack=kafka@{}", folder.display());
        (PartProcess { part: Part::Kafka, pid_file, log: folder.join("log"), mark }, folder)
    }

    #[test]
    fn a_foreign_process_with_a_recorded_pid_is_not_stopped() {
        let mut sleep = Command::new("sleep").arg("30").spawn().unwrap();
        let (part, folder) = process(&sleep.id().to_string());
        assert!(part.running().is_none());
        part.stop(Duration::ZERO).unwrap();
        assert!(sleep.try_wait().unwrap().is_none(), "the sleeper was killed");
        assert!(!part.pid_file.exists());
        sleep.kill().unwrap();
        sleep.wait().unwrap();
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_damaged_pid_file_is_no_process() {
        for text in ["", "x", "-1", "0", "1", "99999999999"] {
            let (part, folder) = process(text);
            assert!(part.running().is_none(), "{text:?}");
            std::fs::remove_dir_all(folder).ok();
        }
    }

    #[test]
    fn a_process_without_a_command_line_is_starting_until_it_has_ended() {
        // A kernel thread has none, as a process that is still loading its program.
        let silent = |pid: &String| {
            let folder = Path::new("/proc").join(pid);
            let line = std::fs::read(folder.join("cmdline"));
            let stat = std::fs::read_to_string(folder.join("stat")).unwrap_or_default();
            // The flags are the ninth field; 0x20_0000 is that of a kernel thread.
            let flags = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(6));
            let flags = flags.and_then(|flags| flags.parse::<u64>().ok()).unwrap_or_default();
            line.is_ok_and(|line| line.is_empty()) && flags & 0x20_0000 != 0
        };
        let pids = std::fs::read_dir("/proc").unwrap().flatten();
        let pids = pids.filter_map(|entry| entry.file_name().into_string().ok());
        let Some(pid) = pids.filter(|pid| pid.parse::<i32>().is_ok()).find(silent) else {
            println!("this machine shows no kernel threads");
            return;
        };
        let (part, folder) = process(&pid);
        assert!(part.running().is_none());
        assert!(part.is_starting());
        std::fs::write(&part.pid_file, "4194305\n").unwrap();
        assert!(!part.is_starting());
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn the_log_says_how_a_process_ended() {
        let (part, folder) = process("0");
        let launch = Launch {
            program: "sh".into(),
            arguments: ["-c", "kill -9 $$", "sh", &part.mark].map(Into::into).to_vec(),
            variables: Vec::new(),
            folder: folder.clone(),
        };
        part.start(&launch).unwrap();
        let said = || std::fs::read_to_string(&part.log).unwrap_or_default().contains("SIGKILL");
        assert!(within(Duration::from_secs(10), said));
        let ended = part.wait(Duration::from_secs(10), &Interrupt::default(), || false);
        assert!(ended.unwrap_err().to_string().contains("SIGKILL"));
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn our_own_process_is_found_and_ended() {
        let (part, folder) = process("0");
        let launch = Launch {
            program: "sh".into(),
            arguments: ["-c", "sleep 60; :", "sh", &part.mark].map(Into::into).to_vec(),
            variables: Vec::new(),
            folder: folder.clone(),
        };
        let pid = part.start(&launch).unwrap();
        assert_eq!(part.running(), Some(pid));
        part.stop(Duration::from_secs(5)).unwrap();
        assert!(part.running().is_none());
        std::fs::remove_dir_all(folder).unwrap();
    }
}
