//! The trace of a redirect, and its span if it is sampled.
//!
//! A span costs a microsecond or more, so an unsampled request gets no span, only ids for the answer.

use opentelemetry::trace::{
    SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState,
};
use opentelemetry_sdk::trace::{IdGenerator as _, RandomIdGenerator};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use schemas::{EventId, TraceContext};
use service::trace_ids::with_trace_id;

/// Which requests are traced.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// Whether spans are exported. If not, no trace that starts here is sampled; the trace of a parent still
    /// continues in the headers of the record.
    pub exports: bool,
    /// Share of requests to sample, 0 to 1. If a trusted proxy names a parent, the sampling flag of the
    /// parent decides.
    pub ratio: f64,
}

/// The trace that a request is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestParent {
    /// The parent that the request names.
    pub context: TraceContext,
    /// Whether a trusted proxy sent it. The sampling flag of other clients is ignored: the trace continues
    /// under its id, but this host samples at random, not by an id that the visitor has chosen. (W3C
    /// Trace Context, 3.2: a service may change the flag; 5.3: it must not trust it.)
    pub is_trusted: bool,
}

/// The trace context of one redirect below `parent`, and its span if it is sampled. A trace that starts here
/// has the event id of the click as its id, so that it leads to the row: a UUID v7 ends in 56 random bits, as W3C
/// Trace Context asks of a trace id. Without identifiers the click has no `event_id` here, and the id is random.
pub fn redirect(
    sampling: Sampling,
    parent: Option<RequestParent>,
    event_id: Option<EventId>,
) -> (TraceContext, Span) {
    let ids = RandomIdGenerator::default();
    let span_id = ids.new_span_id().to_bytes();
    let own_id = event_id.map_or_else(|| ids.new_trace_id().to_bytes(), EventId::into_bytes);
    let ratio = if sampling.exports { sampling.ratio } else { 0.0 };
    let root = TraceContext::root(own_id, span_id, ratio);
    let context = match parent {
        Some(RequestParent { context, is_trusted: true }) => context.child(span_id),
        Some(RequestParent { context, is_trusted: false }) => {
            TraceContext { sampled: root.sampled, ..context.child(span_id) }
        }
        None => root,
    };
    if !(context.sampled && sampling.exports) {
        return (context, Span::none());
    }
    with_trace_id(own_id, || exported(context, parent))
}

/// The span of a sampled redirect, which is exported, and its context.
fn exported(context: TraceContext, parent: Option<RequestParent>) -> (TraceContext, Span) {
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
    if let Some(parent) = parent
        && let Err(error) = span.set_parent(remote_context(parent.context))
    {
        tracing::debug!(%error, "cannot set the parent of a span");
    }
    // The exporter generates the ids of its spans; the headers must have the same ids.
    let exported = span.context().span().span_context().clone();
    if !exported.is_valid() {
        return (context, Span::none());
    }
    let trace_id = exported.trace_id().to_bytes();
    let span_id = exported.span_id().to_bytes();
    (TraceContext { trace_id, span_id, sampled: true }, span)
}

/// The context of a sampled span of another process, as the parent of a span of this one.
pub(crate) fn remote_context(parent: TraceContext) -> opentelemetry::Context {
    opentelemetry::Context::new().with_remote_span_context(SpanContext::new(
        TraceId::from_bytes(parent.trace_id),
        SpanId::from_bytes(parent.span_id),
        TraceFlags::SAMPLED,
        true,
        TraceState::NONE,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn m13_a_visitor_does_not_decide_what_is_sampled() {
        for (exports, ratio) in [(true, 0.0), (false, 1.0), (false, 0.0)] {
            for trace_id in [[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0], [0xff; 16], [7; 16]]
            {
                let context = TraceContext { trace_id, span_id: [1; 8], sampled: true };
                let of = |is_trusted| {
                    let parent = RequestParent { context, is_trusted };
                    redirect(Sampling { exports, ratio }, Some(parent), None).0
                };
                let (visitors, proxys) = (of(false), of(true));
                assert!(!visitors.sampled, "{exports} {ratio} {trace_id:?}");
                assert_eq!((visitors.trace_id, proxys.trace_id), (trace_id, trace_id));
                assert!(proxys.sampled || exports);
            }
        }
    }

    #[test]
    fn a_trace_that_starts_here_has_the_event_id_unless_the_click_has_no_identifiers() {
        let id = EventId::from_u128(0x0196_0000_0000_7000_8000_0000_0000_0001);
        let context = TraceContext { trace_id: [7; 16], span_id: [1; 8], sampled: true };
        let parent = Some(RequestParent { context, is_trusted: true });
        for (parent, event_id, trace_id) in [
            (None, Some(id), Some(id.into_bytes())),
            (parent, Some(id), Some([7; 16])),
            (parent, None, Some([7; 16])),
            (None, None, None),
        ] {
            let of = || redirect(Sampling { exports: false, ratio: 1.0 }, parent, event_id).0;
            let (one, other) = (of(), of());
            assert_ne!(one.span_id, other.span_id);
            match trace_id {
                Some(trace_id) => assert_eq!([one.trace_id, other.trace_id], [trace_id; 2]),
                None => assert_ne!(one.trace_id, other.trace_id),
            }
        }
    }
}
