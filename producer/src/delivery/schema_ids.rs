//! The registry's ids of the schemas of the clicks in the outbox.

use std::sync::Arc;
use std::time::Duration;

use schemas::SchemaId;
use tokio_util::sync::CancellationToken;

use crate::kafka::endpoint::Endpoint;
use crate::outbox::Outbox;
use crate::outbox::segment::Fingerprint;
use service::attempts::Attempts;
use service::worker::Problem;

/// Limit of one lookup in the registry; then the problem is logged again.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause after an answer of the registry that will not change at once.
const LOOKUP_PAUSE: Duration = Duration::from_secs(5);

/// Name of the stage of the lookup, and code of its failure.
const STAGE: &str = "schema_id";

/// The registry's ids of the schemas of the clicks in the outbox.
#[derive(Debug)]
pub(crate) struct SchemaIds {
    outbox: Arc<Outbox>,
    endpoint: Endpoint,
    runtime: tokio::runtime::Handle,
    problem: Problem,
    attempts: Attempts,
    stop: CancellationToken,
    last: Option<(Fingerprint, SchemaId)>,
}

impl SchemaIds {
    /// Looks up the ids of the schemas in `outbox` at `endpoint`, until `stop`. The caller must be in a
    /// runtime.
    pub(crate) fn new(
        outbox: Arc<Outbox>,
        endpoint: Endpoint,
        problem: Problem,
        attempts: Attempts,
        stop: CancellationToken,
    ) -> Self {
        let runtime = tokio::runtime::Handle::current();
        Self { outbox, endpoint, runtime, problem, attempts, stop, last: None }
    }

    /// The id of the schema with this fingerprint; `None` after a stop. Blocks while the registry does not
    /// answer.
    pub(crate) fn id(&mut self, fingerprint: Fingerprint) -> Option<SchemaId> {
        if let Some((known, id)) = self.last
            && known == fingerprint
        {
            return Some(id);
        }
        let runtime = self.runtime.clone();
        let id = runtime.block_on(async {
            tokio::select! {
                id = self.look_up(fingerprint) => Some(id),
                () = self.stop.cancelled() => None,
            }
        })?;
        self.last = Some((fingerprint, id));
        Some(id)
    }

    async fn look_up(&self, fingerprint: Fingerprint) -> SchemaId {
        let Endpoint { registry, topic, .. } = &self.endpoint;
        let subject = topic.subject();
        loop {
            let answer = match self.outbox.schema(fingerprint) {
                Ok(schema) => registry
                    .lookup_within(&subject, &schema, LOOKUP_TIMEOUT)
                    .await
                    .map_err(|error| (error.is_retryable(), error.to_string())),
                Err(error) => Err((false, format!("schema of stored clicks: {error}"))),
            };
            match answer {
                Ok(id) => {
                    self.problem.set(None);
                    self.attempts.all_ended(STAGE);
                    return id;
                }
                Err((is_retryable, cause)) => {
                    self.attempts.failed(STAGE, &subject, STAGE);
                    tracing::error!(
                        code = STAGE,
                        cause,
                        "the relay has no schema id: clicks stay in the outbox"
                    );
                    self.problem.set(Some(cause));
                    if !is_retryable {
                        tokio::time::sleep(LOOKUP_PAUSE).await;
                    }
                }
            }
        }
    }
}
