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
mod skip;
mod stack;

/// The tracker under the name that `model.rs` uses, also when `model.rs` is compiled alone.
mod tracker {
    pub(crate) use records::flow::tracker::{Action, BatchId, Input, Tracker};
}
