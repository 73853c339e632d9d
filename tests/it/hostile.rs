//! Hostile input: what it costs is bounded, it stops nothing, and what it loses is counted.
pub(crate) mod costs;
pub(crate) mod records;
pub(crate) mod schema_costs;
//! Hostile input: every cost is bounded, nothing halts, nothing is lost uncounted.
pub(crate) mod batches;
