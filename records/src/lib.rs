//! What a record of the log becomes, without I/O and clock.
//!
//! In reading order: a record becomes a click (`decode`), a row (`enrich`) and a column (`encode`), or a
//! dead letter (`error`, `dead_letters`); `flow` decides what is inserted and committed together;
//! `replay` holds what is read again.

pub mod dead_letters;
pub mod decode;
pub mod encode;
pub mod enrich;
pub mod error;
pub mod flow;
pub mod replay;
