//! A redrive whose servers fail after it began.

use harness::{ClickHouseProxy, FailedRecord, RegistryFault, RegistryProxy, World};
use records::error::RecordError;
use schemas::DecodeError;

use super::held_letters::count;
use super::redrive::encoded;

/// More than one batch.
const LETTERS: i64 = 600;

/// Writes dead letters of clicks with a trailing byte.
fn write(world: &World) {
    let id = world.schema_id();
    let letter = |offset| FailedRecord {
        offset,
        at_ms: jiff::Timestamp::now().as_millisecond(),
        value: [&encoded(id)[..], &[7]].concat(),
        error: RecordError::Decode(DecodeError::TrailingBytes(1)),
    };
    let letters: Vec<_> = (0..LETTERS).map(letter).collect();
    world.write_dead_letters(&letters);
}

#[test]
fn a_redrive_continues_after_its_registry_and_clickhouse_failed() {
    let world = World::new("redrive_outages");
    world.setup();
    write(&world);
    let mut processors = world.processors(&[], &[]);
    processors.until_letters_copied(&world);

    let registry = RegistryProxy::start(&world.backends.registry).unwrap();
    let registry_port = ClickHouseProxy::start(&registry.url);
    let clickhouse = ClickHouseProxy::start(&world.backends.clickhouse);
    let set = [
        ("SCHEMA_REGISTRY_URL", registry_port.url.as_str()),
        ("CLICKHOUSE_URL", clickhouse.url.as_str()),
    ];
    registry.set(RegistryFault::Status(429));
    let mut command = world.command("processors", &set);
    command.args(["dlq", "redrive", "--wait", "--rate", "500", "--repair", "trailing_bytes"]);
    let mut redrive = world.start(command);
    redrive.until("the registry refuses", || (registry.injected() > 0).then_some(()));
    registry_port.close(true);
    registry.set(RegistryFault::None);
    redrive.until("the registry is gone", || (registry_port.refused() > 0).then_some(()));
    assert_eq!(world.number("SELECT count() FROM jobs WHERE state = 'running'"), 1);
    registry_port.close(false);
    let announced = "SELECT count() FROM dead_letter_events WHERE kind = 'pending'";
    redrive.until("a batch is announced", || (world.number(announced) > 0).then_some(()));
    clickhouse.close(true);
    redrive.until("ClickHouse is gone", || (clickhouse.refused() > 1).then_some(()));
    clickhouse.close(false);

    let exit = redrive.end().expect_code(0);
    let last = format!("redrive: {LETTERS} sent: {LETTERS} in the table");
    assert_eq!(exit.out.lines().last(), Some(&*last), "{exit:?}");
    assert_eq!(count(&world), [("resolved".to_owned(), LETTERS as usize)].into());
    assert_eq!(world.clicks(), LETTERS as u64);
    assert_eq!(world.kafka.records(&world.dead_letters()), LETTERS, "no dead letter is added");
    assert_eq!(world.kafka.records(&world.topic), LETTERS, "no copy is sent twice");
    processors.stop().expect_code(0);
}
