//! Integration tests on the real broker, registry and ClickHouse engine.
//!
//! The name of a test is the behaviour that it checks. `arrivals`, `costs`, `golden`, `model`, `seeded`, `sim` and `tidy`
//! need no backend.

mod dashboards;
mod dead_letters;
mod delivery;
mod deploy;
mod edge;
mod enrich;
mod hostile;
mod links;
mod meta;
mod proof;
mod replay;
mod replay_cases;
mod shards;
mod skip;
mod stack;

/// The code under test under the names that `model.rs` uses, also when `model.rs` is compiled alone.
mod batch_parts {
    pub(crate) use records::flow::batch_parts::BatchParts;
}
mod tracker {
    pub(crate) use records::flow::tracker::{Action, BatchId, Input, Tracker};
}
