//! The queries that run: one at a time of each name, and how one is told to stop by
//! `KILL QUERY` or because its client has gone. The engine gives queries names of its own,
//! so each connection bears ours in a setting that means nothing otherwise.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use crate::engine::Engine;
use crate::exception::Exception;

/// The setting of a connection that holds the name of its query. The engine uses it in
/// `remote()` only, which the stack does not.
pub(crate) const NAME_SETTING: &str = "chdb_client_name";
/// How long a query may take to end after it was told to.
const END_WAIT: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(20);

/// One query from its request on.
#[derive(Debug, Default)]
pub(crate) struct Run {
    /// It changes nothing, so nobody misses it when its client has gone.
    reads: AtomicBool,
    /// It has been told to stop.
    stopped: AtomicBool,
    /// It has ended.
    over: AtomicBool,
}

impl Run {
    /// Says that the query only reads.
    pub(crate) fn reads(&self) {
        self.reads.store(true, Ordering::SeqCst);
    }

    /// # Errors
    /// `QUERY_WAS_CANCELLED` (394) once it was told to stop.
    pub(crate) fn check(&self) -> Result<(), Exception> {
        if self.stopped.load(Ordering::SeqCst) {
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
pub(crate) struct Running(Mutex<HashMap<String, Arc<Run>>>);

/// A query's place among those that run; dropping it gives the place back.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    running: &'a Running,
    name: String,
    run: Arc<Run>,
}

impl Running {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Run>>> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Lets a query begin. With `replace`, one of the same name is told to stop first.
    ///
    /// # Errors
    /// `QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING` (216).
    pub(crate) fn begin(
        &self,
        name: &str,
        run: &Arc<Run>,
        replace: bool,
        engine: &Engine,
    ) -> Result<Turn<'_>, Exception> {
        for attempt in 0.. {
            let mut queries = self.lock();
            let Some(other) = queries.get(name).map(Arc::clone) else {
                queries.insert(name.to_owned(), Arc::clone(run));
                let (name, run) = (name.to_owned(), Arc::clone(run));
                return Ok(Turn { running: self, name, run });
            };
            drop(queries);
            if !replace || attempt > 0 {
                break;
            }
            self.stop(name, &other, engine);
        }
        let text = format!("Query with id = {name} is already running");
        Err(Exception::new(216, &text, "QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING"))
    }

    /// Tells a query to stop and waits until it has, for a while.
    pub(crate) fn stop(&self, name: &str, run: &Run, engine: &Engine) {
        run.stopped.store(true, Ordering::SeqCst);
        let kill = format!("KILL QUERY WHERE {} ASYNC", is_named(name));
        let mut left = END_WAIT;
        while !run.is_over() && !left.is_zero() {
            // Nothing of this name can begin meanwhile, so no other query is hit.
            let queries = self.lock();
            if !run.is_over()
                && let Ok(mut connection) = engine.connect()
                && let Err(exception) = connection.execute(kill.as_bytes(), "Null", &[])
            {
                tracing::warn!(%exception, "cannot stop a query");
            }
            drop(queries);
            std::thread::sleep(PAUSE);
            left = left.saturating_sub(PAUSE);
        }
    }

    /// Stops a query whose client has gone, if it only reads.
    pub(crate) fn abandon(&self, name: &str, run: &Run, engine: &Engine) {
        if run.reads.load(Ordering::SeqCst) {
            self.stop(name, run, engine);
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut queries = self.running.lock();
        self.run.over.store(true, Ordering::SeqCst);
        queries.remove(&self.name);
    }
}

/// What is true of the query of this name in the engine's own list.
pub(crate) fn is_named(name: &str) -> String {
    let name = name.replace('\\', "\\\\").replace('\'', "\\'");
    format!("Settings['{NAME_SETTING}'] = '{name}'")
}
