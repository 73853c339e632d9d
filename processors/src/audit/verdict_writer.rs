//! Stores verdicts of the continuous audit beside its runs: a ClickHouse that is slow or down delays no run. A verdict
//! that cannot be stored is stored with the next one.
#![expect(clippy::disallowed_methods, reason = "the age of a verdict when it is stored")]

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use broker::ServerError;
use service::lock::lock;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::audit::verdict::AuditVerdict;
use crate::audit::verdict_queue::VerdictQueue;
use crate::clickhouse::server::Server;
use crate::clickhouse::server_state;
use crate::clickhouse::verdict_table::{self, AgedVerdict, VerdictSubject};
use crate::metrics::audit::AuditMetrics;

/// Bounds the question what is known.
const READ_TIMEOUT: Duration = Duration::from_secs(4);

/// When a run began and ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RunTimes {
    pub(crate) began: Instant,
    pub(crate) ended: Instant,
}

/// A task that stores verdicts. It ends with the writer.
pub(crate) struct VerdictWriter {
    shared: Arc<Shared>,
    _task: JoinSet<()>,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<VerdictQueue<RunTimes>>,
    /// A verdict was added.
    added: Notify,
}

impl VerdictWriter {
    /// Starts the task.
    pub(crate) fn start(server: Server, subject: VerdictSubject, metrics: AuditMetrics) -> Self {
        let shared = Arc::<Shared>::default();
        let mut task = JoinSet::new();
        task.spawn(run(server, subject, metrics, Arc::clone(&shared)));
        Self { shared, _task: task }
    }

    /// Hands over the verdict of a run, and does not wait.
    pub(crate) fn offer(&self, verdict: AuditVerdict, times: RunTimes) {
        lock(&self.shared.queue).add(times, verdict);
        self.shared.added.notify_one();
    }
}

async fn run(server: Server, subject: VerdictSubject, metrics: AuditMetrics, shared: Arc<Shared>) {
    let mut failing = false;
    loop {
        shared.added.notified().await;
        let kept = lock(&shared.queue).all();
        let aged = kept.iter().map(|it| AgedVerdict {
            verdict: &it.verdict,
            since_begin: it.at.began.elapsed(),
            since_end: it.at.ended.elapsed(),
        });
        let aged: Vec<_> = aged.collect();
        let stored = verdict_table::add(&server, &subject, &aged).await;
        match &stored {
            Ok(()) => {
                lock(&shared.queue).remove(&kept);
                show_differences(&server, &subject, &metrics).await;
            }
            Err(error) => report(&metrics, error, failing),
        }
        failing = stored.is_err();
    }
}

/// Shows since when log and table differ. The metric keeps its value while ClickHouse does not answer.
async fn show_differences(server: &Server, subject: &VerdictSubject, metrics: &AuditMetrics) {
    let balance = server_state::balance(server, &subject.topic);
    if let Ok(Ok(Some(balance))) = tokio::time::timeout(READ_TIMEOUT, balance).await {
        metrics.differences_from(balance.differences_from_ms.map(|ms| ms as f64 / 1000.0));
    }
}

/// Counts an attempt that failed, and logs the first one of an outage.
fn report(metrics: &AuditMetrics, error: &ServerError, failing: bool) {
    metrics.verdict_failure(error.code);
    if !failing {
        tracing::warn!(
            code = error.code,
            %error,
            "a verdict of the audit is not stored; the audit continues, and stores it with the next one"
        );
    }
}
