//! Labels that several groups of metrics share.

use prometheus_client::encoding::EncodeLabelSet;

/// An error code, and nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct CodeLabel {
    pub(super) code: &'static str,
}
