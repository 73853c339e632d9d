//! A process under test: its output is captured, and it ends with its test at the latest.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::wait::{until, until_within};

/// Lines of the log that a failed test prints.
const TAIL: usize = 40;

/// A running program.
#[derive(Debug)]
pub struct Child {
    name: String,
    process: std::process::Child,
    out: PathBuf,
    err: PathBuf,
    ended: Option<ExitStatus>,
}

/// How a program ended, and its output.
#[derive(Debug)]
pub struct Exit {
    /// Exit code; none after a signal.
    pub code: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

/// The numbers of a line such as `import: lines=3 clicks=2`.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary(BTreeMap<String, f64>);

impl Child {
    /// Starts `command`, whose output goes to files named after `log`.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(mut command: Command, log: PathBuf) -> Self {
        let (out, err) = (log.with_extension("out"), log.with_extension("err"));
        let file = |path: &PathBuf| File::create(path).expect("a log file can be made");
        command.stdin(Stdio::null()).stdout(file(&out)).stderr(file(&err));
        let name = format!("{command:?}").split(' ').next_back().unwrap_or_default().to_owned();
        let program = command.get_program().to_string_lossy().into_owned();
        let process = command.spawn().unwrap_or_else(|error| panic!("{program}: {error}"));
        Self { name: format!("{program} … {name}"), process, out, err, ended: None }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Its standard error so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.err).unwrap_or_default()).into_owned()
    }

    /// Its standard output so far.
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.out).unwrap_or_default()).into_owned()
    }

    /// Calls `check` until it returns a value, while the program runs.
    ///
    /// # Panics
    /// When the program ends first, or after the patience of [`until`].
    pub fn until<T>(&mut self, what: &str, mut check: impl FnMut() -> Option<T>) -> T {
        let answer = until(what, || match check() {
            Some(answer) => Some(Ok(answer)),
            None if self.poll().is_some() => Some(Err(())),
            None => None,
        });
        answer.unwrap_or_else(|()| panic!("{} ended while waiting: {what}", self.name))
    }

    /// Sends SIGKILL, as a crash; returns after the program has ended.
    pub fn crash(&mut self) {
        self.process.kill().expect("a child can be killed");
        self.end();
    }

    /// Sends SIGTERM and waits for the end.
    pub fn stop(&mut self) -> Exit {
        self.signal(Signal::TERM);
        self.end()
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// When the program has ended.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.expect("a process has an id"), signal).expect("the program runs");
    }

    /// Whether it is stopped by SIGSTOP.
    pub fn is_stopped(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id()));
        stat.is_ok_and(|stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T')))
    }

    /// The id of its thread with this name, if any.
    pub fn thread(&self, name: &str) -> Option<i32> {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.process.id())).ok()?;
        threads.flatten().find_map(|thread| {
            let own = std::fs::read_to_string(thread.path().join("comm")).ok()?;
            (own.trim_end() == name).then(|| thread.file_name().to_str()?.parse().ok())?
        })
    }

    /// Its resident memory in KiB; none after its end.
    pub fn memory_kib(&self) -> Option<u64> {
        self.status_kib("VmRSS:")
    }

    /// Its peak resident memory in KiB; none after its end.
    pub fn memory_peak_kib(&self) -> Option<u64> {
        self.status_kib("VmHWM:")
    }

    fn status_kib(&self, name: &str) -> Option<u64> {
        let path = format!("/proc/{}/status", self.process.id());
        let status = std::fs::read_to_string(path).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix(" kB")?.parse().ok()
    }

    /// Its exit code if it has ended; the inner value is none after a signal.
    pub fn ended(&mut self) -> Option<Option<i32>> {
        self.poll().map(|status| status.code())
    }

    /// Waits for its end.
    pub fn end(&mut self) -> Exit {
        let what = format!("the end of {}", self.name);
        let status = until(&what, || self.poll());
        self.exit(status)
    }

    /// Like [`Child::end`], for a program that may take longer.
    pub fn end_within(&mut self, patience: Duration) -> Exit {
        let what = format!("the end of {}", self.name);
        let status = until_within(patience, &what, || self.poll());
        self.exit(status)
    }

    fn exit(&self, status: ExitStatus) -> Exit {
        let read = |path: &PathBuf| {
            String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
        };
        Exit { code: status.code(), out: read(&self.out), err: read(&self.err) }
    }

    fn poll(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.process.try_wait().expect("a child can be waited for");
        }
        self.ended
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.poll().is_none() {
            self.process.kill().ok();
            self.process.wait().ok();
        }
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<_> = log.lines().collect();
            let tail = &lines[lines.len().saturating_sub(TAIL)..];
            eprintln!("--- end of the log of {}\n{}", self.name, tail.join("\n"));
        }
    }
}

impl Exit {
    /// The numbers of the output line that starts with `word` and a colon.
    ///
    /// # Panics
    /// When there is none.
    pub fn summary(&self, word: &str) -> Summary {
        let line =
            self.out.lines().rev().find_map(|line| line.strip_prefix(word)?.strip_prefix(':'));
        let line = line.unwrap_or_else(|| panic!("no line `{word}: …` in {self:?}"));
        let pairs = line.split_whitespace().filter_map(|word| word.split_once('='));
        Summary(
            pairs
                .filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)))
                .collect(),
        )
    }

    /// Returns itself if the exit code is `code`.
    ///
    /// # Panics
    /// With the whole output, if the exit code differs.
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        self
    }
}

impl Summary {
    /// A number by its name.
    ///
    /// # Panics
    /// When it is not there.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts of a test")]
    pub fn get(&self, name: &str) -> u64 {
        *self.0.get(name).unwrap_or_else(|| panic!("no {name} in {self:?}")) as u64
    }
}
