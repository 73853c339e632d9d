//! Enrichment: the results of the rules.
pub(crate) mod arrivals;
pub(crate) mod golden;
pub(crate) mod people_and_machines;
pub(crate) mod referrer_lists;
pub(crate) mod rules;
pub(crate) mod stale_rows;
