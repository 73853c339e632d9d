//! The time from a click to its visible row: a few clicks per second, and a reader that polls the view.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use harness::{World, get, until};
use rdkafka::producer::Producer as _;
use schemas::Encoder;

use super::clicks::Clicks;
use super::engine::Engine;
use super::log::{PARTITIONS, producer, send};
use super::ours;

/// Clicks a second.
const RATE: u32 = 50;
/// Clicks before the measurement.
const WARM: usize = 200;
const CLICKS: u32 = 2_200;
/// Time between two polls. A measured time is too long by at most this and the time of a poll.
const POLL: Duration = Duration::from_millis(10);
/// The longest wait after the last click.
const PATIENCE: Duration = Duration::from_secs(60);

type Moments = HashMap<[u8; 16], Instant>;

/// The 99th percentile of the time from a sent click to its row in the view, in milliseconds.
pub fn p99_ms(world: &World, engine: &Engine) -> Result<f64> {
    let database = "soon";
    ours::setup(world, database);
    let (mut child, admin) = ours::start(world, database, database, &[]);
    let ready = format!("{admin}/readyz");
    until("the processors are ready", || get(&ready).ok().filter(|answer| answer.status == 200));
    let (sent, seen) = std::thread::scope(|scope| {
        let reader = scope.spawn(|| poll(engine, database));
        let sent = trickle(world);
        let seen = reader.join().expect("the reader does not panic");
        anyhow::Ok((sent?, seen?))
    })?;
    child.stop().expect_code(0);
    engine.ask(&format!("DROP DATABASE {database} SYNC"))?;
    let mut delays = Vec::new();
    for (id, at) in sent.into_iter().skip(WARM) {
        let seen = seen.get(&id).context("a sent click has no row")?;
        delays.push(seen.duration_since(at).as_secs_f64() * 1000.0);
    }
    delays.sort_by(f64::total_cmp);
    Ok(delays[delays.len() * 99 / 100])
}

/// Sends clicks at a steady rate; returns their ids and times.
fn trickle(world: &World) -> Result<Vec<([u8; 16], Instant)>> {
    let producer = producer(world)?;
    let encoder = Encoder::new(world.schema_id());
    let mut clicks = Clicks::new(CLICKS.into());
    let (mut value, mut sent) = (Vec::new(), Vec::new());
    let began = Instant::now();
    for number in 0..CLICKS {
        std::thread::sleep(
            (Duration::from_secs(1) / RATE * number).saturating_sub(began.elapsed()),
        );
        let click = clicks.next();
        encoder.encode(&click, &mut value)?;
        sent.push((click.event_id.into_bytes(), Instant::now()));
        let partition = i32::try_from(u64::from(number) % PARTITIONS)?;
        send(&producer, &world.topic, partition, &value, None)?;
    }
    producer.flush(PATIENCE).context("the last clicks")?;
    Ok(sent)
}

/// When the reader first found each click.
fn poll(engine: &Engine, database: &str) -> Result<Moments> {
    let (mut seen, began) = (Moments::new(), Instant::now());
    let patience = Duration::from_secs(1) / RATE * CLICKS + PATIENCE;
    while seen.len() < CLICKS as usize {
        ensure!(began.elapsed() < patience, "{} of {CLICKS} clicks are rows", seen.len());
        std::thread::sleep(POLL);
        let sql = "SELECT event_id FROM clicks FORMAT RowBinary";
        let ids = engine.send(&[("database", database)], sql.into())?;
        let now = Instant::now();
        for id in ids.as_chunks::<16>().0 {
            seen.entry(*id).or_insert(now);
        }
    }
    Ok(seen)
}
