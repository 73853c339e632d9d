//! Stores verdicts of the continuous audit beside its runs: a ClickHouse that is slow or down delays no run.

use broker::ServerError;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::audit::verdict::AuditVerdict;
use crate::clickhouse::server::Server;
use crate::clickhouse::verdict_table::{self, VerdictSubject};
use crate::metrics::audit::AuditMetrics;

/// A task that stores the newest verdict. It ends with the writer.
pub(crate) struct VerdictWriter {
    newest: watch::Sender<Option<AuditVerdict>>,
    _task: JoinSet<()>,
}

impl VerdictWriter {
    /// Starts the task.
    pub(crate) fn start(server: Server, subject: VerdictSubject, metrics: AuditMetrics) -> Self {
        let (newest, verdicts) = watch::channel(None);
        let mut task = JoinSet::new();
        task.spawn(run(server, subject, metrics, verdicts));
        Self { newest, _task: task }
    }

    /// Hands over a verdict and does not wait. It replaces an earlier one whose insert has not started.
    pub(crate) fn offer(&self, verdict: AuditVerdict) {
        self.newest.send_replace(Some(verdict));
    }
}

async fn run(
    server: Server,
    subject: VerdictSubject,
    metrics: AuditMetrics,
    mut verdicts: watch::Receiver<Option<AuditVerdict>>,
) {
    let mut failing = false;
    while verdicts.changed().await.is_ok() {
        let verdict = verdicts.borrow_and_update().clone();
        let Some(verdict) = verdict else { continue };
        let stored = verdict_table::add(&server, &subject, &verdict).await;
        if let Err(error) = &stored {
            report(&metrics, error, failing);
        }
        failing = stored.is_err();
    }
}

/// Counts a verdict that is not stored, and logs the first one of an outage.
fn report(metrics: &AuditMetrics, error: &ServerError, failing: bool) {
    metrics.verdict_failure(error.code);
    if !failing {
        tracing::warn!(
            code = error.code,
            %error,
            "a verdict of the audit is not stored; the audit continues"
        );
    }
}
