//! Resets the committed positions of a consumer group, also while it has members.

pub(crate) mod equivalent_commands;
pub(crate) mod group_reset;
pub(crate) mod held_reset;
pub mod reset;
pub(crate) mod reset_target;
pub(crate) mod skip;
