//! Hostile input: every cost is bounded, nothing halts, nothing is lost uncounted.
pub(crate) mod batches;
pub(crate) mod costs;
pub(crate) mod records;
pub(crate) mod schema_costs;
pub(crate) mod seeded_input;
