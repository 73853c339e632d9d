//! A storm of bad records stops the processors before the first dead letter; a few bad records do not.

use std::time::Duration;

use harness::{Raw, RegistryFault, RegistryProxy, World, metric};
use jiff::Timestamp;
use schemas::{Encoder, RawClick, SchemaId};
use uuid::Uuid;

const STORM: usize = 300;
/// The schema of another record, with which none of our records can be decoded.
const ORDER: &str = r#"{"type":"record","name":"Order","fields":[{"name":"lines","type":{"type":"array","items":"double"}}]}"#;
/// A schema in another language, from a shared registry.
const PROTOBUF: &str = r#"syntax = "proto3"; message Click { string slug = 1; }"#;
/// The number of failed requests to the registry with `code`.
fn registry_retries(admin: &str, code: &str) -> Option<f64> {
    let labels = format!(r#"{{stage="registry",code="{code}"}}"#);
    metric(admin, &format!("clicktrail_processors_retries_total{labels}"))
}

/// Runs the processors until they stop; returns their output.
fn refused(world: &World, set: &[(&str, &str)]) -> String {
    let mut command = world.command("processors", set);
    let admin = harness::free_port().to_string();
    command.args(["run", "--group", &world.group, "--admin-listen", &admin]);
    world.start(command).end().expect_code(78).err
}

/// Like [`refused`], by the storm breaker, which proposes to override the backlog.
fn stopped(world: &World, code: &str) {
    let text = refused(world, &[]);
    assert!(text.contains("storm_breaker") && text.contains(code), "{text}");
    let command = format!("breaker override --backlog --group {} --reason TEXT", world.group);
    assert!(text.contains(&command), "{text}");
}

/// Overrides the backlog; returns what the command printed.
fn override_backlog(world: &World, more: &[&str]) -> String {
    let mut command = world.command("processors", &[]);
    command.args(["breaker", "override", "--backlog", "--reason", "a test"]);
    command.args(["--group", &world.group]).args(more);
    world.start(command).end().expect_code(0).out
}

/// Requires that there is no dead letter and no position past the first bad record.
fn nothing_moved(world: &World, first_bad: i64) {
    assert_eq!(world.kafka.records(&world.dead_letters()), 0);
    let committed = world.kafka.committed(&world.group, &world.topic);
    assert!(committed.get(&0).copied().unwrap_or(0) <= first_bad, "{committed:?}");
}

#[test]
fn a_storm_stops_before_the_first_dead_letter_and_an_override_lets_it_pass() {
    let world = World::new("storm");
    world.setup();
    let bad = Raw { value: Some(b"garbage".to_vec()), ..Raw::default() };
    world.kafka.produce(&world.topic, &[world.good(0, 50), vec![bad; STORM]].concat());
    // As a group that has read before: one that has committed nothing has no backlog.
    world.kafka.commit(&world.group, &world.topic, &[(0, 0)]);
    stopped(&world, "bad_magic");
    nothing_moved(&world, 50);
    assert_eq!(world.clicks(), 50, "the valid records have rows");
    // The processors stop again after a restart.
    stopped(&world, "bad_magic");
    nothing_moved(&world, 50);

    let mut command = world.command("processors", &[]);
    command.args(["breaker", "override", "--backlog", "--group", "of-no-processors"]);
    let unknown = world.start(command).end().expect_code(78).err;
    assert!(unknown.contains("group_unknown"), "{unknown}");
    let planned = override_backlog(&world, &["--dry-run"]);
    assert!(planned.starts_with("dry run: ") && planned.ends_with("-349\n"), "{planned}");
    assert_eq!(override_backlog(&world, &[]), planned.replace("dry run", "breaker"));
    let mut processors = world.processors(&[], &[]);
    processors.until_caught_up(&world);
    assert_eq!(world.kafka.records(&world.dead_letters()), i64::try_from(STORM).unwrap());
    assert_eq!(world.balanced()["undecodable"], STORM);
    let nothing = override_backlog(&world, &[]);
    assert!(nothing.contains("has committed all of"), "{nothing}");

    // The override was for those offsets only: more bad records stop the processors again.
    processors.stop().expect_code(0);
    let bad = Raw { value: Some(b"garbage".to_vec()), ..Raw::default() };
    world.kafka.produce(&world.topic, &vec![bad; STORM]);
    stopped(&world, "bad_magic");
    assert_eq!(world.kafka.records(&world.dead_letters()), i64::try_from(STORM).unwrap());
}

#[test]
fn records_of_another_registry_stop_the_processors_and_are_not_dead_lettered() {
    let world = World::new("other_registry");
    world.setup();
    let encoder = Encoder::new(SchemaId(999_999_998));
    let now = Timestamp::now().as_microsecond();
    let records: Vec<_> = (0..STORM)
        .map(|_| {
            let mut value = Vec::new();
            encoder.encode(&RawClick::new(Uuid::now_v7(), now, "a"), &mut value).unwrap();
            Raw { value: Some(value), ..Raw::default() }
        })
        .collect();
    world.kafka.produce(&world.topic, &records);
    stopped(&world, "schema_unknown");
    nothing_moved(&world, 0);
}

/// Valid records are not dead-lettered because of a wrong registry, and all become rows after the
/// registry is fixed.
#[test]
fn an_empty_or_wrong_registry_commits_nothing_and_processing_resumes_once_fixed() {
    let world = World::new("wrong_registry");
    world.setup();
    world.kafka.produce(&world.topic, &[world.good(0, STORM), world.good(1, STORM)].concat());
    let door = RegistryProxy::start(&world.backends.registry).unwrap();
    let set = [("SCHEMA_REGISTRY_URL", door.url.as_str())];
    for (fault, word) in [
        (RegistryFault::Empty, "the registry does not know"),
        (RegistryFault::NoIds, "schema_unknown"),
        (RegistryFault::Schema(ORDER.to_owned()), "avro_mismatch"),
        (RegistryFault::Schema(PROTOBUF.to_owned()), "schema_unusable"),
    ] {
        let before = door.injected();
        door.set(fault.clone());
        let text = refused(&world, &set);
        assert!(door.injected() > before, "{fault:?} had no effect");
        assert!(text.contains(word), "{fault:?}: {text}");
        assert!(fault == RegistryFault::Empty || text.contains("storm_breaker"), "{text}");
        nothing_moved(&world, 0);
        let committed = world.kafka.committed(&world.group, &world.topic);
        assert!(committed.values().all(|position| *position == 0), "{fault:?}: {committed:?}");
        assert_eq!(world.clicks(), 0, "{fault:?}");
    }
    door.set(RegistryFault::None);
    let mut processors = world.processors(&[], &set);
    processors.until_caught_up(&world);
    assert_eq!(world.kafka.records(&world.dead_letters()), 0);
    assert_eq!(world.clicks(), 2 * STORM as u64);
    world.balanced();
}

#[test]
fn a_registry_that_fails_or_hangs_is_retried_and_nothing_is_dead_lettered() {
    const CLICKS: usize = 150;
    let world = World::new("registry_away");
    world.setup();
    let door = RegistryProxy::start(&world.backends.registry).unwrap();
    let set = [("SCHEMA_REGISTRY_URL", door.url.as_str())];
    let faults = [
        (RegistryFault::Status(500), "registry_unreachable"),
        (RegistryFault::Status(429), "registry_unreachable"),
        // A "not found" of a gateway is not one of the registry.
        (RegistryFault::Status(404), "registry_not_found"),
        (RegistryFault::Hang, "registry_unreachable"),
    ];
    let mut expected = 0;
    for (fault, code) in faults {
        // A new process each time, without the schema in its cache.
        let mut processors = world.processors(&[], &set);
        door.set(fault.clone());
        let committed = world.kafka.committed(&world.group, &world.topic);
        let before = door.injected();
        world.kafka.produce(&world.topic, &world.good(0, CLICKS));
        let admin = processors.admin.clone();
        processors.until("two requests to the registry failed", || {
            let is_again = door.injected() >= before + 2;
            registry_retries(&admin, code).filter(|times| is_again && *times >= 2.0)
        });
        assert_eq!(world.clicks(), expected, "{fault:?}");
        let now = world.kafka.committed(&world.group, &world.topic);
        assert_eq!(now.get(&0).unwrap_or(&0), committed.get(&0).unwrap_or(&0), "{fault:?}");
        assert_eq!(world.kafka.records(&world.dead_letters()), 0, "{fault:?}");
        door.set(RegistryFault::None);
        processors.until_caught_up(&world);
        expected += CLICKS as u64;
        assert_eq!(world.clicks(), expected, "{fault:?}");
        processors.stop().expect_code(0);
    }
    assert_eq!(world.kafka.records(&world.dead_letters()), 0);
    world.balanced();
}

/// Six hundred times faster than it says, which makes it harder: the breaker forgets what is older than
/// five minutes by the real clock, so here it remembers an hour's bad records, where it would
/// remember five of them. It counts in records; a minute's good ones are not left out.
#[test]
fn one_bad_record_a_minute_does_not_stop_the_processors() {
    const MINUTES: usize = 60;
    const MINUTE: Duration = Duration::from_millis(100);
    let world = World::new("trickle");
    world.setup();
    let mut processors = world.processors(&[], &[]);
    let bad = || Raw { value: Some(b"garbage".to_vec()), ..Raw::default() };
    // Without other clicks, as at night.
    for _ in 0..MINUTES {
        world.kafka.produce(&world.topic, &[bad()]);
        std::thread::sleep(MINUTE);
    }
    processors.until_caught_up(&world);
    // With one click per second.
    for _ in 0..MINUTES {
        world.kafka.produce(&world.topic, &[world.good(0, 60), vec![bad()]].concat());
    }
    processors.until_caught_up(&world);
    assert_eq!(world.kafka.records(&world.dead_letters()), 2 * MINUTES as i64);
    assert_eq!(world.clicks(), 60 * MINUTES as u64);
    assert_eq!(world.balanced()["undecodable"], 2 * MINUTES);
    processors.stop().expect_code(0);
}
