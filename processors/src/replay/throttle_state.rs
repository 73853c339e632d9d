//! What the throttle of a worker allows, for the parts of the worker that obey or show it.

use std::sync::Arc;

use records::replay::live_lag::LiveLag;
use records::replay::replay_throttle::PauseCause;
use records::replay::throttle_limits::ThrottleLimits;
use tokio::sync::watch;

/// What the throttle allows, and what it has measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ThrottleState {
    /// What operators have set.
    pub(crate) limits: ThrottleLimits,
    /// Records may be read. They may not before the first decision.
    pub(crate) may_read: bool,
    /// Why they may not.
    pub(crate) cause: Option<PauseCause>,
    /// `None` while it is not known.
    pub(crate) live_lag: Option<LiveLag>,
    /// The most active parts of a partition; `None` while they are not known.
    pub(crate) parts: Option<u64>,
    /// Partitions of the plan that have offsets left.
    pub(crate) open_partitions: usize,
}

/// The state; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct SharedThrottle(Arc<watch::Sender<ThrottleState>>);

impl SharedThrottle {
    /// A state in which nothing is decided, of a plan with so many partitions.
    pub(crate) fn new(open_partitions: usize) -> Self {
        let state = ThrottleState {
            limits: ThrottleLimits::default(),
            may_read: false,
            cause: None,
            live_lag: None,
            parts: None,
            open_partitions,
        };
        Self(Arc::new(watch::Sender::new(state)))
    }

    /// The present state.
    pub(crate) fn state(&self) -> ThrottleState {
        *self.0.borrow()
    }

    /// The state for a reader, which waits for a change of whether it may read, or at which rate.
    pub(crate) fn changes(&self) -> watch::Receiver<ThrottleState> {
        self.0.subscribe()
    }

    /// Sets the number of partitions that have offsets left.
    pub(crate) fn set_open_partitions(&self, open_partitions: usize) {
        self.0.send_if_modified(|state| {
            let before = std::mem::replace(&mut state.open_partitions, open_partitions);
            before != open_partitions
        });
    }

    /// Sets what was decided and measured; the number of partitions stays. Returns the state before.
    pub(crate) fn set(&self, decided: ThrottleState) -> ThrottleState {
        let mut before = decided;
        self.0.send_if_modified(|state| {
            let open_partitions = state.open_partitions;
            before = std::mem::replace(state, ThrottleState { open_partitions, ..decided });
            before.may_read != state.may_read || before.limits != state.limits
        });
        before
    }
}
