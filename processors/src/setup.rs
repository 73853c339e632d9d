//! Compares servers with what the processors need, and brings them up to date.
pub mod apply;
pub mod gather_facts;
pub mod preflight;
