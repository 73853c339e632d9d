//! The labels of the metrics, and how a metric is registered.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::registry::{Metric, Registry};

/// A label `outcome`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OutcomeLabel {
    /// One of the schema's outcomes, `method_not_allowed`, or `rate_limited`.
    pub outcome: &'static str,
}

/// A label `code`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CodeLabel {
    /// [`Loss::code`](crate::outbox::offer::Loss::code), or
    /// [`DeliveryFault::code`](crate::delivery::relay_client::DeliveryFault::code).
    pub code: &'static str,
}

/// A label `result`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ResultLabel {
    /// One of the results that the metric lists.
    pub result: &'static str,
}

/// Labels of the clicks that a privacy policy changed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PrivacyLabel {
    /// [`crate::client::privacy::PrivacyRequest::as_str`].
    pub asked: &'static str,
    /// [`crate::client::privacy::PrivacyPolicy::as_str`].
    pub done: &'static str,
}

/// A label `limit`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct LimitLabel {
    /// The name of the limit.
    pub limit: &'static str,
}

/// A label `cause`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CauseLabel {
    /// [`crate::public_port::refused_request::RefusedRequest::as_str`].
    pub cause: &'static str,
}

/// Registers a metric. The encoder appends `_total` to the name of a counter, so `name` loses it here.
pub(super) fn add(registry: &mut Registry, name: &str, help: &str, metric: &(impl Metric + Clone)) {
    registry.register(name.strip_suffix("_total").unwrap_or(name), help, metric.clone());
}
