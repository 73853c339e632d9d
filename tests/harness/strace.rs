//! The system calls of a process as `strace` records them, in the order of their starts and ends.
//!
//! `strace` stops a thread until it has recorded the call. A call before a notification to another
//! thread is therefore before the calls of that thread here, too.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::child::Child;

/// Bytes of a read from a socket, enough to recognise the statement.
const TEXT_MAX: &str = "4096";

/// A running trace.
#[derive(Debug)]
pub struct Trace {
    strace: Child,
    file: PathBuf,
}

/// The start or the end of a system call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Its name.
    pub name: String,
    /// Its arguments, as far as known at that time; a descriptor is followed by `<path or socket>`.
    pub text: String,
    /// Whether it succeeded; none at its start.
    pub ended: Option<bool>,
}

impl Trace {
    /// Starts to trace `calls` (as `fsync,write`) of all threads of a process.
    ///
    /// # Panics
    /// When that is not possible here.
    pub fn attach(pid: i32, calls: &str, file: &Path) -> Self {
        let calls = format!("trace={calls}");
        let strace = strace(pid, &["-f", "-y", "-s", TEXT_MAX, "-e", &calls], file);
        Self { strace, file: file.to_owned() }
    }

    /// Starts to trace all calls of one thread.
    ///
    /// # Panics
    /// When that is not possible here.
    pub fn of_thread(thread: i32, file: &Path) -> Self {
        let strace = strace(thread, &["-s", TEXT_MAX], file);
        Self { strace, file: file.to_owned() }
    }

    /// Stops the trace; the process continues.
    ///
    /// # Panics
    /// When the trace cannot be read.
    pub fn stop(mut self) -> Vec<Call> {
        self.strace.stop();
        let text = std::fs::read(&self.file).expect("strace has written its file");
        calls(&String::from_utf8_lossy(&text))
    }
}

/// Kills a process when one of its threads starts a certain system call.
#[derive(Debug)]
pub struct Kill {
    _strace: Child,
}

impl Kill {
    /// Kills the process of a thread when the thread starts its `number`th `call` from now on.
    ///
    /// # Panics
    /// When that is not possible here.
    pub fn at(thread: i32, call: &str, number: u32, file: &Path) -> Self {
        let inject = format!("inject={call}:signal=KILL:when={number}");
        Self { _strace: strace(thread, &["-e", &inject], file) }
    }
}

/// Starts `strace`, and waits until it has attached itself.
fn strace(pid: i32, args: &[&str], file: &Path) -> Child {
    let found = Command::new("strace").arg("-V").output();
    assert!(found.is_ok(), "strace is not installed: run ./prerequisites.sh");
    let mut command = Command::new("strace");
    command.args(args).args(["-p", &pid.to_string(), "-o"]).arg(file);
    let mut strace = Child::start(command, file.with_extension("strace"));
    let mut refused = None;
    crate::wait::until("strace has attached itself", || {
        refused = strace.ended();
        (refused.is_some() || strace.log().contains("attached")).then_some(())
    });
    assert!(
        refused.is_none(),
        "strace may not trace process {pid} (ptrace must be permitted to run this test): {}",
        strace.log()
    );
    strace
}

impl Call {
    /// The path or socket of its first argument, a descriptor.
    pub fn of(&self) -> &str {
        let inner = self.text.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
        inner.map_or("", |(what, _)| what)
    }

    /// Its arguments that are strings.
    pub fn strings(&self) -> impl Iterator<Item = &str> {
        self.text.split('"').skip(1).step_by(2)
    }
}

fn calls(text: &str) -> Vec<Call> {
    let mut calls = Vec::new();
    let mut open: HashMap<&str, (String, String)> = HashMap::new();
    for line in text.lines() {
        // For a single thread strace prints no thread id.
        let (thread, rest) = match line.split_once(char::is_whitespace) {
            Some((thread, rest)) if thread.parse::<u32>().is_ok() => (thread, rest.trim_start()),
            _ => ("", line),
        };
        if let Some(rest) = rest.strip_prefix("<... ") {
            let Some((_, rest)) = rest.split_once(" resumed>") else { continue };
            let Some((name, began)) = open.remove(thread) else { continue };
            let ended = Some(!rest.contains(" = -1 "));
            calls.push(Call { name, text: began + rest, ended });
            continue;
        }
        let Some((name, rest)) = rest.split_once('(') else { continue };
        let (name, unfinished) = (name.to_owned(), rest.strip_suffix(" <unfinished ...>"));
        let text = unfinished.unwrap_or(rest).to_owned();
        calls.push(Call { name: name.clone(), text: text.clone(), ended: None });
        if unfinished.is_some() {
            open.insert(thread, (name, text));
        } else {
            let ended = Some(!text.contains(" = -1 "));
            calls.push(Call { name, text, ended });
        }
    }
    calls
}

#[cfg(test)]
mod tests {
    use super::calls;

    #[test]
    fn an_interrupted_system_call_is_joined() {
        let text = "7 fdatasync(3</d/a> <unfinished ...>\n8 rename(\"/a\", \"/b\") = 0\n\
                    7 <... fdatasync resumed>) = -1 EIO (Input/output error)\n";
        let calls = calls(text);
        let ended: Vec<_> = calls.iter().map(|call| (call.name.as_str(), call.ended)).collect();
        let expected = [
            ("fdatasync", None),
            ("rename", None),
            ("rename", Some(true)),
            ("fdatasync", Some(false)),
        ];
        assert_eq!(ended, expected);
        assert_eq!((calls[0].of(), calls[3].of()), ("/d/a", "/d/a"));
        assert_eq!(calls[1].strings().collect::<Vec<_>>(), ["/a", "/b"]);
    }

    #[test]
    fn system_calls_of_a_single_thread_are_read_without_a_thread_id() {
        let calls = calls("--- stopped by SIGSTOP ---\nfcntl(14, F_SETLK) = 0\n");
        assert_eq!(calls[1].name, "fcntl");
        assert_eq!((calls.len(), calls[1].ended), (2, Some(true)));
    }
}
