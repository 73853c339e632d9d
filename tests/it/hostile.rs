//! Hostile input: every cost is bounded, no service stops, every loss is counted.
pub(crate) mod batches;
pub(crate) mod costs;
pub(crate) mod record_lengths;
pub(crate) mod records;
pub(crate) mod schema_costs;
pub(crate) mod seeded_input;
