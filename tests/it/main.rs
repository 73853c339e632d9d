//! The promises, one module each, against the real broker, registry and ClickHouse engine.
//!
//! The name of a test is the promise it holds. `arrivals`, `costs`, `golden`, `model`, `seeded`, `sim` and `tidy`
//! need no backend.

mod delivery;
mod deploy;
mod edge;
mod enrich;
mod hostile;
mod links;
mod meta;
mod proof;
mod stack;

/// What `model.rs` is about, under the name that it also has when it is compiled alone.
mod tracker {
    pub(crate) use processors::flow::tracker::{Action, BatchId, Input, Tracker};
}
