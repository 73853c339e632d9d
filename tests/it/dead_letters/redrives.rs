//! Redrives: beside live clicks, and killed at any step.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use harness::seeded_random::SeededRandom;
use harness::{FailedRecord, StopFlag, World};
use schemas::headers;

use super::held_letters::{count, states};
use super::jobs::silence;

/// Writes dead letters of records that no decoder takes.
fn write(world: &World, letters: i64) {
    let id = world.schema_id();
    let records: Vec<_> = (0..letters).map(|at| FailedRecord::of_kind(0, id, at, 200)).collect();
    world.write_dead_letters(&records);
}

/// What grows at the steps at which a redrive is killed: the plan, the claim of a resumed job, the events
/// before a batch, and those after it.
const KILLED_AT: [&str; 5] = [
    "SELECT max(version) FROM job_versions",
    "SELECT max(version) FROM job_versions",
    "SELECT count() FROM dead_letter_events WHERE kind = 'pending'",
    "SELECT count() FROM dead_letter_events WHERE kind = 'sent'",
    "SELECT count() FROM dead_letter_events WHERE kind = 'pending'",
];

/// How often each copy is in the log, by its origin and number.
type Copies = BTreeMap<(String, String), usize>;

fn copies(world: &World) -> Copies {
    let mut copies = BTreeMap::new();
    world.kafka.each(&world.topic, |record| {
        let text = |name| record.header(name).map(str::to_owned);
        let named = text(headers::DEAD_LETTER_ORIGIN).zip(text(headers::DEAD_LETTER_REDRIVES));
        if let Some(named) = named {
            *copies.entry(named).or_default() += 1;
        }
    });
    copies
}

#[test]
fn a_thousand_bad_records_redriven_by_force_delay_no_click_and_stop_nothing() {
    const LETTERS: i64 = 1000;
    let world = World::new("forced");
    world.setup();
    write(&world, LETTERS);
    let mut processors = world.processors(&[], &[]);
    processors.until_letters_copied(&world);
    let (ended, mut clicks) = (StopFlag::default(), 0);
    let exit = std::thread::scope(|scope| {
        let redrive = scope.spawn(|| {
            let _ended = ended.guard();
            world.dlq(&["redrive", "--force", "--wait"]).end()
        });
        while !ended.is_set() {
            clicks += 10;
            world.kafka.produce(&world.topic, &world.good(0, 10));
            std::thread::sleep(Duration::from_millis(100));
        }
        redrive.join().unwrap()
    });
    let exit = exit.expect_code(1);
    assert!(exit.out.contains("1000 sent: 0 in the table, 1000 failed again"), "{exit:?}");
    processors.until_caught_up(&world);
    assert_eq!(world.clicks(), clicks);
    assert_eq!(count(&world), [("failed_again".to_owned(), 1000)].into());
    assert!(copies(&world).values().all(|copies| *copies == 1));
    processors.stop().expect_code(0);
}

#[test]
fn a_redrive_killed_at_any_step_and_resumed_sends_every_record_and_none_again() {
    // Four batches: each is announced while the one before it is sent.
    const LETTERS: i64 = 4000;
    let world = World::new("killed_redrive");
    world.setup();
    write(&world, LETTERS);
    let mut processors = world.processors(&[], &[]);
    processors.until_letters_copied(&world);
    processors.stop().expect_code(0);

    let mut random = SeededRandom::new(5);
    let mut job: Option<String> = None;
    let mut acknowledged = Copies::new();
    for step in KILLED_AT {
        let before = world.number(step);
        let mut redrive = match &job {
            None => world.dlq(&["redrive", "--force", "--rate", "900"]),
            Some(id) => world.dlq(&["redrive", "--resume", id]),
        };
        redrive.until("the step begins", || (world.number(step) > before).then_some(()));
        std::thread::sleep(Duration::from_millis(random.between(0, 150)));
        redrive.crash();
        let id = world.query("SELECT id FROM jobs");
        silence(&world, &id);
        job = Some(id);
        let (copies, sent) = (copies(&world), sent(&world));
        unchanged(&acknowledged, &copies);
        acknowledged = copies.into_iter().filter(|(copy, _)| sent.contains(&copy.0)).collect();
    }
    let id = job.expect("a plan before the last kill");
    world.dlq(&["redrive", "--resume", &id]).end().expect_code(0);
    let copies = copies(&world);
    assert_eq!(copies.len(), LETTERS as usize, "every record, with one number");
    assert!(copies.keys().all(|(_, number)| number == "1"));
    unchanged(&acknowledged, &copies);
    assert!(copies.values().all(|times| *times <= 1 + KILLED_AT.len()), "{copies:?}");
    let states = states(&world);
    assert!(states.values().all(|state| state == "pending"), "{states:?}");
}

#[test]
fn two_redrives_at_once_send_no_copy_twice() {
    const LETTERS: i64 = 1000;
    let world = World::new("two_redrives");
    world.setup();
    write(&world, LETTERS);
    let mut processors = world.processors(&[], &[]);
    processors.until_letters_copied(&world);
    processors.stop().expect_code(0);
    let mut redrives = [(); 2].map(|()| world.dlq(&["redrive", "--force"]));
    for redrive in &mut redrives {
        let exit = redrive.end();
        // The second one may find nothing open.
        assert!(matches!(exit.code, Some(0 | 1)), "{exit:?}");
    }
    let copies = copies(&world);
    assert!(!copies.is_empty() && copies.values().all(|times| *times == 1), "{copies:?}");
    assert!(copies.keys().all(|(_, number)| number == "1"), "{copies:?}");
}

#[test]
fn a_decision_made_while_earlier_batches_are_sent_is_kept() {
    // One page, and by their bytes three batches. The third one is announced seconds after the second one.
    const LETTERS: i64 = 20;
    const ANNOUNCED: usize = 18;
    let world = World::new("decided");
    world.setup();
    let schema = world.schema_id();
    let records: Vec<_> =
        (0..LETTERS).map(|at| FailedRecord::of_kind(0, schema, at, 900_000)).collect();
    world.write_dead_letters(&records);
    let mut processors = world.processors(&[], &[]);
    processors.until_letters_copied(&world);
    processors.stop().expect_code(0);
    let mut redrive = world.dlq(&["redrive", "--force", "--rate", "2"]);
    let pending = "SELECT count() FROM dead_letter_events WHERE kind = 'pending'";
    redrive.until("two batches are announced", || {
        (world.number(pending) == ANNOUNCED as u64).then_some(())
    });
    let discard = ["discard", "--state", "open", "--reason", "a test", "--yes"];
    world.dlq(&discard).end().expect_code(0);
    let id = world.query("SELECT id FROM jobs");
    world.dlq(&["jobs", "rate", &id, "1000"]).end().expect_code(0);
    redrive.end().expect_code(0);
    let states = [("discarded".to_owned(), 2), ("pending".to_owned(), ANNOUNCED)];
    assert_eq!(count(&world), states.into());
    assert_eq!(copies(&world).len(), ANNOUNCED);
}

/// Requires that no copy was sent again after its acknowledgement.
fn unchanged(acknowledged: &Copies, now: &Copies) {
    for (copy, times) in acknowledged {
        assert_eq!(&now[copy], times, "{copy:?} was sent again after its acknowledgement");
    }
}

/// Origins whose copy the brokers acknowledged, as the job noted it.
fn sent(world: &World) -> BTreeSet<String> {
    let rows = world.query(
        "SELECT DISTINCT concat(origin_topic, ':', toString(origin_partition), ':', \
         toString(origin_offset), ':', toString(toUnixTimestamp64Milli(origin_logged_at))) \
         FROM dead_letter_events WHERE kind = 'sent'",
    );
    rows.lines().map(str::to_owned).collect()
}
