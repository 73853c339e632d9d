//! Links: the store, the topic, and the hosts that follow it.
pub(crate) mod behind;
pub(crate) mod hosts;
pub(crate) mod publisher_steps;
pub(crate) mod store;
