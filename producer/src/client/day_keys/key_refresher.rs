//! The thread that reads the store of day keys periodically, and deletes old keys from it.
//!
//! It owns the store: if the store hangs, only this thread waits. Requests read the keys from memory, and
//! the health probe reports that the keys are not refreshed.

use std::io;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::client::day_keys::refresh_schedule::RefreshSchedule;
use crate::client::day_keys::{KeyRing, KeyStore};

/// Longest time of the first read, after which the server starts without keys.
const FIRST_WAIT: Duration = Duration::from_secs(10);

/// Starts the thread, which ends after `ring` is dropped, and waits for the first read.
///
/// # Errors
/// The system cannot start a thread.
pub async fn start(ring: &Arc<KeyRing>, store: Box<dyn KeyStore>) -> io::Result<()> {
    let (sender, first) = oneshot::channel();
    let ring = Arc::downgrade(ring);
    let thread = std::thread::Builder::new().name("visitor-keys".to_owned());
    thread.spawn(move || run(&ring, &*store, sender))?;
    if tokio::time::timeout(FIRST_WAIT, first).await.is_err() {
        tracing::error!(
            code = "visitor_key",
            "the store of day keys does not answer: clicks have no visitor id until it does"
        );
    }
    Ok(())
}

fn run(ring: &Weak<KeyRing>, store: &dyn KeyStore, first: oneshot::Sender<()>) {
    let (mut first, mut schedule) = (Some(first), RefreshSchedule::default());
    while let Some(ring) = ring.upgrade() {
        let wait = schedule.wait_after(ring.refresh_and_forget(store));
        drop(ring);
        if let Some(first) = first.take() {
            // The server may have started without keys.
            let _received = first.send(());
        }
        std::thread::sleep(wait);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::{Receiver, channel};

    use super::*;
    use crate::client::day_keys::key_window::KeyWindow;
    use crate::client::day_keys::{DayKeys as _, FoundKeys, today};
    use crate::client::visitor_id::Day;
    use crate::metrics::Metrics;

    /// Answers when the test lets it.
    #[derive(Debug)]
    struct Hanging(Mutex<Receiver<()>>);

    impl KeyStore for Hanging {
        fn window_keys(&self, window: KeyWindow) -> io::Result<FoundKeys> {
            self.0.lock().unwrap().recv().map_err(io::Error::other)?;
            let keys = window.made().map(|day| (day, [7; 32])).into();
            Ok(FoundKeys { keys, ..FoundKeys::default() })
        }

        fn forget_before(&self, _: KeyWindow) -> io::Result<u64> {
            Ok(0)
        }

        fn forget_day(&self, _: Day) -> io::Result<bool> {
            Ok(false)
        }

        fn days(&self) -> io::Result<Vec<Day>> {
            Ok(Vec::new())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn m5_a_store_that_hangs_holds_neither_the_start_nor_a_request_and_is_reported() {
        let (answer, waits) = channel();
        let ring = Arc::new(KeyRing::new(2, Metrics::default()));
        // The paused clock passes the bound at once.
        start(&ring, Box::new(Hanging(Mutex::new(waits)))).await.unwrap();
        assert!(ring.key(today()).is_none(), "a request does not wait");
        assert_eq!(ring.problem_after(299_999), None);
        let problem = ring.problem_after(300_000).unwrap();
        assert!(problem.starts_with("visitor_key: "), "{problem}");
        answer.send(()).unwrap();
        for _ in 0..500 {
            if ring.key(today()).is_some() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("the store has answered and the ring has no key");
    }
}
