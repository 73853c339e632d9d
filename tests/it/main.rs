//! The promises, one module each, against the real broker, registry and ClickHouse engine.
//!
//! The name of a test is the promise it holds. `arrivals`, `golden`, `model`, `seeded`, `sim` and `tidy`
//! need no backend.

mod arrivals;
mod audit;
mod breaker;
mod brokers;
mod chaos;
mod clients;
mod contract;
mod dashboards;
mod dead_letter;
mod delivery;
mod deploy;
mod disks;
mod durability;
mod edge;
mod front;
mod golden;
mod group;
mod lifecycle;
mod links;
mod model;
mod outbox;
mod positions;
mod progress;
mod protocol;
mod replay;
mod rules;
mod seeded;
mod sim;
mod storm;
mod strain;
mod telemetry;
mod tidy;

/// What `model.rs` is about, under the name that it also has when it is compiled alone.
mod tracker {
    pub(crate) use processors::flow::tracker::{Action, BatchId, Input, Tracker};
}
