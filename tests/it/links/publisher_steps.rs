//! The relay of links, killed at each system call of its loop.
//!
//! The program has no code for this test. `strace` records one round; then the test kills a process at
//! each call of the round: the query of the database, the hand-over to Kafka's client, the deletion of
//! published changes, the commit. Between its calls a thread only computes, so that no other moment
//! differs from outside.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use harness::{Call, Kill, OwnPostgres, Server, Signal, Trace, World, until};
use producer::links::link_entry::LinkEntry;
use producer::links::store::Store;
use producer::links::store_location::StoreLocation;

use crate::links::hosts::topic;

const LINKS: u32 = 3;
/// The time of ten rounds.
const PATIENCE: Duration = Duration::from_secs(2);
const BEAT: Duration = Duration::from_millis(10);
/// Calls that only allocate memory or wait. A message that is sent before such a call and received after
/// it is also in flight when the process dies at the receiving call.
const NOTHING: [&str; 6] =
    ["epoll_wait", "futex", "madvise", "mprotect", "mmap", "restart_syscall"];
/// A wait for the broker, of this number of its steps of 2 ms.
const WAITS: [u32; 4] = [1, 2, 4, 8];

#[test]
fn a_relay_killed_at_each_system_call_loses_and_reverts_no_change() {
    let world = World::new("steps");
    let store = world.folder().join("links.db").display().to_string();
    killed_at_each_call(&world, &store);
}

#[test]
fn a_postgresql_relay_killed_at_each_system_call_loses_and_reverts_no_change() {
    let server = OwnPostgres::up();
    killed_at_each_call(&World::new("pg_steps"), &server.url());
}

/// The state after a kill.
#[derive(Debug, Default)]
struct Left {
    unpublished: u32,
    published_and_waiting: u32,
    done: u32,
    /// A round with fewer calls.
    none: u32,
}

fn killed_at_each_call(world: &World, place: &str) {
    world.setup();
    let mut store = Store::open(&place.parse::<StoreLocation>().unwrap()).unwrap();
    let steps = round(world, place, &mut store);
    println!("a round: {steps:?}");
    let mut left = Left::default();
    for (call, count) in &steps {
        for number in 1..=*count {
            kill(world, place, &mut store, (call, number), &mut left);
        }
    }
    for number in WAITS {
        kill(world, place, &mut store, ("futex", number), &mut left);
    }
    println!("{left:?}");
    assert!(left.none < 4, "{left:?}");
    assert!(left.unpublished > 3 && left.published_and_waiting > 3 && left.done > 0, "{left:?}");

    let mut host = started(world, place, &mut store);
    // Where nothing waits, it may not handle signals yet.
    host.until_ready();
    host.stop().expect_code(0);
    let log = topic(&world.kafka, &world.links_topic);
    assert_eq!(log.len(), LINKS as usize);
    for (id, versions) in log {
        // A version may be repeated: hosts that have it ignore it.
        assert!(versions.is_sorted(), "{id}: {versions:?}");
        assert_eq!(versions.last(), Some(&store.get(&id).unwrap().unwrap().version), "{id}");
    }
}

/// A host that has published all waiting changes.
fn started(world: &World, place: &str, store: &mut Store) -> Server {
    let mut host = world.start_host("host", &[("CLICKTRAIL_LINKS_DB", place)]);
    host.until("nothing waits", || (store.waiting().unwrap() == 0).then_some(()));
    host
}

/// The calls of the relay's thread from a change until no change waits, with their numbers.
fn round(world: &World, place: &str, store: &mut Store) -> BTreeMap<String, u32> {
    change(store);
    let mut host = started(world, place, store);
    let relay = until("the relay runs", || host.thread("link-publisher"));
    stopped(&host);
    change(store);
    let trace = Trace::of_thread(relay, &world.folder().join("round"));
    host.signal(Signal::CONT);
    host.until("nothing waits", || (store.waiting().unwrap() == 0).then_some(()));
    // The commit is visible before the last call of its round.
    std::thread::sleep(PATIENCE / 10);
    let mut steps = BTreeMap::new();
    for Call { name, .. } in trace.stop().into_iter().filter(|call| call.ended.is_none()) {
        if !NOTHING.contains(&name.as_str()) {
            *steps.entry(name).or_default() += 1;
        }
    }
    host.crash();
    steps
}

fn stopped(host: &Server) {
    host.signal(Signal::STOP);
    until("it is stopped", || host.is_stopped().then_some(()));
}

/// Waits until a host has published all, changes all links while it is stopped, and kills it at a call
/// of the round that publishes them.
fn kill(
    world: &World,
    place: &str,
    store: &mut Store,
    (call, number): (&str, u32),
    left: &mut Left,
) {
    let mut host = started(world, place, store);
    let relay = until("the relay runs", || host.thread("link-publisher"));
    stopped(&host);
    change(store);
    let records = world.kafka.records(&world.links_topic);
    let kill = Kill::at(relay, call, number, &world.folder().join("kill"));
    host.signal(Signal::CONT);
    let due = Instant::now() + PATIENCE;
    while host.ended().is_none() && Instant::now() < due {
        std::thread::sleep(BEAT);
    }
    if host.ended().is_none() {
        left.none += 1;
        host.crash();
    }
    drop(kill);
    let published = world.kafka.records(&world.links_topic) > records;
    match (store.waiting().unwrap(), published) {
        (0, _) => left.done += 1,
        (_, true) => left.published_and_waiting += 1,
        (_, false) => left.unpublished += 1,
    }
}

/// Makes the next version of all links.
fn change(store: &mut Store) {
    let version = store.get("s0").unwrap().map_or(1, |link| link.version + 1);
    let line = |n| format!(r#"{{"slug":"s{n}","url":"https://example.com/{version}"}}"#);
    let entries: Vec<_> = (0..LINKS).map(|n| LinkEntry::parse(&line(n)).unwrap()).collect();
    store.import(&entries, version).unwrap();
}
