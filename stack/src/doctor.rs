//! Looks for what keeps a stack from running, and says of each finding how to mend it.
//! Changes nothing.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

use crate::error::StackError;
use crate::fetch::{self, Kit};
use crate::part::Part;
use crate::ports::Brokers;
use crate::process::{command_line, processes};
use crate::stack::Stack;

/// A stack's data, logs and results on their way, with room to work.
const DISK_BYTES: u64 = 2 << 30;
/// The downloads, packed and unpacked.
const CACHE_BYTES: u64 = 3 << 29;
/// Broker, registry and engine at rest, with room for a query.
const MEMORY_BYTES: u64 = 2 << 30;
/// What two more brokers take.
const BROKERS_BYTES: u64 = 1 << 30;
/// What begins every part's mark.
const MARK: &str = "clicktrail.stack=";

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What it is about: one word.
    pub about: &'static str,
    /// What was seen.
    pub seen: String,
    /// The command that mends it; none where nothing is wrong.
    pub mend: Option<String>,
}

impl Finding {
    fn fine(about: &'static str, seen: impl Into<String>) -> Self {
        Self { about, seen: seen.into(), mend: None }
    }

    fn wrong(about: &'static str, seen: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { about, seen: seen.into(), mend: Some(mend.into()) }
    }
}

/// Looks at everything.
pub fn examine(stack: &Stack) -> Vec<Finding> {
    let mut findings = prerequisites();
    findings.push(disk(stack.folder(), DISK_BYTES));
    if !Kit::in_cache(stack.cache()).is_complete() {
        findings.push(disk(&existing(stack.cache().root()), CACHE_BYTES));
    }
    findings.extend(small_disks(stack));
    let three = stack.ports().is_ok_and(|ports| ports.brokers() == Brokers::Three);
    findings.push(memory(MEMORY_BYTES + if three { BROKERS_BYTES } else { 0 }));
    findings.extend(ports(stack));
    findings.extend(cache(stack));
    findings.extend(left_over(stack));
    findings
}

fn prerequisites() -> Vec<Finding> {
    let found = |outcome: Result<String, StackError>| match outcome {
        Ok(version) => Finding::fine("program", version),
        Err(StackError::Prerequisite { what, package }) => {
            let mend = format!("apt-get install -y {package}");
            Finding::wrong("program", format!("{what} is missing"), mend)
        }
        Err(error) => Finding::wrong("program", error.to_string(), "see the text"),
    };
    fetch::prerequisites().into_iter().map(found).collect()
}

fn disk(folder: &Path, needed: u64) -> Finding {
    let Ok(stat) = rustix::fs::statvfs(folder) else {
        return Finding::wrong(
            "disk",
            format!("{} cannot be looked at", folder.display()),
            format!("mkdir -p {}", folder.display()),
        );
    };
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    let seen = format!("{} free under {}", megabytes(free), folder.display());
    if free >= needed {
        return Finding::fine("disk", seen);
    }
    Finding::wrong("disk", format!("{seen}, {} wanted", megabytes(needed)), "stack clean")
}

fn small_disks(stack: &Stack) -> Vec<Finding> {
    let look = |part: Part| {
        let room = stack.disk_room(part)?;
        let seen = format!("{part} stands on a small disk: {room}");
        Some(match room.used < room.limit {
            true => Finding::fine("disk", seen),
            false => Finding::wrong("disk", seen, format!("stack disk {part} free")),
        })
    };
    Part::ALL.into_iter().filter_map(look).collect()
}

fn memory(needed: u64) -> Finding {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let Some(free) = available(&text) else {
        return Finding::fine("memory", "not known on this machine");
    };
    let seen = format!("{} available", megabytes(free));
    if free >= needed {
        return Finding::fine("memory", seen);
    }
    let mend = "ps -eo pid,rss,args --sort=-rss | head";
    Finding::wrong("memory", format!("{seen}, {} wanted", megabytes(needed)), mend)
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
            return vec![Finding::wrong("port", error.to_string(), "stack --ports auto up")];
        }
    };
    let running = stack.running();
    let look = |part: Part| {
        let taken = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_err();
        let held: Vec<u16> = ports.of(part).into_iter().filter(taken).collect();
        match (running.contains(&part), held.first()) {
            (true, Some(_)) => {
                Finding::fine("port", format!("{part} listens on {}", ports.address(part)))
            }
            (true, None) => Finding::wrong(
                "port",
                format!("{part} runs and does not listen"),
                format!("stack restart {part}"),
            ),
            (false, None) => {
                Finding::fine("port", format!("{} is free for {part}", ports.address(part)))
            }
            (false, Some(port)) => Finding::wrong(
                "port",
                format!("another program has port {port}, which {part} wants"),
                format!("ss -ltnp 'sport = :{port}'; or stack --ports auto up"),
            ),
        }
    };
    Part::ALL.into_iter().filter(|part| ports.has(*part)).map(look).collect()
}

fn cache(stack: &Stack) -> Vec<Finding> {
    let root = stack.cache().root().display().to_string();
    if !Kit::in_cache(stack.cache()).is_complete() {
        return vec![Finding::wrong("cache", format!("{root} is not complete"), "stack fetch")];
    }
    let checked = |(name, outcome): (&str, Result<(), StackError>)| match outcome {
        Ok(()) => Finding::fine("cache", format!("{name}: checksums right")),
        Err(error) => Finding::wrong(
            "cache",
            format!("{name}: {error}"),
            "stack clean --cache && stack fetch",
        ),
    };
    Kit::check(stack.cache()).into_iter().map(checked).collect()
}

/// Processes of stacks whose folder is gone, and of this one that no pid file names.
fn left_over(stack: &Stack) -> Vec<Finding> {
    let ours = stack.pids();
    let mut findings = Vec::new();
    for pid in processes(|_| true) {
        let Some(mark) = mark(&command_line(pid)) else { continue };
        let Some((part, folder)) = mark.split_once('@') else { continue };
        let (pid, folder) = (pid.as_raw_nonzero().get(), PathBuf::from(folder));
        let why = match (folder.is_dir(), folder == stack.folder()) {
            (false, _) => "its folder is gone",
            (true, true) if !ours.contains(&pid) => "no pid file names it",
            (true, _) => continue,
        };
        let seen = format!("process {pid} is a {part} of {}: {why}", folder.display());
        findings.push(Finding::wrong("process", seen, format!("kill -9 {pid}")));
    }
    if findings.is_empty() {
        findings.push(Finding::fine("process", "none is left over"));
    }
    findings
}

/// The part and folder that a command line bears.
fn mark(command_line: &[u8]) -> Option<String> {
    let arguments = command_line.split(|&byte| byte == 0).map(String::from_utf8_lossy);
    let marked = |argument: std::borrow::Cow<'_, str>| {
        let mark = argument.strip_prefix("-D").unwrap_or(&argument).strip_prefix(MARK);
        mark.map(str::to_owned)
    };
    arguments.filter_map(marked).next()
}

/// The folder, or the nearest one above it that is there.
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
    fn a_mark_is_found_where_java_and_we_put_it() {
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
