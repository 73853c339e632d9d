//! Checks of the source tree itself.
pub(crate) mod tidy;
