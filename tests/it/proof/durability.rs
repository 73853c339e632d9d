//! By system-call trace: an insert is acknowledged only after its data files and the directory of its
//! part are synced.
//!
//! The test also requires that the check fails on a table without syncs, for each setting.

use std::collections::BTreeMap;

use harness::{Backends, Call, OwnStack, Raw, Trace, World};
use schemas::bounds::DAY_US;
use schemas::{Encoder, RawClick};
use stack::Part;
use uuid::Uuid;

const CALLS: &str = "openat,rename,renameat,renameat2,fsync,fdatasync,write,pwrite64,writev,\
                     sendto,sendmsg,recvfrom,recvmsg,read,readv";
/// Inserts one after another, so that all calls between request and response are of one insert.
const INSERTS: usize = 3;
/// Clicks of different days, and so the parts, of each insert.
const PARTS: i64 = 2;

/// Files without a sync at the acknowledgement of an insert.
#[derive(Debug, Default)]
struct Acknowledged {
    parts: usize,
    files: usize,
    unsynced_files: Vec<String>,
    unsynced_directories: Vec<String>,
}

/// The last change of a file or directory in the trace, and the start of the last sync that has ended
/// since.
#[derive(Debug, Default)]
struct Age {
    changed: usize,
    synced: usize,
}

impl Age {
    fn is_synced(&self) -> bool {
        self.synced > self.changed
    }
}

/// Every acknowledged insert of a trace. Places in the trace are counted from 1.
fn acknowledged(calls: &[Call]) -> Vec<Acknowledged> {
    let mut ages: BTreeMap<String, Age> = BTreeMap::new();
    let mut syncs: BTreeMap<&str, usize> = BTreeMap::new();
    // By socket: where its insert came in.
    let mut requests: BTreeMap<&str, usize> = BTreeMap::new();
    // Where a part was renamed, its old name and its new name.
    let mut renamed: Vec<(usize, String, String)> = Vec::new();
    let mut inserts = Vec::new();
    for (at, call) in (1..).zip(calls) {
        let (of, new) = (call.of(), call.text.contains("O_CREAT"));
        match (call.name.as_str(), call.ended) {
            ("fsync" | "fdatasync", None) => {
                syncs.insert(of, at);
            }
            ("fsync" | "fdatasync", Some(true)) => {
                ages.entry(of.to_owned()).or_default().synced = syncs[of];
            }
            ("rename" | "renameat" | "renameat2", Some(true)) => {
                let mut names = call.strings().map(|name| name.trim_end_matches('/').to_owned());
                if let (Some(from), Some(to)) = (names.next(), names.next())
                    && from.contains("/tmp_insert_")
                {
                    ages.entry(to.clone()).or_default().changed = at;
                    renamed.push((at, from, to));
                }
            }
            ("openat", Some(true)) if new => {
                let path = call.strings().next().unwrap_or_default();
                ages.entry(path.to_owned()).or_default().changed = at;
            }
            ("write" | "pwrite64" | "writev", Some(_)) if of.starts_with('/') => {
                ages.entry(of.to_owned()).or_default().changed = at;
            }
            ("recvfrom" | "recvmsg" | "read" | "readv", Some(true)) if is_insert(call) => {
                requests.insert(of, at);
            }
            ("write" | "writev" | "sendto" | "sendmsg", None) if is_success(call) => {
                if let Some(since) = requests.remove(of) {
                    let parts = renamed.iter().filter(|(when, ..)| *when > since);
                    inserts.push(seen(parts, &ages));
                }
            }
            _ => {}
        }
    }
    inserts
}

fn is_insert(call: &Call) -> bool {
    let text = &call.text;
    call.of().starts_with("socket:")
        && text.contains("INSERT")
        && text.contains("INTO")
        && text.contains("click_versions")
}

fn is_success(call: &Call) -> bool {
    call.of().starts_with("socket:") && call.text.contains("HTTP/1.1 200")
}

fn seen<'p>(
    parts: impl Iterator<Item = &'p (usize, String, String)>,
    ages: &BTreeMap<String, Age>,
) -> Acknowledged {
    let mut seen = Acknowledged::default();
    for (_, before, name) in parts {
        seen.parts += 1;
        let inside = format!("{before}/");
        for (path, age) in ages.iter().filter(|(path, _)| path.starts_with(&inside)) {
            seen.files += 1;
            if !age.is_synced() {
                seen.unsynced_files.push(path.clone());
            }
        }
        if !ages[name].is_synced() {
            seen.unsynced_directories.push(name.clone());
        }
    }
    seen
}

/// One insert: a click of each day.
fn produce(world: &World) {
    let encoder = Encoder::new(world.schema_id());
    let now = jiff::Timestamp::now().as_microsecond();
    let record = |day| {
        let click = RawClick::new(Uuid::now_v7(), now - day * DAY_US, "a");
        let mut value = Vec::new();
        encoder.encode(&click, &mut value).unwrap();
        Raw { value: Some(value), ..Raw::default() }
    };
    world.kafka.produce(&world.topic, &(0..PARTS).map(record).collect::<Vec<_>>());
}

#[test]
fn no_insert_is_acknowledged_before_its_files_and_its_directory_are_synced() {
    let stack = OwnStack::up();
    let world = World::on(Backends::on(&stack), "durability");
    world.setup();
    let status = stack.status().unwrap();
    let engine = status.iter().find(|status| status.part == Part::ClickHouse).unwrap();
    let mut processors = world.processors(&[], &[]);
    // First with the settings of setup; then altered, to check that the trace shows it.
    for (files, directory) in [(1, 1), (1, 0), (0, 1), (0, 0)] {
        let settings = format!("fsync_after_insert={files}, fsync_part_directory={directory}");
        if files + directory < 2 {
            world.query(&format!("ALTER TABLE click_versions MODIFY SETTING {settings}"));
        }
        let file = world.folder().join(format!("trace-{files}{directory}"));
        let trace = Trace::attach(engine.pid.unwrap(), CALLS, &file);
        for _ in 0..INSERTS {
            produce(&world);
            processors.until_caught_up(&world);
        }
        let inserts = acknowledged(&trace.stop());
        assert!(inserts.len() >= INSERTS, "{inserts:#?}");
        for insert in &inserts {
            assert_eq!(insert.parts, usize::try_from(PARTS).unwrap(), "{insert:#?}");
            assert!(insert.files >= 4 * insert.parts, "{insert:#?}");
            let unsynced = (insert.unsynced_files.len(), insert.unsynced_directories.len());
            let files = if files == 1 { 0 } else { insert.files };
            let directories = if directory == 1 { 0 } else { insert.parts };
            assert_eq!(unsynced, (files, directories), "{insert:#?}");
            println!("{settings}: of {} files {} unsynced", insert.files, unsynced.0);
        }
    }
    processors.stop().expect_code(0);
}
