//! Dead letters: records that cannot become rows, and what an operator does with them.
pub mod edit_form;
pub mod headers;
pub mod hex_dump;
pub mod inspection;
pub mod letter;
pub mod message_pattern;
pub mod origin;
pub mod record_report;
pub mod record_schema;
pub mod redrive_decision;
pub mod redrive_plan;
pub mod redriven_copy;
pub mod repair;
pub mod shown_text;
pub mod state;
pub mod verdict;
