//! A worker: a thread that runs until it is stopped, and reports its problem.

use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use tokio_util::sync::CancellationToken;

use crate::lock::lock;
use crate::wakeup::Wakeup;

/// The current problem of a worker, if it has one; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Problem(Arc<Mutex<Option<String>>>);

impl Problem {
    /// The current problem.
    pub fn current(&self) -> Option<String> {
        lock(&self.0).clone()
    }

    /// Replaces it; `None`: there is none.
    pub fn set(&self, problem: Option<String>) {
        *lock(&self.0) = problem;
    }

    /// Replaces it, and returns whether it is another one than before: a problem is logged once.
    pub fn is_new(&self, problem: String) -> bool {
        let before = lock(&self.0).replace(problem.clone());
        before.as_ref() != Some(&problem)
    }
}

/// A running thread.
#[derive(Debug)]
pub struct Worker {
    thread: JoinHandle<()>,
    stop: CancellationToken,
    wakeup: Option<Arc<Wakeup>>,
}

impl Worker {
    /// Starts `work` on a thread named `name`. It ends soon after `stop` is cancelled; one that waits
    /// on `wakeup` is woken then.
    ///
    /// # Errors
    /// The system cannot start a thread.
    pub fn start(
        name: &str,
        stop: CancellationToken,
        wakeup: Option<Arc<Wakeup>>,
        work: impl FnOnce() + Send + 'static,
    ) -> std::io::Result<Self> {
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(work)?;
        Ok(Self { thread, stop, wakeup })
    }

    /// Stops it and waits for its end. Blocks.
    pub fn stop(self) {
        self.stop.cancel();
        if let Some(wakeup) = &self.wakeup {
            wakeup.notify();
        }
        let name = self.thread.thread().name().unwrap_or_default().to_owned();
        if self.thread.join().is_err() {
            tracing::error!(thread = name, "a worker panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_worker_that_waits_is_woken_and_ends() {
        let (stop, wakeup) = (CancellationToken::new(), Arc::new(Wakeup::default()));
        let (stopped, waits) = (stop.clone(), Arc::clone(&wakeup));
        let worker = Worker::start("test", stop, Some(wakeup), move || {
            while !stopped.is_cancelled() {
                waits.wait(Duration::from_secs(60));
            }
        });
        worker.unwrap().stop();
    }

    #[test]
    fn a_problem_is_new_once() {
        let problem = Problem::default();
        assert!(problem.is_new("disk".to_owned()) && !problem.is_new("disk".to_owned()));
        assert_eq!(problem.clone().current().as_deref(), Some("disk"));
        problem.set(None);
        assert_eq!(problem.current(), None);
    }
}
