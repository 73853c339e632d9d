//! Batches whose dead letters are refused, wait for the registry or for the storm breaker, or are redriven.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::registry::schema_cache::SchemaCache;
use crate::run::sink::{BreakerOverride, Insert};
use crate::shards::shard_layout::ShardLayout;
use prometheus_client::registry::Registry;
use records::flow::block::{Header, RecordMetadata, SizeLimits};
use records::flow::offset_range::OffsetRange;
use records::flow::record_sign::RecordSign;
use records::replay::occurred_window::OccurredWindow;
use schemas::{Encoder, NEWEST, RawClick, SchemaId};
use uuid::Uuid;

/// A dead-letter topic that refuses values of this length or more.
#[derive(Debug)]
struct Refusing {
    bytes: usize,
    /// Offset, bytes of the value, and whether it was taken.
    sent: Arc<Mutex<Vec<(i64, usize, bool)>>>,
}

impl DeadLetterSink for Refusing {
    async fn send(
        &self,
        record: Record<'_>,
        reason: &[(&'static str, String)],
    ) -> Result<(), ServerError> {
        let bytes = record.value().map_or(0, <[u8]>::len);
        let is_taken = bytes < self.bytes;
        lock(&self.sent).push((record.offset(), bytes, is_taken));
        let is_stub = reason.iter().any(|(name, _)| *name == schemas::headers::DEAD_LETTER_STUB);
        assert_eq!(is_stub, record.stub().is_some());
        if is_taken {
            return Ok(());
        }
        let (class, code) = (ErrorClass::Record, "dead_letter_refused");
        Err(ServerError { class, code, message: String::new() })
    }
}

/// Counts rows.
#[derive(Debug, Clone, Default)]
struct Rows(Arc<AtomicUsize>);

impl Sink for Rows {
    fn layout(&self) -> ShardLayout {
        ShardLayout::single()
    }

    async fn insert(&self, insert: &Insert<'_>) -> Result<(), ServerError> {
        let rows = insert.rows.iter().map(|rows| rows.count).sum();
        self.0.fetch_add(rows, Ordering::Relaxed);
        Ok(())
    }

    async fn overrides(&self, _: &str) -> Result<Vec<BreakerOverride>, ServerError> {
        Ok(Vec::new())
    }
}

const LOGGED_AT_MS: i64 = 1_764_000_000_000;

/// An encoder that knows one schema id, and asks no registry.
fn encoder(known: SchemaId) -> Arc<BlockEncoder> {
    let limits = SizeLimits { rows_max: 1, bytes_max: 1 };
    let metrics = ProcessorMetrics::register(&mut Registry::default(), limits);
    let registry = broker::Registry::new("http://127.0.0.1:1").unwrap();
    let cache = SchemaCache::new(registry, "t-value".to_owned(), metrics.clone());
    cache.insert(known, NEWEST);
    let breaker = Arc::new(SharedBreaker::default());
    Arc::new(BlockEncoder::new("t", cache, Arc::default(), breaker, metrics))
}

/// A block of these values, from offset 0.
fn block(values: &[&[u8]]) -> Block {
    let mut block = Block::default();
    for (offset, value) in (0..).zip(values) {
        let (partition, epoch, logged_at_ms) = (0, 1, LOGGED_AT_MS);
        let metadata = RecordMetadata { partition, offset, epoch, logged_at_ms };
        block.push(metadata, None, Some(value), std::iter::empty());
    }
    block
}

#[tokio::test(start_paused = true)]
async fn h5_records_of_an_id_that_becomes_known_are_rows_and_the_others_dead_letters() {
    let (id, mut click) = (SchemaId(9), Vec::new());
    let occurred_at = LOGGED_AT_MS * 1000;
    let raw = RawClick::new(Uuid::from_u128(1), occurred_at, "a");
    Encoder::new(id).encode(&raw, &mut click).unwrap();
    let sent = Arc::<Mutex<Vec<(i64, usize, bool)>>>::default();
    let sink = Refusing { bytes: 1_000, sent: Arc::clone(&sent) };
    let (rows, encoder) = (Rows::default(), encoder(id));
    let metrics = encoder.metrics.clone();
    let writer = Arc::new(BatchWriter::new(encoder, rows.clone(), sink));
    // The valid records of the blocks are already rows.
    let [good, schema] = [RecordSign::Good, RecordSign::Schema];
    let open = || OpenRecords {
        records: block(&[&click, b"garbage", &click]),
        signs: vec![schema, good, schema, good, good, schema],
        since: Instant::now(),
    };
    let (open_records, began) = ((0..9).map(|_| open()).collect(), Instant::now());
    let batch = Batch { open_records, ..Batch::default() };
    writer.store(batch, BatchState::default()).await.unwrap();
    assert_eq!(rows.0.load(Ordering::Relaxed), 18);
    assert_eq!(*lock(&sent), [(1, 7, true); 9]);
    assert_eq!(metrics.rows.get(), 18);
    // The storm breaker decides about all of them within its ten seconds.
    assert!(began.elapsed() < Duration::from_secs(11), "{:?}", began.elapsed());
}

#[tokio::test]
async fn clicks_outside_the_window_of_a_replay_become_neither_rows_nor_dead_letters() {
    let (id, first) = (SchemaId(9), LOGGED_AT_MS * 1000);
    let values = [0, 5, 9, 10].map(|later| {
        let mut value = Vec::new();
        let raw = RawClick::new(Uuid::from_u128(1), first + later, "a");
        Encoder::new(id).encode(&raw, &mut value).unwrap();
        value
    });
    let window = OccurredWindow { from_us: first + 5, to_us: Some(first + 10) };
    let encoder = Arc::into_inner(encoder(id)).unwrap().within(Some(window));
    let (rows, encoder) = (Rows::default(), Arc::new(encoder));
    let values = values.each_ref().map(Vec::as_slice);
    let encoded = Arc::clone(&encoder).encode(block(&values), encoder.rules()).await.unwrap();
    assert!(encoded.records == 4 && encoded.bad_records.is_none());
    let mut batch = Batch::default();
    batch.append(encoded);
    let sink = Refusing { bytes: 0, sent: Arc::default() };
    let writer = Arc::new(BatchWriter::new(encoder, rows.clone(), sink));
    writer.store(batch, BatchState::default()).await.unwrap();
    assert_eq!(rows.0.load(Ordering::Relaxed), 2);
}

/// A block of these values in redriven copies of records that are a day and an hour older.
fn redriven_copies(values: &[&[u8]]) -> Block {
    let mut copies = Block::default();
    for record in block(values).records() {
        let (partition, offset, logged_at_ms) =
            (record.partition(), record.offset(), record.logged_at_ms());
        let origin = format!("t:0:{offset}:{}", logged_at_ms - 25 * 3_600_000);
        let named = [
            (schemas::headers::DEAD_LETTER_ORIGIN, origin.as_bytes()),
            (schemas::headers::DEAD_LETTER_REDRIVES, b"1".as_slice()),
        ];
        let named = named.into_iter().map(|(name, value)| Header { name, value: Some(value) });
        let metadata = RecordMetadata { partition, offset, epoch: 1, logged_at_ms };
        copies.push(metadata, record.key(), record.value(), named);
    }
    copies
}

#[tokio::test(start_paused = true)]
async fn redriven_copies_are_no_storm_and_their_dead_letters_do_not_wait() {
    let encoder = encoder(SchemaId(1));
    let copies = || redriven_copies(&[b"garbage".as_slice(); 150]);
    let open = OpenRecords { records: copies(), signs: Vec::new(), since: Instant::now() };
    let mut batch = Batch { open_records: vec![open], ..Batch::default() };
    batch.append(Arc::clone(&encoder).encode(copies(), Arc::default()).await.unwrap());
    let live = Arc::clone(&encoder).encode(block(&[b"garbage"]), Arc::default()).await.unwrap();
    batch.append(live);
    let sent = Arc::<Mutex<Vec<(i64, usize, bool)>>>::default();
    let sink = Refusing { bytes: 1_000, sent: Arc::clone(&sent) };
    let writer = Arc::new(BatchWriter::new(encoder, Rows::default(), sink));
    let (began, held) = (Instant::now(), BatchState::default());
    let store =
        tokio::time::timeout(Duration::from_secs(5), Arc::clone(&writer).store(batch, held));
    assert!(store.await.is_err(), "the live one waits");
    assert_eq!(lock(&sent).len(), 150, "the copies of the first block do not");
    let open = OpenRecords { records: copies(), signs: Vec::new(), since: Instant::now() };
    let batch = Batch { open_records: vec![open], ..Batch::default() };
    writer.store(batch, BatchState::default()).await.unwrap();
    assert_eq!(lock(&sent).len(), 300);
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn the_error_of_a_storm_counts_the_records_of_its_batch_apart_from_its_own() {
    let encoder = encoder(SchemaId(1));
    let encode = |count| {
        let values = vec![b"garbage".as_slice(); count];
        Arc::clone(&encoder).encode(block(&values), Arc::default())
    };
    // Other batches hold the records of the storm but three.
    encode(97).await.unwrap();
    let mut batch = Batch::default();
    batch.append(encode(3).await.unwrap());
    let sink = Refusing { bytes: 1_000, sent: Arc::default() };
    let writer = Arc::new(BatchWriter::new(Arc::clone(&encoder), Rows::default(), sink));
    let error = writer.store(batch, BatchState::default()).await.unwrap_err();
    assert_eq!(error.code, "storm_breaker");
    let expected = "most of the last 100 records of t cannot become rows. Refused in this batch: 3 \
                    (3 bad_magic), partition 0 offsets 0-2; none of them was dead-lettered";
    assert!(error.message.starts_with(expected), "{}", error.message);
}

#[tokio::test]
async fn a_redriven_copy_is_judged_by_the_log_time_of_its_origin() {
    let id = SchemaId(9);
    let mut values = [Vec::new(), Vec::new()];
    for (value, hours_ago) in values.iter_mut().zip([0, 2]) {
        let occurred_at = (LOGGED_AT_MS - hours_ago * 3_600_000) * 1000;
        let click = RawClick::new(Uuid::from_u128(1), occurred_at, "a");
        Encoder::new(id).encode(&click, value).unwrap();
    }
    let values = values.each_ref().map(Vec::as_slice);
    let encoder = encoder(id);
    for (block, bad) in [(block(&values), vec![]), (redriven_copies(&values), vec![0])] {
        let encoded = Arc::clone(&encoder).encode(block, Arc::default()).await.unwrap();
        let found = encoded.bad_records.iter().flat_map(BadRecords::iter);
        let found = found.map(|(record, error)| (record.offset(), error.code()));
        let bad = bad.into_iter().map(|offset| (offset, "occurred_at_out_of_bounds"));
        assert_eq!(found.collect::<Vec<_>>(), bad.collect::<Vec<_>>());
    }
}

#[tokio::test(start_paused = true)]
async fn h1_a_refused_dead_letter_becomes_a_stub_and_the_others_stay_whole() {
    let encoder = encoder(SchemaId(1));
    let values = [10, 900_000, 5 << 20, 0].map(|bytes| vec![1; bytes]);
    let block = block(&values.each_ref().map(Vec::as_slice));
    let errors = (0..4).map(|_| RecordError::EmptyValue).collect();
    let pending = encoder.breaker.observe([RecordSign::Schema; 4].into_iter());
    let bad_records = vec![BadRecords::new(block, errors, pending)];
    let sent = Arc::<Mutex<Vec<(i64, usize, bool)>>>::default();
    let sink = Refusing { bytes: 500_000, sent: Arc::clone(&sent) };
    let attempts = encoder.metrics.attempts.clone();
    attempts.set_stuck_after(Duration::ZERO);
    let writer = Arc::new(BatchWriter::new(encoder, Rows::default(), sink));
    let began = Instant::now();
    let batch = Batch { bad_records, ..Batch::default() };
    writer.store(batch, BatchState::default()).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(12), "{:?}", began.elapsed());
    let mut sent = lock(&sent).clone();
    sent.sort_unstable();
    let refused = (1, 900_000, false);
    let expected =
        [(0, 10, true), (1, 0, true), refused, refused, refused, (2, 0, true), (3, 0, true)];
    assert_eq!(sent, expected);
    assert_eq!(attempts.problems(), Vec::<String>::new(), "nothing is tried any more");
}

/// A table that takes rows of partition 0 alone.
#[derive(Debug, Clone, Default)]
struct OneTable(Rows);

impl Sink for OneTable {
    fn layout(&self) -> ShardLayout {
        ShardLayout::single()
    }

    async fn insert(&self, insert: &Insert<'_>) -> Result<(), ServerError> {
        if insert.ranges.iter().any(|(partition, _)| partition != 0) {
            return Err(ServerError::retryable("clickhouse_unreachable", "refused"));
        }
        self.0.insert(insert).await
    }

    async fn overrides(&self, topic: &str) -> Result<Vec<BreakerOverride>, ServerError> {
        self.0.overrides(topic).await
    }
}

#[tokio::test(start_paused = true)]
async fn h5_a_late_insert_that_fails_repeatedly_does_not_stop_the_others() {
    let (id, mut click) = (SchemaId(9), Vec::new());
    let raw = RawClick::new(Uuid::from_u128(1), LOGGED_AT_MS * 1000, "a");
    Encoder::new(id).encode(&raw, &mut click).unwrap();
    let (table, sink) = (OneTable::default(), Refusing { bytes: 1, sent: Arc::default() });
    let writer = Arc::new(BatchWriter::new(encoder(id), table.clone(), sink));
    let store = |partition| {
        let (records, signs, since) = (block(&[&click]), vec![RecordSign::Schema], Instant::now());
        let open_records = vec![OpenRecords { records, signs, since }];
        let mut batch = Batch { open_records, ..Batch::default() };
        batch.ranges.add(partition, OffsetRange { epoch: 1, first: 0, next: 1 });
        Arc::clone(&writer).store(batch, BatchState::default())
    };
    let all = async { tokio::join!(store(1), store(0)) };
    assert!(tokio::time::timeout(Duration::from_secs(60), all).await.is_err(), "one fails");
    assert_eq!(table.0.0.load(Ordering::Relaxed), 1);
}

/// A table of several shards, of which one refuses inserts.
#[derive(Debug, Clone)]
struct Shards {
    layout: ShardLayout,
    /// The index of the shard that refuses, and how often it does.
    refusing: Option<usize>,
    refusals: Arc<AtomicUsize>,
    /// Shard and number of rows of each insert that was taken.
    taken: Arc<Mutex<Vec<(usize, usize)>>>,
}

impl Shards {
    fn new(weights: &[u32], refusing: Option<usize>, refusals: usize) -> Self {
        let layout = ShardLayout::new(weights.to_vec());
        let refusals = Arc::new(AtomicUsize::new(refusals));
        Self { layout, refusing, refusals, taken: Arc::default() }
    }

    /// The shard and the rows of each insert, in the order of the shards.
    fn taken(&self) -> Vec<(usize, usize)> {
        let mut taken = lock(&self.taken).clone();
        taken.sort_unstable();
        taken
    }
}

impl Sink for Shards {
    fn layout(&self) -> ShardLayout {
        self.layout.clone()
    }

    async fn insert(&self, insert: &Insert<'_>) -> Result<(), ServerError> {
        let (shard, one_less) = (insert.shard, |left: usize| left.checked_sub(1));
        if self.refusing == Some(shard)
            && self.refusals.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok()
        {
            return Err(ServerError::retryable("clickhouse_unreachable", "refused"));
        }
        let rows = insert.rows.iter().map(|rows| rows.count).sum();
        lock(&self.taken).push((shard, rows));
        Ok(())
    }

    async fn overrides(&self, _: &str) -> Result<Vec<BreakerOverride>, ServerError> {
        Ok(Vec::new())
    }
}

/// A batch of `rows` clicks that are encoded for a layout, and the writer of it.
async fn sharded(
    table: &Shards,
    rows: u128,
) -> (Batch, Arc<BatchWriter<Shards, Refusing>>, ProcessorMetrics) {
    let id = SchemaId(9);
    let encoder = Arc::into_inner(encoder(id)).unwrap().for_layout(table.layout.clone());
    let encoder = Arc::new(encoder);
    let values: Vec<_> = (1..=rows)
        .map(|number| {
            let mut value = Vec::new();
            let click = RawClick::new(Uuid::from_u128(number), LOGGED_AT_MS * 1000, "a");
            Encoder::new(id).encode(&click, &mut value).unwrap();
            value
        })
        .collect();
    let values: Vec<_> = values.iter().map(Vec::as_slice).collect();
    let encoded = Arc::clone(&encoder).encode(block(&values), encoder.rules()).await.unwrap();
    let mut batch = Batch::default();
    batch.append(encoded);
    let (sink, metrics) = (Refusing { bytes: 0, sent: Arc::default() }, encoder.metrics.clone());
    (batch, Arc::new(BatchWriter::new(encoder, table.clone(), sink)), metrics)
}

#[tokio::test(start_paused = true)]
async fn each_shard_gets_its_rows_once_though_another_one_fails() {
    let table = Shards::new(&[1, 2, 1], Some(1), 5);
    let (batch, writer, metrics) = sharded(&table, 400).await;
    metrics.attempts.set_stuck_after(Duration::ZERO);
    let mut expected = vec![0; 3];
    for number in 1..=400 {
        expected[table.layout.owner(Uuid::from_u128(number).as_bytes())] += 1;
    }
    assert!(expected.iter().all(|rows| *rows > 50), "{expected:?}");
    writer.store(batch, BatchState::default()).await.unwrap();
    let expected: Vec<_> = expected.into_iter().enumerate().collect();
    assert_eq!(table.taken(), expected);
    assert_eq!((metrics.rows.get(), metrics.batches.get()), (400, 3));
    assert_eq!(metrics.attempts.problems(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_fails_holds_its_own_rows_only_and_the_batch_waits() {
    let table = Shards::new(&[1, 1], Some(0), usize::MAX);
    let (batch, writer, _) = sharded(&table, 100).await;
    let (bytes, keys): (Vec<usize>, Vec<_>) = batch
        .rows
        .iter()
        .map(|(key, rows)| (rows.iter().map(|rows| rows.bytes()).sum::<usize>(), key.shard))
        .unzip();
    assert_eq!(keys, [0, 1]);
    let state = BatchState::new(batch.bytes);
    let storing = writer.store(batch, state.clone());
    assert!(tokio::time::timeout(Duration::from_secs(60), storing).await.is_err(), "one fails");
    assert_eq!(table.taken().iter().map(|(shard, _)| *shard).collect::<Vec<_>>(), [1]);
    assert_eq!(state.bytes(), bytes[0]);
    assert!(state.is_waiting());
}

#[tokio::test(start_paused = true)]
async fn the_problem_of_a_failing_insert_names_its_shard() {
    let table = Shards::new(&[1, 1], Some(1), usize::MAX);
    let (batch, writer, metrics) = sharded(&table, 100).await;
    metrics.attempts.set_stuck_after(Duration::ZERO);
    let storing = writer.store(batch, BatchState::default());
    tokio::pin!(storing);
    let minute = Duration::from_secs(60);
    assert!(tokio::time::timeout(minute, &mut storing).await.is_err(), "it fails");
    let problems = metrics.attempts.problems();
    assert!(problems[0].starts_with("insert t 0:0-99 on shard 2 has failed for "), "{problems:?}");
}
