//! Starts and stops of the stack, also by signals: no process, port or file is left.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use harness::{OwnStack, Signal, get, program, until};
use rustix::process::{Pid, kill_process};
use stack::{Cache, Part, PortChoice, Stack, examine};

/// `long` in `make strain`.
fn either<T>(short: T, long: T) -> T {
    if std::env::var("STRAIN").as_deref() == Ok("long") { long } else { short }
}

/// Processes that have the folder in their command line or in their cookie.
fn processes(folder: &Path) -> Vec<String> {
    let name = folder.display().to_string();
    let line = |entry: std::fs::DirEntry| {
        let line = std::fs::read(entry.path().join("cmdline")).ok()?;
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        let environment = String::from_utf8_lossy(&environment);
        let cookie = environment
            .split('\0')
            .any(|variable| variable.starts_with("STACK_RUN=") && variable.ends_with(&name));
        (line.contains(&name) || cookie).then_some(line)
    };
    std::fs::read_dir("/proc").unwrap().flatten().filter_map(line).collect()
}

/// Ports that the folder records and on which a process listens.
fn held(folder: &Path) -> Vec<u16> {
    let text = std::fs::read_to_string(folder.join("ports")).unwrap_or_default();
    let ports = text.lines().filter_map(|line| line.split_once('=')?.1.parse().ok());
    ports.filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_err()).collect()
}

/// Starts `stack run` in `folder`, with `temporary` as the folder of temporary files.
fn run(folder: &Path, temporary: &Path) -> Child {
    let mut command = Command::new(program("stack"));
    command.arg("--dir").arg(folder).args(["--ports", "auto", "run", "--", "sleep", "300"]);
    command.env("TMPDIR", temporary).env_remove("STACK_RUN");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}

fn signal(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

#[test]
fn an_interrupt_or_a_kill_at_any_stage_of_a_start_leaves_nothing_behind() {
    let stages: &[u64] = either(&[300, 2500], &[50, 300, 800, 1500, 2500, 4000, 6000, 9000, 14000]);
    for kind in [Signal::INT, Signal::KILL] {
        for &stage in stages {
            let place = tempfile::tempdir().unwrap();
            let (folder, temporary) = (place.path().join("stack"), place.path().join("tmp"));
            std::fs::create_dir(&temporary).unwrap();
            let mut child = run(&folder, &temporary);
            std::thread::sleep(Duration::from_millis(stage));
            signal(&child, kind);
            let status = child.wait().unwrap();
            let what = format!("{kind:?} after {stage} ms");
            // After a kill the watcher cleans up, a moment later.
            let began = Instant::now();
            until(&what, || processes(&folder).is_empty().then_some(()));
            assert!(began.elapsed() < Duration::from_secs(20), "{what}");
            assert_eq!(held(&folder), [0; 0], "{what}");
            let left: Vec<_> = std::fs::read_dir(&temporary).unwrap().flatten().collect();
            assert!(left.is_empty(), "{what}: {left:?}");
            println!("{what}: {status}, nothing left after {:?}", began.elapsed());
        }
    }
}

#[test]
fn many_starts_and_stops_leave_no_process_and_no_port() {
    let parts: &[Part] =
        either(&[Part::ClickHouse], &[Part::Kafka, Part::ClickHouse, Part::Registry]);
    let folder = tempfile::tempdir().unwrap();
    let choice = PortChoice { auto: true, ..PortChoice::default() };
    let stack = Stack::open(folder.path(), Cache::shared().unwrap(), choice).unwrap();
    for round in 0..either(3, 10) {
        assert_eq!(stack.up_parts(parts).unwrap(), parts);
        assert!(stack.running().len() == parts.len());
        stack.down().unwrap();
        assert_eq!(processes(stack.folder()), [""; 0], "round {round}");
        assert_eq!(held(stack.folder()), [0; 0], "round {round}");
    }
    assert!(stack.clean(false).unwrap() > 0);
    let left: Vec<_> =
        std::fs::read_dir(folder.path()).unwrap().flatten().map(|e| e.file_name()).collect();
    assert!(left.iter().all(|name| name == "run" || name == ".gitignore"), "{left:?}");
}

#[test]
fn prometheus_and_alertmanager_load_the_shipped_files_and_find_each_other() {
    let own = OwnStack::with_alerts(&[]);
    own.kill(Part::Prometheus).unwrap();
    own.restart(Part::Prometheus).unwrap();
    let env = own.env().unwrap();
    let url = |name: &str| env.iter().find(|(own, _)| *own == name).unwrap().1.clone();
    let (prometheus, alertmanager) = (url("PROMETHEUS_URL"), url("ALERTMANAGER_URL"));
    let api = |path: &str| get(&format!("{prometheus}/api/v1/{path}")).unwrap().body;
    until("Prometheus lists the Alertmanager", || {
        api("alertmanagers").contains(&format!("{alertmanager}/api/v2/alerts")).then_some(())
    });
    assert!(api("rules").contains("DeadLettersOpen"));
    assert!(get(&format!("{alertmanager}/api/v2/status")).unwrap().body.contains("group_by"));
    own.down().unwrap();
    assert_eq!(processes(own.folder()), [""; 0]);
    assert_eq!(held(own.folder()), [0; 0]);
    own.clean(false).unwrap();
    assert!(
        !own.folder().join("prometheus").exists() && !own.folder().join("alertmanager").exists()
    );
}

#[test]
fn two_stacks_are_independent_and_a_running_one_is_not_cleaned() {
    let (one, two) = (OwnStack::of(&[Part::ClickHouse]), OwnStack::of(&[Part::ClickHouse]));
    assert_ne!(one.ports().unwrap(), two.ports().unwrap());
    assert!(one.clean(false).is_err());
    two.down().unwrap();
    let status = one.status().unwrap();
    assert!(status.iter().any(|status| status.part == Part::ClickHouse && status.serves));
    assert_eq!(processes(two.folder()), [""; 0]);
}

#[test]
fn the_doctor_names_each_problem_and_its_fix() {
    let own = OwnStack::of(&[Part::ClickHouse]);
    let wrong = |stack: &Stack| -> Vec<_> {
        examine(stack).into_iter().filter(|finding| finding.fix.is_some()).collect()
    };
    let healthy = wrong(&own);
    assert!(healthy.iter().all(|finding| finding.subject == "memory"), "{healthy:?}");
    // A process that no pid file names is an orphan, and its port is taken by another program.
    std::fs::remove_file(own.folder().join("run").join("clickhouse.pid")).unwrap();
    let problems = wrong(&own);
    for subject in ["process", "port"] {
        assert!(
            problems.iter().any(|finding| finding.subject == subject),
            "no {subject}: {problems:?}"
        );
    }
    let fix = |subject: &str| {
        problems.iter().find(|f| f.subject == subject).unwrap().fix.clone().unwrap()
    };
    assert!(fix("process").starts_with("kill -9 "), "{problems:?}");
}
