//! The registry's ids of the schemas that the outbox holds clicks of.

use std::sync::Arc;
use std::time::Duration;

use schemas::SchemaId;
use tokio_util::sync::CancellationToken;

use crate::kafka::endpoint::Endpoint;
use crate::outbox::Outbox;
use crate::outbox::segment::Print;
use service::worker::Problem;

/// Of one round of asking the registry; then the problem is logged again.
const ASK: Duration = Duration::from_secs(10);
/// After an answer of the registry that asking again does not change at once.
const ASK_PAUSE: Duration = Duration::from_secs(5);

/// The registry's ids of the schemas that the outbox holds clicks of.
#[derive(Debug)]
pub(crate) struct SchemaIds {
    outbox: Arc<Outbox>,
    endpoint: Endpoint,
    runtime: tokio::runtime::Handle,
    problem: Problem,
    stop: CancellationToken,
    last: Option<(Print, SchemaId)>,
}

impl SchemaIds {
    /// Asks `endpoint` for the ids of the schemas in `outbox`, until `stop`. Call it within a
    /// runtime.
    pub(crate) fn new(
        outbox: Arc<Outbox>,
        endpoint: Endpoint,
        problem: Problem,
        stop: CancellationToken,
    ) -> Self {
        let runtime = tokio::runtime::Handle::current();
        Self { outbox, endpoint, runtime, problem, stop, last: None }
    }

    /// The id of the schema with this fingerprint; `None` once stopped. Blocks while the registry
    /// does not answer.
    pub(crate) fn id(&mut self, print: Print) -> Option<SchemaId> {
        if let Some((known, id)) = self.last
            && known == print
        {
            return Some(id);
        }
        let runtime = self.runtime.clone();
        let id = runtime.block_on(async {
            tokio::select! {
                id = self.ask(print) => Some(id),
                () = self.stop.cancelled() => None,
            }
        })?;
        self.last = Some((print, id));
        Some(id)
    }

    async fn ask(&self, print: Print) -> SchemaId {
        let Endpoint { registry, topic, .. } = &self.endpoint;
        let subject = topic.subject();
        loop {
            let asked = match self.outbox.schema(print) {
                Ok(schema) => registry
                    .lookup_within(&subject, &schema, ASK)
                    .await
                    .map_err(|error| (error.is_retryable(), error.to_string())),
                Err(error) => Err((false, format!("schema of stored clicks: {error}"))),
            };
            match asked {
                Ok(id) => {
                    self.problem.set(None);
                    return id;
                }
                Err((soon, cause)) => {
                    tracing::error!(code = "schema_id", cause, "clicks are stored and not sent");
                    self.problem.set(Some(cause));
                    if !soon {
                        tokio::time::sleep(ASK_PAUSE).await;
                    }
                }
            }
        }
    }
}
