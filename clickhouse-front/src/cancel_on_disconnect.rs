//! Ties a query to whoever waits for it: when that is dropped first, the client has gone,
//! and a query that only reads is stopped.

use std::sync::Arc;

use tokio::runtime::Handle;

use crate::http::Front;
use crate::running_queries::Run;

/// Held by the answer, or by whoever waits for its head.
#[derive(Debug)]
pub(crate) struct Leash {
    tied: Option<(Arc<Front>, Arc<Run>, String)>,
}

impl Leash {
    /// Ties the query `name`. Must be dropped on the runtime's threads.
    pub(crate) fn new(front: &Arc<Front>, run: &Arc<Run>, name: &str) -> Self {
        Self { tied: Some((Arc::clone(front), Arc::clone(run), name.to_owned())) }
    }

    /// The query has been heard to its end.
    pub(crate) fn release(mut self) {
        self.tied = None;
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        let (Some((front, run, name)), Ok(runtime)) = (self.tied.take(), Handle::try_current())
        else {
            return;
        };
        runtime.spawn_blocking(move || front.running.abandon(&name, &run, &front.engine));
    }
}
