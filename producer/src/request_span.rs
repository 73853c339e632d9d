//! The span of a sampled redirect, and ids for traces that start here.
//!
//! A span costs a microsecond and more, so an unsampled request gets none: only
//! ids for its headers.

use opentelemetry::trace::{
    SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState,
};
use opentelemetry_sdk::trace::{IdGenerator as _, RandomIdGenerator};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use schemas::TraceContext;

/// Which requests are traced.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// Whether spans leave the process; if not, no trace starts here, and a parent's goes on
    /// through the record's headers all the same.
    pub exports: bool,
    /// Share of the requests without a parent that start a sampled trace, 0 to 1.
    pub ratio: f64,
}

/// The context of one redirect below `parent`, and its span where it is sampled.
pub fn redirect(sampling: Sampling, parent: Option<TraceContext>) -> (TraceContext, Span) {
    let span_id = RandomIdGenerator::default().new_span_id().to_bytes();
    let context = match parent {
        Some(parent) => parent.child(span_id),
        None => {
            let ratio = if sampling.exports { sampling.ratio } else { 0.0 };
            TraceContext::root(random(), span_id, ratio)
        }
    };
    if !(context.sampled && sampling.exports) {
        return (context, Span::none());
    }
    let span = tracing::info_span!(
        target: "producer",
        "redirect",
        otel.kind = "server",
        http.request.method = tracing::field::Empty,
        http.response.status_code = tracing::field::Empty,
        url.path = tracing::field::Empty,
        clicktrail.outcome = tracing::field::Empty,
        clicktrail.event_id = tracing::field::Empty,
    );
    if let Some(parent) = parent {
        let remote = opentelemetry::Context::new().with_remote_span_context(remote(parent));
        if let Err(error) = span.set_parent(remote) {
            tracing::debug!(%error, "cannot set the parent of a span");
        }
    }
    // The exporter draws the ids of its spans itself; the headers must name the same.
    let exported = span.context().span().span_context().clone();
    if !exported.is_valid() {
        return (context, Span::none());
    }
    let trace_id = exported.trace_id().to_bytes();
    let span_id = exported.span_id().to_bytes();
    (TraceContext { trace_id, span_id, sampled: true }, span)
}

/// 16 random bytes.
pub fn random() -> [u8; 16] {
    RandomIdGenerator::default().new_trace_id().to_bytes()
}

fn remote(parent: TraceContext) -> SpanContext {
    SpanContext::new(
        TraceId::from_bytes(parent.trace_id),
        SpanId::from_bytes(parent.span_id),
        TraceFlags::SAMPLED,
        true,
        TraceState::NONE,
    )
}
