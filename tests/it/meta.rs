//! Checks of the source tree itself.
mod tidy;
