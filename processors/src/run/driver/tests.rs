//! The driver on a log that never ends, while no registry answers, or one of two shards fails.

use std::sync::Mutex;

use prometheus_client::registry::Registry;
use records::flow::block::{Block, Record, RecordMetadata, SizeLimits};
use records::flow::linger::Linger;
use schemas::{Encoder, NEWEST, RawClick, SchemaId};
use service::lock::lock;
use uuid::Uuid;

use super::*;
use crate::registry::schema_cache::SchemaCache;
use crate::run::shared_breaker::SharedBreaker;
use crate::run::sink::{BreakerOverride, Insert};
use crate::run::source::Positions;
use crate::shards::shard_layout::ShardLayout;

const KNOWN: SchemaId = SchemaId(1);
const UNKNOWN: SchemaId = SchemaId(2);
const LOGGED_AT_MS: i64 = 1_764_000_000_000;
const PARTITIONS: i32 = 3;
/// Time between two records, and between two in a row of the unknown id.
const RECORD_EVERY: Duration = Duration::from_millis(100);
const UNKNOWN_EVERY: i64 = 15;

/// What the log and the table hold.
#[derive(Debug, Default)]
struct State {
    read: i64,
    /// Records of partitions that were not revoked.
    pushed: usize,
    next: Option<Instant>,
    rows: usize,
    /// The weights of the shards; empty: one shard.
    weights: Vec<u32>,
    /// The index of a shard that refuses inserts.
    failing: Option<usize>,
    /// Inserts that it refused.
    refused: usize,
    dead_letters: usize,
    committed: BTreeMap<i32, i64>,
    notices: Vec<Notice>,
    /// Partitions that the group revokes or has revoked.
    revoked: Vec<i32>,
    released: Option<Instant>,
}

type Shared = Arc<Mutex<State>>;

/// A record each tenth of a second, of each partition in turn.
#[derive(Debug)]
struct Log(Shared);

/// The click of a record, each with another event id.
fn value(id: SchemaId, number: i64) -> Vec<u8> {
    let event_id = Uuid::from_u128(u128::from(number.unsigned_abs()) + 1);
    let (mut value, click) = (Vec::new(), RawClick::new(event_id, LOGGED_AT_MS * 1000, "a"));
    Encoder::new(id).encode(&click, &mut value).unwrap();
    value
}

impl Source for Log {
    async fn fill(&self, block: &mut Block, _: SizeLimits) -> Result<(), ServerError> {
        let due = *lock(&self.0).next.get_or_insert_with(Instant::now);
        tokio::time::sleep_until(due).await;
        let mut state = lock(&self.0);
        state.next = Some(due + RECORD_EVERY);
        let number = state.read;
        state.read += 1;
        let (partition, offset) = (number % i64::from(PARTITIONS), number / i64::from(PARTITIONS));
        let is_known = number % UNKNOWN_EVERY != 0 || !state.weights.is_empty();
        let id = if is_known { KNOWN } else { UNKNOWN };
        let partition = i32::try_from(partition).unwrap();
        if state.revoked.contains(&partition) {
            return Ok(());
        }
        state.pushed += 1;
        let metadata = RecordMetadata { partition, offset, epoch: 1, logged_at_ms: LOGGED_AT_MS };
        block.push(metadata, None, Some(&value(id, number)), std::iter::empty());
        Ok(())
    }

    fn take_notices(&self) -> Result<Vec<Notice>, ServerError> {
        Ok(std::mem::take(&mut lock(&self.0).notices))
    }

    fn release(&self, partitions: &[i32]) -> Result<(), ServerError> {
        let mut state = lock(&self.0);
        assert_eq!(state.revoked, partitions);
        state.released = Some(Instant::now());
        let ended = partitions.iter().map(|partition| Notice::Revoked { partition: *partition });
        state.notices.extend(ended);
        Ok(())
    }

    async fn commit(self: Arc<Self>, positions: Positions) -> Result<(), ServerError> {
        let committed = positions.into_iter().map(|(partition, own)| (partition, own.position));
        lock(&self.0).committed.extend(committed);
        Ok(())
    }

    async fn committed_positions(self: Arc<Self>) -> Result<Positions, ServerError> {
        Ok(Positions::new())
    }

    async fn seek(self: Arc<Self>, _: i32, _: i64) -> Result<(), ServerError> {
        Ok(())
    }

    async fn seek_into_log(self: Arc<Self>) -> Result<(), ServerError> {
        Ok(())
    }

    fn pause(&self) -> Result<(), ServerError> {
        Ok(())
    }

    fn resume(&self) -> Result<(), ServerError> {
        Ok(())
    }

    fn lag(&self) -> BTreeMap<i32, u64> {
        BTreeMap::new()
    }
}

/// Counts rows and dead letters.
#[derive(Debug)]
struct Table(Shared);

impl Sink for Table {
    fn layout(&self) -> ShardLayout {
        let weights = lock(&self.0).weights.clone();
        if weights.is_empty() { ShardLayout::single() } else { ShardLayout::new(weights) }
    }

    async fn insert(&self, insert: &Insert<'_>) -> Result<(), ServerError> {
        let mut state = lock(&self.0);
        if state.failing == Some(insert.shard) {
            state.refused += 1;
            return Err(ServerError::retryable("clickhouse_unreachable", "refused"));
        }
        state.rows += insert.rows.iter().map(|rows| rows.count).sum::<usize>();
        Ok(())
    }

    async fn overrides(&self, _: &str) -> Result<Vec<BreakerOverride>, ServerError> {
        Ok(Vec::new())
    }
}

impl DeadLetterSink for Table {
    async fn send(&self, _: Record<'_>, _: &[(&'static str, String)]) -> Result<(), ServerError> {
        lock(&self.0).dead_letters += 1;
        Ok(())
    }
}

/// A driver whose registry refuses connections, and its encoder.
fn driver(state: &Shared) -> (Driver<Log, Table, Table>, Arc<BlockEncoder>) {
    let limits = SizeLimits { rows_max: 1_000, bytes_max: 1 << 20 };
    let settings = DriverSettings {
        linger: Linger { limits },
        blocks_max: 2,
        batches_max: 2,
        drain_timeout: Duration::from_secs(30),
        release_timeout: Duration::from_secs(10),
    };
    let assigned = |partition| {
        let start = StartPosition { position: 0, reason: StartReason::FirstRead };
        Notice::Assigned { partition, epoch: 1, start, committed: None }
    };
    lock(state).notices = (0..PARTITIONS).map(assigned).collect();
    let metrics = ProcessorMetrics::register(&mut Registry::default(), limits);
    let registry = broker::Registry::new("http://127.0.0.1:1").unwrap();
    let cache = SchemaCache::new(registry, "t-value".to_owned(), metrics.clone());
    cache.insert(KNOWN, NEWEST);
    let breaker = Arc::new(SharedBreaker::default());
    let (sink, dead_letters) = (Table(Arc::clone(state)), Table(Arc::clone(state)));
    let encoder = BlockEncoder::new("t", cache, Arc::default(), breaker, metrics.clone());
    let encoder = Arc::new(encoder.for_layout(sink.layout()));
    let writer = BatchWriter::new(Arc::clone(&encoder), sink, dead_letters);
    let source = Log(Arc::clone(state));
    (Driver::new(source, Arc::clone(&encoder), writer, metrics, settings), encoder)
}

/// Runs the driver for so many seconds; it does not end.
async fn run_for(
    seconds: u64,
    running: &mut (impl Future<Output = Result<(), ServerError>> + Unpin),
) {
    let ended = tokio::time::timeout(Duration::from_secs(seconds), running).await;
    assert!(ended.is_err(), "it continues: {ended:?}");
}

#[tokio::test(start_paused = true)]
async fn h5_without_a_registry_only_records_of_unknown_ids_wait() {
    let state = Shared::default();
    let (driver, encoder) = driver(&state);
    let attempts = encoder.metrics.attempts.clone();
    let stop = CancellationToken::new();
    let running = driver.run(stop.clone());
    tokio::pin!(running);

    run_for(600, &mut running).await;
    {
        let state = lock(&state);
        // At most ten seconds of any minute are lost, and the last batch is not stored yet.
        assert!(state.read > 5_000, "{} records were read", state.read);
        let due = usize::try_from(state.read - 100).unwrap();
        assert!(state.rows > due - due / 15 - 1, "{} rows of {due}", state.rows);
        assert_eq!(state.dead_letters, 0);
        assert!(state.committed.values().all(|position| *position == 0), "{:?}", state.committed);
    }
    let named = attempts.problems();
    assert!(named[0].starts_with("registry schemas 2 of t 0:0-0 has failed for "), "{named:?}");

    // The registry answers, and the subject has the id.
    encoder.decoders.insert(UNKNOWN, NEWEST);
    run_for(60, &mut running).await;
    stop.cancel();
    running.await.unwrap();
    let state = lock(&state);
    assert_eq!((state.rows, state.dead_letters), (usize::try_from(state.read).unwrap(), 0));
    assert_eq!(state.committed.values().sum::<i64>(), state.read);
    assert_eq!(attempts.problems(), Vec::<String>::new());
}

/// The group revokes partitions now.
fn revoke(state: &Shared, partitions: &[i32]) {
    let mut state = lock(state);
    state.revoked = partitions.to_vec();
    state.notices.push(Notice::RevocationRequested { partitions: partitions.to_vec() });
}

#[tokio::test(start_paused = true)]
async fn h5_a_revocation_does_not_wait_for_batches_that_wait_for_the_registry() {
    let state = Shared::default();
    let (driver, encoder) = driver(&state);
    let stop = CancellationToken::new();
    let running = driver.run(stop.clone());
    tokio::pin!(running);
    run_for(60, &mut running).await;

    // The records of unknown ids are in partition 0; each batch has records of other partitions too.
    revoke(&state, &[0, 1]);
    let revoked_at = Instant::now();
    run_for(20, &mut running).await;
    let released = lock(&state).released.expect("released") - revoked_at;
    assert!(released < Duration::from_secs(4), "after {released:?}");
    assert!(encoder.metrics.in_flight_batches.get() > 0, "they hold records of partition 2");

    // The registry answers: what waited is stored, and committed of the remaining partition alone.
    encoder.decoders.insert(UNKNOWN, NEWEST);
    run_for(60, &mut running).await;
    stop.cancel();
    running.await.unwrap();
    let state = lock(&state);
    assert_eq!((state.rows, state.dead_letters), (state.pushed, 0));
    let committed = [0, 1, 2].map(|partition| state.committed[&partition]);
    assert_eq!(committed, [0, 0, state.read.div_euclid(i64::from(PARTITIONS))]);
}

#[tokio::test(start_paused = true)]
async fn h5_batches_of_ended_assignments_do_not_wait_for_the_registry() {
    let state = Shared::default();
    let (driver, encoder) = driver(&state);
    let running = driver.run(CancellationToken::new());
    tokio::pin!(running);
    run_for(60, &mut running).await;
    assert!(encoder.metrics.in_flight_batches.get() > 5);
    revoke(&state, &[0, 1, 2]);
    run_for(20, &mut running).await;
    assert!(lock(&state).released.is_some());
    let metrics = &encoder.metrics;
    assert_eq!((metrics.in_flight_batches.get(), metrics.in_flight_bytes.get()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn h5_while_one_shard_fails_the_other_takes_its_rows() {
    let (weights, failing) = (vec![1, 1], Some(0));
    let state = Arc::new(Mutex::new(State { weights, failing, ..State::default() }));
    let (driver, encoder) = driver(&state);
    let stop = CancellationToken::new();
    let running = driver.run(stop.clone());
    tokio::pin!(running);
    run_for(60, &mut running).await;
    let metrics = encoder.metrics.clone();
    {
        let state = lock(&state);
        assert!(state.read > 590, "{} records were read", state.read);
        assert!(state.rows > 250, "{} rows of {} records", state.rows, state.read);
        let committed: i64 = state.committed.values().sum();
        assert!(committed < 10, "{:?}", state.committed);
        // All batches that wait make as few attempts as one.
        assert!((1..50).contains(&state.refused), "{} attempts", state.refused);
    }
    assert!(metrics.in_flight_batches.get() > 50, "{}", metrics.in_flight_batches.get());

    lock(&state).failing = None;
    run_for(30, &mut running).await;
    stop.cancel();
    running.await.unwrap();
    let state = lock(&state);
    // None that one shard took was sent again.
    assert_eq!(i64::try_from(state.rows), Ok(state.read));
    assert_eq!(state.committed.values().sum::<i64>(), state.read);
    assert_eq!(metrics.in_flight_bytes.get(), 0);
}

#[tokio::test]
async fn a_partition_of_which_no_record_was_read_is_named_by_its_start() {
    let state = Shared::default();
    let (mut driver, encoder) = driver(&state);
    let attempts = encoder.metrics.attempts.clone();
    attempts.set_stuck_after(Duration::ZERO);
    let start = StartPosition { position: 500, reason: StartReason::Resumed };
    let committed = Some(500);
    lock(&state).notices = vec![Notice::Assigned { partition: 0, epoch: 1, start, committed }];
    driver.take_notices().unwrap();
    driver.note_waiting(&BTreeMap::from([(0, 3)]));
    let named = attempts.problems();
    assert!(named[0].starts_with("read 0:500 has failed for "), "{named:?}");
}
