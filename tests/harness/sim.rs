//! The simulation: the real driver, block encoder and batch writer with simulated servers under paused
//! time, with rebalances and faults.
//!
//! ```text
//! FaultInjector ─▶ BrokerState ◀─ SimSource ◀─ driver ─▶ SimSink, SimDeadLetterSink ─▶ BrokerState
//! ```
//!
//! One thread, one seed, no wall clock: a failing seed fails on each run. After every commit, the records
//! before the position must be durable, on the shard that owns them, or dead-lettered; after the faults,
//! all records must be committed.

mod batch_shards;
mod broker_state;
mod fault_injector;
mod member;
mod sim_sink;
mod sim_source;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use self::broker_state::{BrokerState, SimSize};
use self::fault_injector::FaultInjector;
pub use self::sim_sink::SinkBug;
use crate::seeded_random::SeededRandom;

/// The time after the faults until all records must be committed.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(300);

/// The state that all parts of a simulation share.
type Shared = Arc<Mutex<BrokerState>>;

fn lock(broker: &Shared) -> MutexGuard<'_, BrokerState> {
    broker.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The outcome of a seed.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct SimOutcome {
    /// Violated invariants.
    pub violations: Vec<String>,
    /// The events: a simulation without faults proves little.
    pub counts: SimCounts,
}

/// The events of one simulation, or of many.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct SimCounts {
    /// Records in the log.
    pub records: u64,
    /// Records read, repeated reads included.
    pub read: u64,
    /// Inserts that were applied.
    pub inserts: u64,
    /// Commits that the broker applied.
    pub commits: u64,
    /// Commits that failed, or whose reply was lost.
    pub failed_commits: u64,
    /// Inserts that failed, or whose reply was lost.
    pub failed_inserts: u64,
    /// Dead letters acknowledged.
    pub dead_letters: u64,
    /// Partitions revoked.
    pub revocations: u64,
    /// Members crashed.
    pub crashes: u64,
    /// Positions reset.
    pub resets: u64,
    /// Partitions whose start retention deleted.
    pub expirations: u64,
    /// Times that a shard was down.
    pub outages: u64,
    /// Batches of members that ended while some of its shards had their parts and others had not.
    pub partial_batches: u64,
}

impl std::ops::AddAssign for SimCounts {
    fn add_assign(&mut self, other: Self) {
        for (own, other) in [
            (&mut self.records, other.records),
            (&mut self.read, other.read),
            (&mut self.inserts, other.inserts),
            (&mut self.commits, other.commits),
            (&mut self.failed_commits, other.failed_commits),
            (&mut self.failed_inserts, other.failed_inserts),
            (&mut self.dead_letters, other.dead_letters),
            (&mut self.revocations, other.revocations),
            (&mut self.crashes, other.crashes),
            (&mut self.resets, other.resets),
            (&mut self.expirations, other.expirations),
            (&mut self.outages, other.outages),
            (&mut self.partial_batches, other.partial_batches),
        ] {
            *own += other;
        }
    }
}

/// Runs one simulation from `seed`.
pub fn run(seed: u64) -> SimOutcome {
    run_with(seed, None)
}

/// Like [`run`], with a bug of the inserts, which a run on several shards must find.
pub fn run_with(seed: u64, bug: Option<SinkBug>) -> SimOutcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime can be made");
    fastrand::seed(seed);
    let outcome = runtime.block_on(simulate(seed, bug));
    // Drops the remaining tasks.
    runtime.shutdown_background();
    outcome
}

async fn simulate(seed: u64, bug: Option<SinkBug>) -> SimOutcome {
    let mut dice = SeededRandom::stream(seed, 7);
    let size = SimSize::of(&mut dice);
    let broker: Shared =
        Arc::new(Mutex::new(BrokerState::new(&size, SeededRandom::stream(seed, 8))));
    let mut faults = FaultInjector::new(Arc::clone(&broker), dice, size, bug);
    faults.run().await;
    lock(&broker).calm = true;
    let settled = tokio::time::timeout(COMMIT_TIMEOUT, until_committed(&broker, &mut faults)).await;
    if settled.is_err() {
        let uncommitted = lock(&broker).uncommitted();
        lock(&broker).violations.push(format!("not committed: {uncommitted}"));
    }
    faults.stop_all().await;
    let mut broker = lock(&broker);
    broker.check_balance();
    SimOutcome { violations: std::mem::take(&mut broker.violations), counts: broker.counts }
}

async fn until_committed(broker: &Shared, faults: &mut FaultInjector) {
    while !lock(broker).is_done() {
        faults.settle();
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}
