//! Where one topic is: brokers, schema registry and name.

use broker::{Brokers, Registry};
use schemas::TopicName;

/// Where one topic is.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// The brokers.
    pub brokers: Brokers,
    /// The registry that holds the topic's schemas.
    pub registry: Registry,
    /// The topic.
    pub topic: TopicName,
}
