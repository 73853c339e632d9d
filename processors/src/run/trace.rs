//! Traces: links the trace of a batch to the traces of its requests, and passes it to the server.

use opentelemetry::trace::{
    SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState,
};
use schemas::TraceContext;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// Links the current span to the requests whose clicks it processes.
pub(crate) fn link(sampled: &[TraceContext]) {
    let span = tracing::Span::current();
    for trace in sampled {
        let context = SpanContext::new(
            TraceId::from_bytes(trace.trace_id),
            SpanId::from_bytes(trace.span_id),
            TraceFlags::SAMPLED,
            true,
            TraceState::default(),
        );
        span.add_link(context);
    }
}

/// The `traceparent` of a span for the server; none when spans are not exported.
pub(crate) fn traceparent(span: &tracing::Span) -> Option<String> {
    let context = span.context();
    let context = context.span().span_context().clone();
    let trace = TraceContext {
        trace_id: context.trace_id().to_bytes(),
        span_id: context.span_id().to_bytes(),
        sampled: context.is_sampled(),
    };
    context.is_valid().then(|| trace.traceparent().as_str().to_owned())
}
