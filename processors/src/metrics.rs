//! Every metric of the processors and of the audit: names, units and labels.

pub mod audit;
pub mod dead_letters_held;
pub mod held_jobs;
mod labels;
pub mod optional_gauge;
pub mod processor;
pub mod replay;
pub mod rules;
pub mod shard_inserts;
