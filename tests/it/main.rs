//! The promises, one module each, against the real broker, registry and ClickHouse engine.
//!
//! The name of a test is the promise it holds. `golden` and `tidy` need no backend.
#![expect(clippy::disallowed_methods, reason = "tests read clocks and the environment")]

mod contract;
mod dead_letter;
mod delivery;
mod front;
mod golden;
mod positions;
mod redirect;
mod telemetry;
mod tidy;
