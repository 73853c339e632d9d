//! Random kills of broker and producer under the load of visitors and senders.
//!
//! The times of the kills follow from a seed (`SEED=`, else from the clock), which the test prints.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use harness::seeded_random::SeededRandom;
use harness::{Backends, OwnStack, Visit, Visitors, World};
use schemas::{Decoder, EventId, NEWEST, Origin, unframe};
use stack::Part;
use uuid::Uuid;

use crate::delivery::outbox::{EACH, LINKS, WINDOW, until_delivered};
use crate::edge::collector::{ON, send};

const STORM: Duration = Duration::from_secs(12);
const BEAT: Duration = Duration::from_millis(20);
/// Records of a request.
const RECORDS: usize = 10;

/// Tells all threads that the kills are over, also after a failure of the test.
#[derive(Default)]
struct Over(AtomicBool);

impl Over {
    fn yet(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// Waits for a time, or until the kills are over.
    fn wait(&self, milliseconds: u64) {
        let until = Instant::now() + Duration::from_millis(milliseconds);
        while !self.yet() && Instant::now() < until {
            std::thread::sleep(BEAT);
        }
    }
}

struct End<'a>(&'a Over);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::SeqCst);
    }
}

/// The time between two starts of the producer.
struct Life {
    visits: Vec<Visit>,
    killed: Instant,
}

#[test]
fn repeated_kills_of_broker_and_producer_lose_no_acknowledged_click() {
    let seed = std::env::var("SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(|| jiff::Timestamp::now().as_second().unsigned_abs());
    println!("SEED={seed}");
    let stack = OwnStack::up();
    let world = World::on(Backends::on(&stack), "storm");
    world.setup();
    let (url, over, visitors) = (Mutex::default(), Over::default(), Visitors::default());
    let (lives, promised, downs) = std::thread::scope(|scope| {
        let end = End(&over);
        let broker =
            scope.spawn(|| kill_brokers(&stack, &mut SeededRandom::stream(seed, 1), &over));
        let senders: Vec<_> = (0..2).map(|_| scope.spawn(|| deliver(&url, &over))).collect();
        let (began, mut dice, mut lives) =
            (Instant::now(), SeededRandom::stream(seed, 2), Vec::new());
        while began.elapsed() < STORM {
            let mut server = world.serve(LINKS, &[ON]);
            url.lock().unwrap().clone_from(&server.url);
            let (visits, killed) = visitors.during(&server.url.clone(), 2, EACH, || {
                over.wait(dice.between(50, 2500));
                let killed = Instant::now();
                server.crash();
                killed
            });
            lives.push(Life { visits, killed });
        }
        drop(end);
        // The senders repeat each request until it is acknowledged.
        let mut server = world.serve(LINKS, &[ON]);
        url.lock().unwrap().clone_from(&server.url);
        let promised: Vec<_> = senders.into_iter().flat_map(|it| it.join().unwrap()).collect();
        let downs = broker.join().unwrap();
        until_delivered(&mut server);
        let summary = server.stop().expect_code(0).summary("serve");
        assert_eq!((summary.get("waiting"), summary.get("undelivered")), (0, 0));
        (lives, promised, downs)
    });
    let log = Log::read(&world);
    println!(
        "{} kills of the producer and {downs} of the broker; {} clicks of senders were acknowledged; \
         {} records in the log are repeats",
        lives.len(),
        promised.len(),
        log.again
    );
    let missing: Vec<_> = promised.iter().filter(|id| !log.events.contains_key(id)).collect();
    assert!(
        missing.is_empty(),
        "{} of {} acknowledged clicks are missing",
        missing.len(),
        promised.len()
    );
    let own: BTreeSet<_> = promised.iter().copied().collect();
    assert_eq!(log.collected, own, "the log has other clicks of senders");
    let (mut lost, mut answered, mut earliest) = (0, 0, Duration::ZERO);
    for Life { visits, killed } in lives {
        answered += visits.len();
        for visit in visits.iter().filter(|visit| !log.visits.contains_key(&visit.number)) {
            lost += 1;
            earliest = earliest.max(killed.saturating_duration_since(visit.answered));
        }
    }
    println!(
        "{answered} visits were answered, {lost} lost, the earliest {earliest:?} before a kill"
    );
    assert!(earliest < WINDOW, "a click was lost that was answered {earliest:?} before the kill");
    assert!(answered > 500 && promised.len() > 500 && downs > 0, "too few visits, clicks or kills");
}

/// Kills and restarts the broker repeatedly; it runs at the end. Returns the number of kills.
fn kill_brokers(stack: &OwnStack, dice: &mut SeededRandom, over: &Over) -> u32 {
    let mut downs = 0;
    loop {
        over.wait(dice.between(500, 3000));
        if over.yet() {
            return downs;
        }
        stack.kill(Part::Kafka).unwrap();
        over.wait(dice.between(0, 2000));
        stack.restart(Part::Kafka).unwrap();
        downs += 1;
    }
}

/// Sends clicks to the current address of the producer, each batch until it gets 200. Returns the ids.
fn deliver(url: &Mutex<String>, over: &Over) -> Vec<EventId> {
    let mut promised = Vec::new();
    while !over.yet() {
        let ids: Vec<_> = (0..RECORDS).map(|_| Uuid::now_v7()).collect();
        let at = jiff::Timestamp::now().as_microsecond();
        let line =
            |id| format!(r#"{{"event_id":"{id}","occurred_at":{at},"slug":"s","status":302}}"#);
        let body: Vec<_> = ids.iter().map(line).collect();
        loop {
            let url = url.lock().unwrap().clone();
            match send(&url, "application/x-ndjson", body.join("\n")) {
                Ok(answer) if answer.status == 200 => break,
                Ok(answer) => panic!("{answer:?}"),
                Err(_) => std::thread::sleep(BEAT),
            }
        }
        promised.extend(ids);
        std::thread::sleep(BEAT / 4);
    }
    promised
}

/// The content of the topic.
#[derive(Default)]
struct Log {
    /// The datum of each event.
    events: BTreeMap<EventId, Vec<u8>>,
    /// The event of each visit.
    visits: BTreeMap<u64, EventId>,
    /// The events of senders.
    collected: BTreeSet<EventId>,
    /// Repeated records of an event.
    again: u32,
}

impl Log {
    fn read(world: &World) -> Self {
        let decoder = Decoder::new(NEWEST).unwrap();
        let mut log = Self::default();
        for record in world.kafka.read(&world.topic) {
            let (_, datum) = unframe(record.value.as_deref().unwrap()).unwrap();
            let click = decoder.decode(datum).unwrap();
            let id = click.event_id;
            if let Some(known) = log.events.insert(id, datum.to_vec()) {
                log.again += 1;
                assert_eq!(known, datum, "event {id} has two different records");
            }
            if click.origin == Origin::Collector {
                log.collected.insert(id);
                continue;
            }
            let number = click.query.unwrap().strip_prefix("n=").unwrap().parse().unwrap();
            let known = log.visits.insert(number, id);
            assert!(known.is_none_or(|known| known == id), "visit {number} has two events");
        }
        log
    }
}
