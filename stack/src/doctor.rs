//! Checks what a stack needs to run, and names the fix of each problem. Changes nothing.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

use crate::error::StackError;
use crate::fetch::Downloads;
use crate::part::Part;
use crate::ports::Brokers;
use crate::process_table::{command_line, processes};
use crate::stack::Stack;
use crate::{alertmanager, prerequisites, prometheus};

/// A stack's data, logs and results that are not sent yet, with a margin.
const DISK_BYTES: u64 = 2 << 30;
/// The downloads, compressed and extracted.
const CACHE_BYTES: u64 = 3 << 29;
/// Broker, registry and engine at rest, with a margin for a query.
const MEMORY_BYTES: u64 = 2 << 30;
/// What two more brokers need.
const BROKERS_BYTES: u64 = 1 << 30;
/// The beginning of every part's mark.
const MARK: &str = "clicktrail.stack=";

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The subject, in one word.
    pub subject: &'static str,
    /// What was observed.
    pub observed: String,
    /// The command that fixes it; none where nothing is wrong.
    pub fix: Option<String>,
}

impl Finding {
    fn good(subject: &'static str, observed: impl Into<String>) -> Self {
        Self { subject, observed: observed.into(), fix: None }
    }

    fn bad(subject: &'static str, observed: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { subject, observed: observed.into(), fix: Some(fix.into()) }
    }
}

/// Runs all checks.
pub fn examine(stack: &Stack) -> Vec<Finding> {
    let mut findings = prerequisites(stack);
    findings.push(disk(stack.folder(), DISK_BYTES));
    if !Downloads::in_cache(stack.cache()).is_complete() {
        findings.push(disk(&existing(stack.cache().root()), CACHE_BYTES));
    }
    findings.extend(small_disks(stack));
    let three = stack.ports().is_ok_and(|ports| ports.brokers() == Brokers::Three);
    findings.push(memory(MEMORY_BYTES + if three { BROKERS_BYTES } else { 0 }));
    findings.extend(ports(stack));
    findings.extend(cache(stack));
    findings.extend(orphans(stack));
    findings
}

fn prerequisites(stack: &Stack) -> Vec<Finding> {
    let found = |outcome: Result<String, StackError>| match outcome {
        Ok(version) => Finding::good("program", version),
        Err(StackError::Prerequisite { what, package }) => {
            let fix = format!("apt-get install -y {package}");
            Finding::bad("program", format!("{what} is missing"), fix)
        }
        Err(error) => Finding::bad("program", error.to_string(), "see the observation"),
    };
    let has = |part| stack.ports().is_ok_and(|ports| ports.has(part));
    let mut programs = prerequisites::all();
    programs.extend(has(Part::Alertmanager).then(alertmanager::program));
    programs.extend(has(Part::Prometheus).then(prometheus::program));
    programs.into_iter().map(found).collect()
}

fn disk(folder: &Path, needed: u64) -> Finding {
    let Ok(stat) = rustix::fs::statvfs(folder) else {
        return Finding::bad(
            "disk",
            format!("{} cannot be read", folder.display()),
            format!("mkdir -p {}", folder.display()),
        );
    };
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    let observed = format!("{} free under {}", megabytes(free), folder.display());
    if free >= needed {
        return Finding::good("disk", observed);
    }
    Finding::bad("disk", format!("{observed}, {} needed", megabytes(needed)), "stack clean")
}

fn small_disks(stack: &Stack) -> Vec<Finding> {
    let check = |part: Part| {
        let usage = stack.disk_usage(part)?;
        let observed = format!("{part} has a small disk: {usage}");
        Some(if usage.used < usage.limit {
            Finding::good("disk", observed)
        } else {
            Finding::bad("disk", observed, format!("stack disk {part} free"))
        })
    };
    Part::ALL.into_iter().filter_map(check).collect()
}

fn memory(needed: u64) -> Finding {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let Some(free) = available(&text) else {
        return Finding::good("memory", "not known on this machine");
    };
    let observed = format!("{} available", megabytes(free));
    if free >= needed {
        return Finding::good("memory", observed);
    }
    let fix = "ps -eo pid,rss,args --sort=-rss | head";
    Finding::bad("memory", format!("{observed}, {} needed", megabytes(needed)), fix)
}

/// Reads `/proc/meminfo`.
fn available(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kibibytes| kibibytes << 10)
}

fn ports(stack: &Stack) -> Vec<Finding> {
    let ports = match stack.ports() {
        Ok(ports) => ports,
        Err(error) => {
            return vec![Finding::bad("port", error.to_string(), "stack --ports auto up")];
        }
    };
    let running = stack.running();
    let check = |part: Part| {
        let taken = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_err();
        let held: Vec<u16> = ports.of(part).into_iter().filter(taken).collect();
        match (running.contains(&part), held.first()) {
            (true, Some(_)) => {
                Finding::good("port", format!("{part} listens on {}", ports.address(part)))
            }
            (true, None) => Finding::bad(
                "port",
                format!("{part} runs and does not listen"),
                format!("stack restart {part}"),
            ),
            (false, None) => {
                Finding::good("port", format!("{} is free for {part}", ports.address(part)))
            }
            (false, Some(port)) => Finding::bad(
                "port",
                format!("another program has port {port}, which {part} needs"),
                format!("ss -ltnp 'sport = :{port}'; or stack --ports auto up"),
            ),
        }
    };
    Part::ALL.into_iter().filter(|part| ports.has(*part)).map(check).collect()
}

fn cache(stack: &Stack) -> Vec<Finding> {
    let root = stack.cache().root().display().to_string();
    if !Downloads::in_cache(stack.cache()).is_complete() {
        return vec![Finding::bad("cache", format!("{root} is not complete"), "stack fetch")];
    }
    let checked = |(name, outcome): (&str, Result<(), StackError>)| match outcome {
        Ok(()) => Finding::good("cache", format!("{name}: checksums match")),
        Err(error) => {
            Finding::bad("cache", format!("{name}: {error}"), "stack clean --cache && stack fetch")
        }
    };
    Downloads::check(stack.cache()).into_iter().map(checked).collect()
}

/// Processes of stacks whose folder was removed, and of this one that no pid file names.
fn orphans(stack: &Stack) -> Vec<Finding> {
    let ours = stack.pids();
    let mut findings = Vec::new();
    for pid in processes(|_| true) {
        let Some(mark) = mark(&command_line(pid)) else { continue };
        let Some((part, folder)) = mark.split_once('@') else { continue };
        let (pid, folder) = (pid.as_raw_nonzero().get(), PathBuf::from(folder));
        let why = match (folder.is_dir(), folder == stack.folder()) {
            (false, _) => "its folder was removed",
            (true, true) if !ours.contains(&pid) => "no pid file names it",
            (true, _) => continue,
        };
        let observed = format!("process {pid} is a {part} of {}: {why}", folder.display());
        findings.push(Finding::bad("process", observed, format!("kill -9 {pid}")));
    }
    if findings.is_empty() {
        findings.push(Finding::good("process", "no orphan"));
    }
    findings
}

/// The part and folder in the mark of a command line.
fn mark(command_line: &[u8]) -> Option<String> {
    let arguments = command_line.split(|&byte| byte == 0).map(String::from_utf8_lossy);
    let marked = |argument: std::borrow::Cow<'_, str>| {
        let mark = argument.strip_prefix("-D").unwrap_or(&argument).strip_prefix(MARK);
        mark.map(str::to_owned)
    };
    arguments.filter_map(marked).next()
}

/// The folder, or the nearest one above it that exists.
fn existing(folder: &Path) -> PathBuf {
    folder.ancestors().find(|folder| folder.is_dir()).unwrap_or(folder).to_owned()
}

fn megabytes(bytes: u64) -> String {
    format!("{} MB", bytes / 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_found_in_the_command_lines_of_java_and_stack() {
        let java = b"java\0-Dclicktrail.stack=kafka@/a/.stack\0-cp\0x\0";
        assert_eq!(mark(java).as_deref(), Some("kafka@/a/.stack"));
        assert_eq!(
            mark(b"stack\0front\0--mark\0clicktrail.stack=clickhouse@/b\0").as_deref(),
            Some("clickhouse@/b")
        );
        assert_eq!(mark(b"grep\0for clicktrail.stack=kafka@/a\0"), None);
    }

    #[test]
    fn memory_is_read_from_its_line() {
        assert_eq!(available("MemTotal: 9 kB\nMemAvailable:    2048 kB\n"), Some(2 << 20));
        assert_eq!(available(""), None);
    }
}
