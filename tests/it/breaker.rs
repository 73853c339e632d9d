//! A storm of bad records stops the processors before the first is given up; a trickle does not.

use harness::{Raw, World};
use jiff::Timestamp;
use schemas::{Encoder, RawClick, SchemaId};
use uuid::Uuid;

const STORM: usize = 300;

/// Runs the processors until they give up, and returns the commands that they propose.
fn stopped(world: &World, code: &str) -> Vec<Vec<String>> {
    let mut command = world.command("processors", &[]);
    let admin = harness::free_port().to_string();
    command.args(["run", "--group", &world.group, "--admin-listen", &admin]);
    let text = world.start(command).end().expect_code(78).err;
    assert!(text.contains("storm_breaker") && text.contains(code), "{text}");
    let proposals = text.split("processors breaker pass ").skip(1);
    proposals
        .map(|rest| rest.split([';', '\n']).next().unwrap())
        .map(|arguments| arguments.split_whitespace().map(str::to_owned).collect())
        .collect()
}

/// Nothing has moved: no dead letter, no position past the first bad record.
fn nothing_moved(world: &World, first_bad: i64) {
    assert_eq!(world.kafka.records(&world.dead_letters()), 0);
    let committed = world.kafka.committed(&world.group, &world.topic);
    assert!(committed.get(&0).copied().unwrap_or(0) <= first_bad, "{committed:?}");
}

#[test]
fn a_storm_stops_before_the_first_dead_letter_and_an_operators_leave_lets_it_pass() {
    let world = World::new("storm");
    world.setup();
    let bad = Raw { value: Some(b"garbage".to_vec()), ..Raw::default() };
    world.kafka.produce(&world.topic, &[world.good(0, 50), vec![bad; STORM]].concat());
    let proposals = stopped(&world, "bad_magic");
    nothing_moved(&world, 50);
    assert_eq!(world.clicks(), 50, "what is good is a row already");
    // Started again it stops again.
    assert_eq!(stopped(&world, "bad_magic"), proposals);
    nothing_moved(&world, 50);

    for proposal in proposals {
        let mut command = world.command("processors", &[]);
        command.args(["breaker", "pass", "--reason", "a test"]).args(proposal);
        world.start(command).end().expect_code(0);
    }
    let mut processors = world.processors(&[], &[]);
    processors.until_caught_up(&world);
    assert_eq!(world.kafka.records(&world.dead_letters()), i64::try_from(STORM).unwrap());
    assert_eq!(world.balanced()["undecodable"], STORM);

    // The leave was for those offsets: more of the kind stop it again.
    processors.stop().expect_code(0);
    let bad = Raw { value: Some(b"garbage".to_vec()), ..Raw::default() };
    world.kafka.produce(&world.topic, &vec![bad; STORM]);
    stopped(&world, "bad_magic");
    assert_eq!(world.kafka.records(&world.dead_letters()), i64::try_from(STORM).unwrap());
}

#[test]
fn records_of_another_registry_stop_the_processors_and_are_not_given_up() {
    let world = World::new("other_registry");
    world.setup();
    let encoder = Encoder::new(SchemaId(999_999_998)).unwrap();
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
