//! Replays: reads ranges of the log again beside live processing, as a job of any number of workers, and
//! verifies that every click of the ranges was rewritten.
//!
//! A replay has a consumer group of its own, so that it moves no position of live processing. Its workers
//! run the pipeline of `processors run`; correctness never depends on who runs the job, since a record that
//! is processed again replaces its own row.

pub(crate) mod compared_columns;
pub(crate) mod dry_run_report;
pub(crate) mod job_progress;
pub(crate) mod job_role;
pub(crate) mod loaded_rules;
pub(crate) mod orphaned_rows;
pub(crate) mod pass_days;
pub(crate) mod pass_pipeline;
pub(crate) mod planned_row;
pub(crate) mod planning;
pub(crate) mod range_records;
pub(crate) mod replay_admin;
pub(crate) mod replay_bar;
pub(crate) mod replay_estimate;
pub(crate) mod replay_group;
pub(crate) mod replay_progress;
pub(crate) mod replay_sinks;
pub(crate) mod replay_verdict;
pub(crate) mod replay_worker;
pub(crate) mod row_comparison;
pub(crate) mod stored_plan;
pub(crate) mod throttle_state;
pub(crate) mod throttle_watch;
pub(crate) mod throttled_source;
pub(crate) mod verification;
pub(crate) mod window_ranges;
pub(crate) mod work_end;
pub(crate) mod worker_output;
pub(crate) mod worker_tasks;
