//! The copy of a topic: reads the topic as a member of a consumer group of its own, stores what it reads,
//! and commits. No failure here stops the processing of clicks.
//!
//! A record may be stored twice; the store is idempotent.

use broker::{Brokers, ErrorClass, ServerError};
use tokio_util::sync::CancellationToken;

use crate::kafka::topic_reader::{KeptRecord, TopicReader, TopicRecords, TopicSource};
use crate::metrics::processor::ProcessorMetrics;
use crate::run::retry::Retry;

/// The task that copies.
#[derive(Debug)]
pub struct TopicCopy {
    /// Names the task in metrics and logs.
    pub stage: &'static str,
    /// The brokers of the topic.
    pub brokers: Brokers,
    /// The topic.
    pub topic: String,
    /// The group of its readers.
    pub group: String,
    /// Its metrics.
    pub metrics: ProcessorMetrics,
}

/// The destination of a copy.
pub trait RecordStore<R>: Send {
    /// Stores what was read; `Ok` means durable.
    fn store(
        &mut self,
        read: &TopicRecords<R>,
    ) -> impl Future<Output = Result<(), ServerError>> + Send;
}

impl TopicCopy {
    /// Runs until `stop`. Failed attempts are repeated without end.
    pub async fn run<R: KeptRecord + Sync>(
        self,
        mut store: impl RecordStore<R>,
        stop: CancellationToken,
    ) {
        let mut retry = Retry::new(self.stage, &self.metrics);
        loop {
            let copy = async {
                let reader = TopicReader::join(&self.brokers, &self.group, &self.topic)?;
                copy(reader, &mut store, &mut retry).await
            };
            let copied = stop.run_until_cancelled(copy).await;
            let Some(Err(error)) = copied else { return };
            // A fatal error of the copy must not stop the clicks: it is logged, and the attempt is
            // repeated.
            let error = ServerError { class: ErrorClass::Retryable, ..error };
            retry.name(|| self.topic.clone());
            if stop.run_until_cancelled(retry.after(error)).await.is_none() {
                return;
            }
        }
    }
}

/// Reads and stores until something fails.
async fn copy<R: KeptRecord + Sync>(
    mut reader: impl TopicSource<R>,
    store: &mut impl RecordStore<R>,
    retry: &mut Retry<'_>,
) -> Result<(), ServerError> {
    loop {
        let read;
        (read, reader) = blocking(move || (reader.read(), reader)).await?;
        let read = read?;
        if read.is_empty() {
            // Without a record, only this check ends the failure of an earlier attempt.
            if retry.has_failed() {
                let has_read_all;
                (has_read_all, reader) = blocking(move || (reader.has_read_all(), reader)).await?;
                if has_read_all? {
                    retry.done();
                }
            }
            continue;
        }
        store.store(&read).await?;
        let committed;
        (committed, reader) = blocking(move || (reader.commit(), reader)).await?;
        committed?;
        retry.done();
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ServerError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| ServerError::fatal("task_panicked", error))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use prometheus_client::registry::Registry;
    use records::flow::block::SizeLimits;
    use records::flow::topic_record::TopicRecord;

    struct NoRecord;

    impl KeptRecord for NoRecord {
        fn keep(_: TopicRecord<'_>) -> Option<Self> {
            None
        }

        fn bytes(&self) -> usize {
            0
        }
    }

    struct NoStore;

    impl RecordStore<NoRecord> for NoStore {
        async fn store(&mut self, _: &TopicRecords<NoRecord>) -> Result<(), ServerError> {
            Ok(())
        }
    }

    /// A topic of no more records, whose reader fails after some reads.
    struct Idle {
        reads: u32,
        has_read_all: bool,
    }

    impl TopicSource<NoRecord> for Idle {
        fn read(&mut self) -> Result<TopicRecords<NoRecord>, ServerError> {
            self.reads = self.reads.checked_sub(1).ok_or_else(unreachable)?;
            Ok(TopicRecords::default())
        }

        fn has_read_all(&self) -> Result<bool, ServerError> {
            Ok(self.has_read_all)
        }

        fn commit(&self) -> Result<(), ServerError> {
            Ok(())
        }
    }

    fn unreachable() -> ServerError {
        ServerError::retryable("kafka_unreachable", "")
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_of_a_copy_ends_when_no_record_is_left_to_read() {
        let limits = SizeLimits { rows_max: 1, bytes_max: 1 };
        let metrics = ProcessorMetrics::register(&mut Registry::default(), limits);
        metrics.attempts.set_stuck_after(Duration::ZERO);
        let mut retry = Retry::new("links", &metrics);
        for (has_read_all, problems) in [(false, 1), (true, 0)] {
            retry.after(unreachable()).await.unwrap();
            let idle = Idle { reads: 3, has_read_all };
            assert!(copy(idle, &mut NoStore, &mut retry).await.is_err());
            assert_eq!(metrics.attempts.problems().len(), problems);
            assert_eq!(retry.has_failed(), !has_read_all);
        }
    }
}
