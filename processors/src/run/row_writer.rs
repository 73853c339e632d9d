//! The row writer: inserts the rows of a batch. The parts of different shards are inserted concurrently, and each is
//! repeated on its own until its shard has acknowledged it; then it is freed, and not sent again.
#![expect(clippy::disallowed_methods, reason = "measures inserts")]

use broker::ServerError;
use futures_util::TryStreamExt as _;
use futures_util::stream::FuturesUnordered;
use records::encode::encoded_rows::EncodedRows;
use records::flow::batch_parts::BatchParts;
use records::flow::offset_range::OffsetRanges;
use tokio::time::Instant;
use tracing::{Instrument as _, field};

use crate::metrics::processor::ProcessorMetrics;
use crate::run::batch::RowsByInsert;
use crate::run::in_flight::BatchState;
use crate::run::retry::Retry;
use crate::run::shard_turn::ShardTurn;
use crate::run::sink::{Insert, Sink};
use crate::run::trace::traceparent;
use crate::shards::shard_layout::ShardLayout;

/// Inserts the rows of several batches concurrently.
#[derive(Debug)]
pub(super) struct RowWriter<K> {
    topic: String,
    pub(super) sink: K,
    /// Of each shard.
    turns: Vec<ShardTurn>,
    metrics: ProcessorMetrics,
}

/// The batch that rows are of.
#[derive(Debug, Clone, Copy)]
pub(super) struct RowsOf<'a> {
    /// Its offsets.
    pub(super) ranges: &'a OffsetRanges,
    /// Its state.
    pub(super) state: &'a BatchState,
    /// Whether the schema ids of the rows were unknown when the batch was read.
    pub(super) are_late: bool,
}

/// The rows of a batch that one shard owns.
#[derive(Debug)]
struct ShardPart {
    shard: usize,
    /// One element for each insert.
    inserts: Vec<Vec<EncodedRows>>,
}

/// The parts of rows, in the order of the shards.
fn shard_parts(rows: RowsByInsert) -> Vec<ShardPart> {
    let mut parts: Vec<ShardPart> = Vec::new();
    for (key, rows) in rows {
        match parts.last_mut() {
            Some(part) if part.shard == key.shard => part.inserts.push(rows),
            Some(_) | None => parts.push(ShardPart { shard: key.shard, inserts: vec![rows] }),
        }
    }
    parts
}

/// The number of a shard, from its index.
#[expect(clippy::expect_used, reason = "the file of the shards numbers them in 32 bits")]
fn number(shard: usize) -> u32 {
    u32::try_from(shard + 1).expect("fewer than 2^32 shards")
}

impl<K: Sink> RowWriter<K> {
    /// A writer of rows that are divided by this layout.
    ///
    /// # Panics
    /// If the sink has another layout.
    pub(super) fn new(
        topic: String,
        sink: K,
        layout: &ShardLayout,
        metrics: ProcessorMetrics,
    ) -> Self {
        assert_eq!(*layout, sink.layout(), "rows are divided as the sink expects it");
        let shards = layout.weights().len();
        if shards > 1 {
            (0..shards).for_each(|shard| metrics.shards.add(number(shard)));
        }
        let turns = (0..shards).map(|_| ShardTurn::default()).collect();
        Self { topic, sink, turns, metrics }
    }

    fn is_single(&self) -> bool {
        self.turns.len() == 1
    }

    /// Makes rows durable. Rows that are late wait for their turn before each attempt: after an outage of the
    /// registry many batches come here at the same time, and one whose insert fails does not stop the others.
    ///
    /// # Errors
    /// Only fatal ones.
    #[expect(clippy::expect_used, reason = "an internal invariant")]
    pub(super) async fn insert(
        &self,
        rows: RowsByInsert,
        batch: RowsOf<'_>,
    ) -> Result<(), ServerError> {
        let parts = shard_parts(rows);
        batch.state.begin_parts(parts.len());
        let mut durable = BatchParts::new(parts.iter().map(|part| part.shard));
        let inserts = parts.into_iter().map(|part| self.insert_part(part, batch));
        let mut inserts: FuturesUnordered<_> = inserts.collect();
        while !durable.is_durable() {
            let shard = inserts.try_next().await?;
            durable.acknowledge(shard.expect("an insert of each part is awaited"));
        }
        Ok(())
    }

    /// Inserts the rows of a shard; returns the shard.
    async fn insert_part(&self, part: ShardPart, batch: RowsOf<'_>) -> Result<usize, ServerError> {
        let ShardPart { shard, inserts } = part;
        for rows in inserts {
            self.insert_rows(shard, &rows, batch).await?;
            // The bytes of late rows are not those that the batch counts.
            if !batch.are_late {
                batch.state.release_bytes(rows.iter().map(EncodedRows::bytes).sum());
            }
        }
        batch.state.part_done();
        Ok(shard)
    }

    /// Repeats one insert until it is acknowledged.
    async fn insert_rows(
        &self,
        shard: usize,
        rows: &[EncodedRows],
        batch: RowsOf<'_>,
    ) -> Result<(), ServerError> {
        let count: usize = rows.iter().map(|rows| rows.count).sum();
        let span = tracing::info_span!("insert", rows = count, shard = field::Empty);
        if !self.is_single() {
            span.record("shard", number(shard));
        }
        let traceparent = traceparent(&span);
        let traceparent = traceparent.as_deref();
        let insert = Insert { topic: &self.topic, ranges: batch.ranges, shard, rows, traceparent };
        let mut began = None;
        let mut retry = Retry::new("insert", &self.metrics);
        loop {
            let attempt = self.attempt(&insert, batch, &mut began).instrument(span.clone());
            let outcome = attempt.await;
            self.note(shard, outcome.is_err());
            match outcome {
                Ok(()) => break,
                Err(error) => {
                    retry.name(|| self.name(&insert));
                    self.wait(&mut retry, error, batch.state).await?;
                }
            }
        }
        retry.done();
        let seconds = began.map_or(0.0, |began: Instant| began.elapsed().as_secs_f64());
        self.metrics.insert_seconds.observe(seconds);
        self.metrics.rows.inc_by(count as u64);
        self.metrics.batches.inc();
        if !self.is_single() {
            self.metrics.shards.inserted(number(shard), count, seconds);
        }
        Ok(())
    }

    /// One attempt; the first one sets `began`. Several batches do not wait for one shard that fails: all but one
    /// wait for their turn, and none of them counts as one that is being inserted.
    async fn attempt(
        &self,
        insert: &Insert<'_>,
        batch: RowsOf<'_>,
        began: &mut Option<Instant>,
    ) -> Result<(), ServerError> {
        let turn = &self.turns[insert.shard];
        if turn.is_failing() {
            let in_turn = async {
                let _held = turn.take_after_delay().await;
                began.get_or_insert_with(Instant::now);
                self.sink.insert(insert).await
            };
            return batch.state.wait_for(in_turn).await;
        }
        let _held =
            if batch.are_late { Some(batch.state.wait_for(turn.take()).await) } else { None };
        began.get_or_insert_with(Instant::now);
        self.sink.insert(insert).await
    }

    /// Notes the outcome of an insert. With one shard, its failures hold every batch.
    fn note(&self, shard: usize, has_failed: bool) {
        if self.is_single() {
            return;
        }
        if has_failed {
            self.turns[shard].failed();
            self.metrics.shards.failed(number(shard));
        } else {
            self.turns[shard].succeeded();
        }
    }

    /// Waits before the next attempt.
    async fn wait(
        &self,
        retry: &mut Retry<'_>,
        error: ServerError,
        state: &BatchState,
    ) -> Result<(), ServerError> {
        let delay = retry.after(error);
        if self.is_single() { delay.await } else { state.wait_for(delay).await }
    }

    /// Names an insert in log lines and problems.
    fn name(&self, insert: &Insert<'_>) -> String {
        let shard = if self.is_single() {
            String::new()
        } else {
            format!(" on shard {}", number(insert.shard))
        };
        format!("{} {}{shard}", self.topic, insert.ranges)
    }
}
