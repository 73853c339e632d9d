//! Compares the log with the table, event by event.
pub mod balance;
pub mod continuous_audit;
pub mod dead_letter_merge;
pub mod decoded_events;
pub mod entry;
pub mod examples;
pub mod external_sort;
pub mod follow_args;
pub mod full_audit;
pub mod pending_offsets;
pub(crate) mod pending_work;
pub mod sort_args;
pub mod unreadable_batches;
pub mod unshown_records;
pub mod window;
pub mod window_comparison;
