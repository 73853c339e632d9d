//! Compares servers with what the processors need, and brings them up to date.
pub mod preflight;
