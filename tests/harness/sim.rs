//! The real driver and pipeline in a world of their own: scripted log, tables and dead letters,
//! under paused time, in a storm of rebalances and faults.
//!
//! ```text
//! Storm ─▶ Broker ◀─ SimLog ◀─ driver ─▶ pipeline ─▶ SimTables, SimLetters ─▶ Broker (what is durable)
//! ```
//!
//! One thread, one seed, no wall clock: a seed that fails, fails again. After every commit the
//! position may lie only past records that are durable or dead-lettered; when the storm is over,
//! everything must come to its end.

mod backends;
mod broker;
mod member;
mod storm;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use self::broker::Broker;
pub use self::broker::Shape;
use self::storm::Storm;
use crate::seeded_random::SeededRandom;

/// Time after the storm within which everything must be committed.
const PATIENCE: Duration = Duration::from_secs(300);

/// The world, as everybody in it shares it.
type Shared = Arc<Mutex<Broker>>;

fn lock(broker: &Shared) -> MutexGuard<'_, Broker> {
    broker.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a seed came to.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// What went wrong; empty if nothing did.
    pub violations: Vec<String>,
    /// What happened, to see that something did.
    pub counts: Counts,
}

/// What happened in a world, or in many.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Records in the log.
    pub records: u64,
    /// Records read, again and again included.
    pub read: u64,
    /// Inserts that were applied.
    pub inserts: u64,
    /// Commits that the broker applied.
    pub commits: u64,
    /// Commits refused or unanswered.
    pub failed_commits: u64,
    /// Inserts refused or unanswered.
    pub failed_inserts: u64,
    /// Dead letters acknowledged.
    pub letters: u64,
    /// Assignments that ended.
    pub ended: u64,
    /// Members killed.
    pub crashes: u64,
    /// Positions that somebody else moved.
    pub moves: u64,
    /// Partitions cut back or made anew.
    pub cuts: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        for (own, other) in [
            (&mut self.records, other.records),
            (&mut self.read, other.read),
            (&mut self.inserts, other.inserts),
            (&mut self.commits, other.commits),
            (&mut self.failed_commits, other.failed_commits),
            (&mut self.failed_inserts, other.failed_inserts),
            (&mut self.letters, other.letters),
            (&mut self.ended, other.ended),
            (&mut self.crashes, other.crashes),
            (&mut self.moves, other.moves),
            (&mut self.cuts, other.cuts),
        ] {
            *own += other;
        }
    }
}

/// Lets one world live from `seed`.
pub fn run(seed: u64) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime can be made");
    fastrand::seed(seed);
    let outcome = runtime.block_on(live(seed));
    // Whatever still waits is of no interest.
    runtime.shutdown_background();
    outcome
}

async fn live(seed: u64) -> Outcome {
    let mut dice = SeededRandom::stream(seed, 7);
    let shape = Shape::of(&mut dice);
    let broker: Shared = Arc::new(Mutex::new(Broker::new(&shape, SeededRandom::stream(seed, 8))));
    let mut storm = Storm::new(Arc::clone(&broker), dice, shape);
    storm.rage().await;
    lock(&broker).calm = true;
    let settled = tokio::time::timeout(PATIENCE, until_committed(&broker, &mut storm)).await;
    if settled.is_err() {
        let stuck = lock(&broker).stuck();
        lock(&broker).violations.push(format!("stuck: {stuck}"));
    }
    storm.stop_all().await;
    let mut broker = lock(&broker);
    broker.close_books();
    Outcome { violations: std::mem::take(&mut broker.violations), counts: broker.counts }
}

async fn until_committed(broker: &Shared, storm: &mut Storm) {
    while !lock(broker).is_done() {
        storm.settle();
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}
