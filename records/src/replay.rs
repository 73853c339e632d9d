//! A replay: which ranges of the log are read again, by which rules, and how far they are read. Pure.

pub mod day_passes;
pub mod live_lag;
pub mod log_day;
pub mod log_range;
pub mod log_window;
pub mod occurred_window;
pub mod pinned_rules;
pub mod planned_partition;
pub mod progress_rate;
pub mod range_progress;
pub mod replay_pass;
pub mod replay_plan;
pub mod replay_throttle;
pub mod row_selection;
pub mod selected_offsets;
pub mod throttle_limits;
