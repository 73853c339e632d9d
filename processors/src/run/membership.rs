//! The membership of a processor: it reads as a member of its group, and leaves the group while a reset is open.
//!
//! It leaves like a process that is killed: what is in flight is not committed, and is read again. Its rows replace
//! each other by their key.

use std::pin::Pin;

use broker::ServerError;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::metrics::processor::ProcessorMetrics;
use crate::run::readiness::{Activity, Readiness};

/// The membership.
#[derive(Debug)]
pub(crate) struct Membership {
    pub(crate) readiness: Readiness,
    pub(crate) metrics: ProcessorMetrics,
    /// The id of the open reset.
    pub(crate) resets: watch::Receiver<Option<String>>,
    pub(crate) stop: CancellationToken,
}

impl Membership {
    /// Reads until the stop. `join` makes a member, and returns its work, which ends at the stop.
    ///
    /// # Errors
    /// The first error of `join` or of the work.
    pub(crate) async fn run<F>(
        mut self,
        join: impl Fn() -> Result<F, ServerError>,
    ) -> Result<(), ServerError>
    where
        F: Future<Output = Result<(), ServerError>> + Send + 'static,
    {
        loop {
            if let Some(reset) = self.open() {
                self.readiness.set(Activity::Outside(reset));
                tokio::select! {
                    // The watch may end first, and no member may join then.
                    biased;
                    () = self.stop.cancelled() => return Ok(()),
                    _ = self.resets.wait_for(Option::is_none) => {}
                }
                tracing::info!("no reset is open any longer: the processor joins the group");
            }
            let mut work = Box::pin(join()?);
            self.readiness.set(Activity::Reading);
            let reset = tokio::select! {
                ended = &mut work => return ended,
                reset = opened(&mut self.resets) => reset,
            };
            self.leave(reset, work).await;
        }
    }

    fn open(&self) -> Option<String> {
        self.resets.borrow().clone()
    }

    async fn leave<F: Send + 'static>(&self, reset: String, work: Pin<Box<F>>) {
        tracing::warn!(
            reset,
            "a reset of the group is open: the processor leaves the group until it ends"
        );
        self.readiness.set(Activity::Outside(reset));
        // The client waits for the coordinator when it leaves, for ten seconds at most.
        let left = tokio::task::spawn_blocking(move || drop(work));
        tokio::select! {
            left = left => {
                if let Err(error) = left {
                    tracing::error!(code = "task_panicked", %error, "a member did not end");
                }
            }
            () = self.stop.cancelled() => {}
        }
        self.metrics.left_group();
    }
}

/// Waits until a reset is open, and returns its id.
async fn opened(resets: &mut watch::Receiver<Option<String>>) -> String {
    let open = resets.wait_for(Option::is_some).await.map(|open| open.clone());
    match open {
        Ok(open) => open.unwrap_or_default(),
        // The watch has ended, with the process.
        Err(_) => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use prometheus_client::registry::Registry;
    use records::flow::block::SizeLimits;
    use service::admin_port::Health;

    use super::*;

    /// A member, for as long as it lives.
    struct Member(Arc<AtomicUsize>);

    impl Drop for Member {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn membership(resets: watch::Receiver<Option<String>>) -> Membership {
        let limits = SizeLimits { rows_max: 1, bytes_max: 1 };
        let metrics = ProcessorMetrics::register(&mut Registry::default(), limits);
        let (readiness, stop) = (Readiness::default(), CancellationToken::new());
        Membership { readiness, metrics, resets, stop }
    }

    async fn until(what: &str, mut is_true: impl FnMut() -> bool) {
        let waiting = async {
            while !is_true() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        assert!(tokio::time::timeout(Duration::from_secs(10), waiting).await.is_ok(), "{what}");
    }

    #[tokio::test]
    async fn a_member_leaves_while_a_reset_is_open_and_joins_when_it_has_ended() {
        let (open, resets) = watch::channel(Some("r-0".to_owned()));
        let (membership, members) = (membership(resets), Arc::new(AtomicUsize::new(0)));
        let (readiness, metrics) = (membership.readiness.clone(), membership.metrics.clone());
        let stop = membership.stop.clone();
        let is_member = |wanted| members.load(Ordering::Relaxed) == wanted;
        let outside = |reset: &str| matches!(readiness.health(), Health::NotReady(why) if why.contains(reset));
        let work = {
            let (members, stop) = (Arc::clone(&members), stop.clone());
            membership.run(move || {
                members.fetch_add(1, Ordering::Relaxed);
                let (member, stop) = (Member(Arc::clone(&members)), stop.clone());
                Ok(async move {
                    stop.cancelled().await;
                    drop(member);
                    Ok(())
                })
            })
        };
        let steps = async {
            until("it stays outside from the start", || outside("r-0")).await;
            assert!(is_member(0));
            open.send_replace(None);
            until("it joins", || is_member(1) && readiness.health() == Health::Ready).await;
            metrics.assigned.set(3);
            open.send_replace(Some("r-1".to_owned()));
            until("it leaves", || is_member(0) && outside("r-1")).await;
            until("it has no partition", || metrics.assigned.get() == 0).await;
            open.send_replace(None);
            until("it joins again", || is_member(1)).await;
            stop.cancel();
        };
        let (ended, ()) = tokio::join!(work, steps);
        assert!(ended.is_ok() && is_member(0));
    }

    #[tokio::test]
    async fn a_stop_ends_a_processor_outside_its_group_and_an_error_ends_it_inside() {
        let (open, resets) = watch::channel(Some("r".to_owned()));
        let outside = membership(resets.clone());
        outside.stop.cancel();
        let never = || Ok(std::future::pending());
        assert!(outside.run(never).await.is_ok());
        open.send_replace(None);
        let failed = || Ok(std::future::ready(Err(ServerError::fatal("task_panicked", "x"))));
        assert_eq!(membership(resets).run(failed).await.unwrap_err().code, "task_panicked");
    }
}
