//! A client whose drop waits for a server: its owner waits for a bounded time.

use std::ops::Deref;
use std::sync::mpsc;
use std::time::Duration;

/// The owner waits for the drop of the value no longer than this. When a member leaves its group, the library waits
/// five seconds for the coordinator.
pub(super) const DROP_MAX: Duration = Duration::from_secs(10);

/// A member of a group, which a thread of its own drops.
pub(super) struct BoundedDrop<T: Send + 'static> {
    /// `None` in the drop only.
    member: Option<T>,
    max: Duration,
}

impl<T: Send + 'static> BoundedDrop<T> {
    /// A member for whose drop the owner waits no longer than `max`.
    pub(super) fn new(member: T, max: Duration) -> Self {
        Self { member: Some(member), max }
    }
}

impl<T: Send + 'static> Deref for BoundedDrop<T> {
    type Target = T;

    #[expect(clippy::expect_used, reason = "only the drop takes the member")]
    fn deref(&self) -> &T {
        self.member.as_ref().expect("the member is not dropped")
    }
}

impl<T: Send + 'static> Drop for BoundedDrop<T> {
    fn drop(&mut self) {
        let (member, (left, has_left)) = (self.member.take(), mpsc::channel());
        let leave = move || {
            drop(member);
            // The owner may no longer wait.
            left.send(()).ok();
        };
        // Without a thread, the member is dropped here.
        let started = std::thread::Builder::new().name("group-leave".to_owned()).spawn(leave);
        if started.is_ok() && has_left.recv_timeout(self.max).is_err() {
            tracing::error!(
                code = "leave_timeout",
                seconds = self.max.as_secs(),
                "the member has not left its group in this time: the coordinator removes it after its session timeout, \
                 if it sends no heartbeat"
            );
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test measures how long a drop takes")]
mod tests {
    use std::time::Instant;

    use super::*;

    /// Its drop waits for a message, or for the end of the test.
    struct Slow(mpsc::Receiver<()>);

    impl Drop for Slow {
        fn drop(&mut self) {
            self.0.recv().ok();
        }
    }

    #[test]
    fn a_drop_that_does_not_end_holds_its_owner_for_a_bounded_time() {
        let (answer, waits) = mpsc::channel();
        let (began, max) = (Instant::now(), Duration::from_millis(50));
        drop(BoundedDrop::new(Slow(waits), max));
        assert!((max..DROP_MAX).contains(&began.elapsed()), "{:?}", began.elapsed());
        answer.send(()).unwrap();
        let began = Instant::now();
        let (answer, waits) = mpsc::channel();
        answer.send(()).unwrap();
        drop(BoundedDrop::new(Slow(waits), DROP_MAX));
        assert!(began.elapsed() < DROP_MAX, "it waits no longer than the drop takes");
    }
}
