//! The time from a live click to its visible row: clicks of the present time at a steady rate, and a reader that
//! polls the view for those that it has not seen.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use harness::World;
use rdkafka::producer::Producer as _;
use schemas::{Encoder, RawClick};
use uuid::Uuid;

use super::clicks::Clicks;
use super::engine::Engine;
use super::log::{PARTITIONS, producer, send};

/// Time before the measurement.
const WARM: Duration = Duration::from_secs(1);
/// Time between two polls. A measured time is too long by at most this and the time of a poll.
const POLL: Duration = Duration::from_millis(10);
/// The longest wait after the last click.
const PATIENCE: Duration = Duration::from_secs(60);

/// A click that was sent.
struct Sent {
    id: [u8; 16],
    occurred_us: i64,
    at: Instant,
}

/// The times in milliseconds, in ascending order, from each click that is sent during `window`, with `rate`
/// clicks a second, to its row.
pub fn delays_ms(
    world: &World,
    engine: &Engine,
    database: &str,
    (rate, window): (u32, Duration),
) -> Result<Vec<f64>> {
    let clicks = |time: Duration| usize::try_from(u64::from(rate) * time.as_secs());
    let all = clicks(WARM + window)?;
    let sent = Mutex::new(Vec::with_capacity(all));
    let seen = std::thread::scope(|scope| {
        let reader = scope.spawn(|| poll(engine, database, &sent, all));
        let written = write(world, rate, &sent, all);
        let seen = reader.join().expect("the reader does not panic");
        written.and(seen)
    })?;
    let mut delays = Vec::with_capacity(all);
    let sent = sent.into_inner().unwrap_or_else(PoisonError::into_inner);
    for Sent { id, at, .. } in sent.into_iter().skip(clicks(WARM)?) {
        let seen = seen.get(&id).context("a sent click has no row")?;
        delays.push(seen.duration_since(at).as_secs_f64() * 1000.0);
    }
    delays.sort_by(f64::total_cmp);
    Ok(delays)
}

/// Sends the clicks.
fn write(world: &World, rate: u32, sent: &Mutex<Vec<Sent>>, all: usize) -> Result<()> {
    let producer = producer(world)?;
    let encoder = Encoder::new(world.schema_id());
    let (mut clicks, mut value) = (Clicks::new(all as u64), Vec::new());
    let began = Instant::now();
    for number in 0..u32::try_from(all)? {
        let due = Duration::from_secs(1) * number / rate;
        std::thread::sleep(due.saturating_sub(began.elapsed()));
        let occurred_at = jiff::Timestamp::now().as_microsecond();
        let click = RawClick { event_id: Uuid::now_v7(), occurred_at, ..clicks.next() };
        encoder.encode(&click, &mut value)?;
        let id = click.event_id.into_bytes();
        let own = Sent { id, occurred_us: occurred_at, at: Instant::now() };
        sent.lock().unwrap_or_else(PoisonError::into_inner).push(own);
        let partition = i32::try_from(u64::from(number) % PARTITIONS)?;
        send(&producer, &world.topic, partition, &value, None)?;
    }
    producer.flush(PATIENCE).context("the last clicks")
}

/// When the reader first found each click.
fn poll(
    engine: &Engine,
    database: &str,
    sent: &Mutex<Vec<Sent>>,
    all: usize,
) -> Result<HashMap<[u8; 16], Instant>> {
    let sent = || sent.lock().unwrap_or_else(PoisonError::into_inner);
    let (mut seen, mut first_unseen) = (HashMap::new(), 0);
    let mut grew = Instant::now();
    while first_unseen < all {
        ensure!(grew.elapsed() < PATIENCE, "{first_unseen} of {all} clicks are rows");
        std::thread::sleep(POLL);
        let Some(from) = sent().get(first_unseen).map(|own| own.occurred_us) else { continue };
        let sql = format!(
            "SELECT event_id FROM clicks \
             WHERE occurred_at >= fromUnixTimestamp64Micro(toInt64({from})) FORMAT RowBinary"
        );
        let ids = engine.send(&[("database", database)], sql.into())?;
        let now = Instant::now();
        for id in ids.as_chunks::<16>().0 {
            seen.entry(*id).or_insert(now);
        }
        let sent = sent();
        while sent.get(first_unseen).is_some_and(|own| seen.contains_key(&own.id)) {
            (first_unseen, grew) = (first_unseen + 1, now);
        }
    }
    Ok(seen)
}
