//! The processes of this machine as `/proc` lists them, and the marks in their command lines.

use std::path::Path;
use std::time::Duration;

use rustix::process::Pid;

/// Whether the process's command line has `mark`; `None` if it has no command line.
pub(crate) fn has_mark(pid: Pid, mark: &str) -> Option<bool> {
    let path = format!("/proc/{}/cmdline", pid.as_raw_nonzero());
    // There is none for a moment while a process loads its program, and none any more
    // once it is ending.
    for _ in 0..50 {
        let line = std::fs::read(&path).ok()?;
        if !line.is_empty() {
            return Some(contains_mark(&line, mark));
        }
        if !is_alive(pid) {
            return None;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    None
}

/// Every process whose command line has `mark`.
pub(crate) fn with_mark(mark: &str) -> Vec<Pid> {
    processes(|folder| {
        contains_mark(&std::fs::read(folder.join("cmdline")).unwrap_or_default(), mark)
    })
}

/// A process's arguments, a zero byte after each.
pub(crate) fn command_line(pid: Pid) -> Vec<u8> {
    std::fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default()
}

/// Every process whose folder in `/proc` matches.
pub(crate) fn processes(matches: impl Fn(&Path) -> bool) -> Vec<Pid> {
    let pid = |entry: std::fs::DirEntry| {
        let raw = entry.file_name().to_str()?.parse().ok()?;
        matches(&entry.path()).then(|| Pid::from_raw(raw))?
    };
    std::fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(pid).collect()
}

/// Whether any thread of the process is left; as long as one is, its ports and files are open.
pub(crate) fn is_alive(pid: Pid) -> bool {
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

fn contains_mark(command_line: &[u8], mark: &str) -> bool {
    command_line.split(|&byte| byte == 0).any(|argument| argument.ends_with(mark.as_bytes()))
}

/// Whether the process is stopped by a signal.
pub(crate) fn is_stopped(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    stat.is_ok_and(|stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_must_end_an_argument() {
        let line = b"java\0-Dclicktrail.stack=kafka@/a/.stack\0-cp\0x\0";
        assert!(contains_mark(line, "clicktrail.stack=kafka@/a/.stack"));
        assert!(!contains_mark(line, "clicktrail.stack=kafka@/a"));
        assert!(!contains_mark(b"", "clicktrail.stack=kafka@/a"));
    }

    #[test]
    fn a_zombie_is_dead_whatever_its_name() {
        let stat = |name: &str, state: &str, threads: u32| {
            format!("12 ({name}) {state} 1 12 12 0 -1 4 0 0 0 0 0 0 0 0 20 0 {threads} 0 99 0 0")
        };
        assert!(is_dead(&stat("sleep", "Z", 1)));
        assert!(!is_dead(&stat("java", "Z", 7)), "other threads still hold the ports");
        assert!(!is_dead(&stat("a) Z b", "S", 1)));
        assert!(is_dead(""));
    }
}
