//! Cancels a query that only reads when its client closes the connection before the answer's end.

use std::sync::Arc;

use tokio::runtime::Handle;

use crate::front::Front;
use crate::running_queries::QueryRun;

/// Cancels its query when it is dropped, unless it was disarmed. The answer holds it, or the task
/// that waits for the answer's head.
#[derive(Debug)]
pub(crate) struct CancelOnDisconnect {
    front: Arc<Front>,
    run: Arc<QueryRun>,
    query_id: String,
    armed: bool,
}

impl CancelOnDisconnect {
    /// Guards the query `query_id`. Must be dropped on a thread of the runtime.
    pub(crate) fn new(front: &Arc<Front>, run: &Arc<QueryRun>, query_id: &str) -> Self {
        Self {
            front: Arc::clone(front),
            run: Arc::clone(run),
            query_id: query_id.to_owned(),
            armed: true,
        }
    }

    /// The client has the whole answer: the query is not cancelled.
    pub(crate) fn disarm(mut self) {
        self.armed = false;
    }
}

impl Drop for CancelOnDisconnect {
    fn drop(&mut self) {
        let (true, Ok(runtime)) = (self.armed, Handle::try_current()) else { return };
        let (front, run) = (Arc::clone(&self.front), Arc::clone(&self.run));
        let query_id = std::mem::take(&mut self.query_id);
        runtime.spawn_blocking(move || front.running.abandon(&query_id, &run, &front.engine));
    }
}
