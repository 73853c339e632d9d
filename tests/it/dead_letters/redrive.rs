//! A redrive: what it would do, what becomes of its copies, and what it does not send.

use harness::{Raw, World, request};
use schemas::{Encoder, NEWEST, RawClick, SchemaId, headers};
use uuid::Uuid;

use super::held_letters::count;

/// Registers another schema of clicks under a subject; returns its id.
fn register(world: &World, subject: &str) -> SchemaId {
    let mut schema: serde_json::Value = serde_json::from_str(NEWEST).unwrap();
    schema["doc"] = "registered late".into();
    let body = serde_json::json!({ "schema": schema.to_string(), "schemaType": "AVRO" });
    let url = format!("{}/subjects/{subject}/versions", world.backends.registry);
    let json = [("Content-Type", "application/vnd.schemaregistry.v1+json")];
    let answer = request("POST", &url, &json, body.to_string()).unwrap();
    let value: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    SchemaId(u32::try_from(value["id"].as_u64().unwrap_or_else(|| panic!("{value}"))).unwrap())
}

pub(crate) fn encoded(id: SchemaId) -> Vec<u8> {
    let mut value = Vec::new();
    let now = jiff::Timestamp::now().as_microsecond();
    Encoder::new(id).encode(&RawClick::new(Uuid::now_v7(), now, "late"), &mut value).unwrap();
    value
}

#[test]
fn copies_reach_the_table_once_the_cause_is_corrected_and_others_are_named() {
    let world = World::new("redrive");
    world.setup();
    let late = register(&world, &format!("{}-other", world.topic));
    let trailing = [&encoded(world.schema_id())[..], &[7]].concat();
    let values = [encoded(late), trailing, encoded(late), b"garbage".to_vec()];
    let bad = values.map(|value| Raw {
        value: Some(value),
        key: Some(b"key".to_vec()),
        headers: vec![("own".to_owned(), Some(b"1".to_vec()))],
        ..Raw::default()
    });
    world.kafka.produce(&world.topic, &[world.good(0, 5), bad.to_vec()].concat());
    let mut processors = world.processors(&[], &[]);
    processors.until_caught_up(&world);
    processors.until_letters_copied(&world);

    let planned = world.dlq_output(&["redrive", "--dry-run"]);
    assert!(
        planned.contains(
            "4 selected: 0 would be sent; not sent: 4 would fail again (bad_magic 1, \
             schema_of_other_subject 2, trailing_bytes 1)"
        ),
        "{planned}"
    );
    let written = "SELECT (SELECT count() FROM jobs) + (SELECT count() FROM dead_letter_events)";
    assert_eq!((world.number(written), world.kafka.records(&world.topic)), (0, 9));

    assert_eq!(register(&world, &format!("{}-value", world.topic)), late);
    let codes = ["--code", "schema_of_other_subject,trailing_bytes", "--repair", "trailing_bytes"];
    let redrive = [&["redrive", "--wait"][..], &codes].concat();
    let redriven = world.dlq_output(&redrive);
    assert!(redriven.lines().next().unwrap().starts_with("redrive: job "), "{redriven}");
    assert!(redriven.contains("redrive --resume "), "{redriven}");
    assert_eq!(redriven.lines().last(), Some("redrive: 3 sent: 3 in the table"));
    assert_eq!(world.clicks(), 8);
    let job = redriven.lines().next().unwrap().rsplit(' ').next().unwrap();
    let resumed = world.dlq_output(&["redrive", "--resume", job, "--wait"]);
    assert_eq!(resumed, "redrive: 3 sent: 3 in the table\n");
    let jobs = world.number("SELECT count() FROM jobs");
    let again = world.dlq(&redrive).end().expect_code(1).out;
    let none = "redrive: no dead letter matches (states open, failed_again); 3 are resolved\n";
    assert_eq!((again.as_str(), world.number("SELECT count() FROM jobs")), (none, jobs));

    let left = world.dlq(&["redrive", "--wait", "--json"]).end().expect_code(1);
    let left: serde_json::Value = serde_json::from_str(left.out.lines().last().unwrap()).unwrap();
    assert_eq!((&left["selected"], &left["counts"]["sent"]), (&1.into(), &0.into()), "{left}");
    assert_eq!(left["counts"]["would_fail_again"]["bad_magic"], 1, "{left}");
    let forced = world.dlq(&["redrive", "--wait", "--force"]).end().expect_code(1);
    let group = world.query("SELECT group_id FROM dead_letters WHERE state = 'failed_again'");
    let expected = format!("redrive: 1 sent: 0 in the table, 1 failed again (group {group})");
    assert_eq!(forced.out.lines().last(), Some(&*expected), "{forced:?}");
    let states = [("failed_again".to_owned(), 1), ("resolved".to_owned(), 3)];
    assert_eq!(count(&world), states.into());

    let copies: Vec<_> =
        world.kafka.read(&world.topic).into_iter().filter(|r| r.offset > 8).collect();
    assert_eq!(world.kafka.records(&world.topic), 13);
    for copy in copies {
        let names: Vec<_> = copy.headers.iter().map(|(name, _)| name.as_str()).collect();
        let added = [
            headers::DEAD_LETTER_ORIGIN,
            headers::DEAD_LETTER_REDRIVES,
            headers::DEAD_LETTER_FIRST_FAILURE,
        ];
        assert_eq!(names, [&["own"][..], &added].concat());
        assert_eq!(copy.key.as_deref(), Some(&b"key"[..]));
    }
    world.balanced();
    processors.stop().expect_code(0);
}
