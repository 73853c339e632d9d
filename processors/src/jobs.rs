//! Jobs: work of an operator that takes long, such as a redrive. A job is planned, runs, and ends; another
//! host can resume it.

pub mod cancellation;
pub mod claim;
pub mod claim_rules;
pub mod job;
pub mod job_listing;
pub mod job_request;
pub mod running_job;
pub(crate) mod skipped_gap;
