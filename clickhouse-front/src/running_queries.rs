//! The queries that run, one at a time for each name, and how one is cancelled: by `KILL QUERY`, or
//! because its client has disconnected. The engine has query ids of its own, so each connection
//! holds ours in a setting that has no other effect here.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use crate::engine::Engine;
use crate::exception::Exception;

/// The setting of a connection that holds the name of its query. The engine uses it in
/// `remote()` only, which the stack does not.
pub(crate) const NAME_SETTING: &str = "chdb_client_name";
/// How long a query may take to end after it was cancelled.
const END_WAIT: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(20);

/// One query from its request on.
#[derive(Debug, Default)]
pub(crate) struct QueryRun {
    /// It changes nothing, so it can stop when its client has disconnected.
    read_only: AtomicBool,
    /// It was cancelled.
    cancelled: AtomicBool,
    /// It has ended.
    over: AtomicBool,
}

impl QueryRun {
    /// Marks the query as one that only reads.
    pub(crate) fn mark_read_only(&self) {
        self.read_only.store(true, Ordering::SeqCst);
    }

    /// # Errors
    /// `QUERY_WAS_CANCELLED` (394) once it was cancelled.
    pub(crate) fn check(&self) -> Result<(), Exception> {
        if self.cancelled.load(Ordering::SeqCst) {
            return Err(Exception::new(394, "Query was cancelled", "QUERY_WAS_CANCELLED"));
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }
}

/// The queries that run, by name.
#[derive(Debug, Default)]
pub(crate) struct RunningQueries(Mutex<HashMap<String, Arc<QueryRun>>>);

/// A query among those that run; dropping it removes the query.
#[derive(Debug)]
pub(crate) struct RunningGuard<'a> {
    running: &'a RunningQueries,
    name: String,
    run: Arc<QueryRun>,
}

impl RunningQueries {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<QueryRun>>> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Adds a query. With `replace`, one of the same name is cancelled first.
    ///
    /// # Errors
    /// `QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING` (216).
    pub(crate) fn begin(
        &self,
        name: &str,
        run: &Arc<QueryRun>,
        replace: bool,
        engine: &Engine,
    ) -> Result<RunningGuard<'_>, Exception> {
        for attempt in 0.. {
            let mut queries = self.lock();
            let Some(other) = queries.get(name).map(Arc::clone) else {
                queries.insert(name.to_owned(), Arc::clone(run));
                let (name, run) = (name.to_owned(), Arc::clone(run));
                return Ok(RunningGuard { running: self, name, run });
            };
            drop(queries);
            if !replace || attempt > 0 {
                break;
            }
            self.cancel(name, &other, engine);
        }
        let text = format!("Query with id = {name} is already running");
        Err(Exception::new(216, &text, "QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING"))
    }

    /// Cancels a query and waits a few seconds for its end.
    pub(crate) fn cancel(&self, name: &str, run: &QueryRun, engine: &Engine) {
        run.cancelled.store(true, Ordering::SeqCst);
        let kill = format!("KILL QUERY WHERE {} ASYNC", name_condition(name));
        let mut left = END_WAIT;
        while !run.is_over() && !left.is_zero() {
            // Nothing of this name can begin meanwhile, so no other query is hit.
            let queries = self.lock();
            if !run.is_over()
                && let Ok(mut connection) = engine.connect()
                && let Err(exception) = connection.execute(kill.as_bytes(), "Null", &[])
            {
                tracing::warn!(%exception, "cannot cancel a query");
            }
            drop(queries);
            std::thread::sleep(PAUSE);
            left = left.saturating_sub(PAUSE);
        }
    }

    /// Cancels a query whose client has disconnected, if it only reads.
    pub(crate) fn abandon(&self, name: &str, run: &QueryRun, engine: &Engine) {
        if run.read_only.load(Ordering::SeqCst) {
            self.cancel(name, run, engine);
        }
    }
}

impl Drop for RunningGuard<'_> {
    fn drop(&mut self) {
        let mut queries = self.running.lock();
        self.run.over.store(true, Ordering::SeqCst);
        queries.remove(&self.name);
    }
}

/// The condition on `system.processes` for the query of this name.
pub(crate) fn name_condition(name: &str) -> String {
    let name = name.replace('\\', "\\\\").replace('\'', "\\'");
    format!("Settings['{NAME_SETTING}'] = '{name}'")
}
