#![expect(clippy::disallowed_methods, reason = "waits for the end of a worker until a deadline")]
//! A worker: a thread that runs until a caller stops it, and reports its problem.

use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::lock::lock;
use crate::wakeup::Wakeup;

/// How long a stop waits for the end of a worker; a supervisor's kill timeout is longer.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// Time between two checks whether a worker has ended: at first, and at most.
const POLL_MIN: Duration = Duration::from_micros(50);
const POLL_MAX: Duration = Duration::from_millis(2);

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

    /// Replaces it, and returns whether it has changed: the caller logs a problem once.
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

    /// Stops it and waits for its end, for at most [`STOP_TIMEOUT`]. Blocks.
    pub fn stop(self) {
        Self::stop_all([self]);
    }

    /// Stops several at once and waits for their ends, for at most [`STOP_TIMEOUT`] in all. A worker that
    /// has not ended by then ends with the process. Blocks.
    pub fn stop_all(workers: impl IntoIterator<Item = Self>) {
        Self::stop_within(workers, STOP_TIMEOUT);
    }

    /// As [`Worker::stop_all`], for at most `timeout`; returns whether all have ended.
    pub fn stop_within(workers: impl IntoIterator<Item = Self>, timeout: Duration) -> bool {
        let workers: Vec<_> = workers.into_iter().collect();
        for worker in &workers {
            worker.stop.cancel();
            if let Some(wakeup) = &worker.wakeup {
                wakeup.notify();
            }
        }
        let deadline = Instant::now() + timeout;
        let mut have_ended = true;
        for Self { thread, .. } in workers {
            let name = thread.thread().name().unwrap_or_default().to_owned();
            let mut pause = POLL_MIN;
            while !thread.is_finished() && Instant::now() < deadline {
                std::thread::sleep(pause);
                pause = (pause * 2).min(POLL_MAX);
            }
            if !thread.is_finished() {
                have_ended = false;
                let seconds = timeout.as_secs();
                tracing::error!(
                    code = "worker_stuck",
                    thread = name,
                    seconds,
                    "a worker did not stop in time and ends with the process"
                );
            } else if thread.join().is_err() {
                tracing::error!(thread = name, "a worker panicked");
            }
        }
        have_ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn m9_workers_that_do_not_end_are_left_after_one_timeout_for_all() {
        let stop = CancellationToken::new();
        let start = |work: fn()| Worker::start("test", stop.clone(), None, work).unwrap();
        let stuck = || std::thread::sleep(Duration::from_secs(60));
        let workers = [start(stuck), start(stuck), start(|| {}), start(stuck)];
        let began = Instant::now();
        assert!(!Worker::stop_within(workers, Duration::from_millis(200)));
        let waited = began.elapsed();
        assert!(stop.is_cancelled());
        assert!((200..2_000).contains(&waited.as_millis()), "{waited:?}");
        let began = Instant::now();
        assert!(Worker::stop_within([start(|| {})], STOP_TIMEOUT));
        assert!(began.elapsed() < Duration::from_secs(2));
    }

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
