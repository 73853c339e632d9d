//! Compares the log with the table, event by event.
pub mod balance;
pub mod continuous;
pub mod decoded_events;
pub mod entry;
pub mod examples;
pub mod external_sort;
pub mod full;
pub mod window;
