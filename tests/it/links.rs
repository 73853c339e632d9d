//! Links: the store, the topic, and the hosts that follow it.
mod hosts;
mod publisher_steps;
mod store;
