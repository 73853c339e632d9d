//! Traces: joins the trace of a batch and the traces of its requests, and passes it to the server.

use opentelemetry::trace::{
    SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState,
};
use schemas::TraceContext;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// Links the current span, that of a batch, to the requests whose clicks it processes. Returns a span in the
/// trace of each request, which is linked to the batch and ends with its drop; none when spans are not exported.
#[must_use]
pub(crate) fn link(sampled: &[TraceContext]) -> Vec<Span> {
    let batch = Span::current();
    let batch_context = batch.context().span().span_context().clone();
    if !batch_context.is_valid() {
        return Vec::new();
    }
    let link_one = |trace: &TraceContext| {
        let request = span_context(trace);
        batch.add_link(request.clone());
        let click = tracing::info_span!(parent: None, "store", otel.kind = "consumer");
        let remote = opentelemetry::Context::new().with_remote_span_context(request);
        if let Err(error) = click.set_parent(remote) {
            tracing::debug!(%error, "cannot set the parent of a span");
        }
        click.add_link(batch_context.clone());
        click
    };
    sampled.iter().map(link_one).collect()
}

fn span_context(trace: &TraceContext) -> SpanContext {
    SpanContext::new(
        TraceId::from_bytes(trace.trace_id),
        SpanId::from_bytes(trace.span_id),
        TraceFlags::SAMPLED,
        true,
        TraceState::default(),
    )
}

/// Names the query of the current span as `system.query_log` does.
pub(crate) fn note_query_id(query_id: &str) {
    Span::current().set_attribute("clickhouse.query_id", query_id.to_owned());
}

/// The `traceparent` of a span for the server; none when spans are not exported.
pub(crate) fn traceparent(span: &Span) -> Option<String> {
    let context = span.context();
    let context = context.span().span_context().clone();
    let trace = TraceContext {
        trace_id: context.trace_id().to_bytes(),
        span_id: context.span_id().to_bytes(),
        sampled: context.is_sampled(),
    };
    context.is_valid().then(|| trace.traceparent().as_str().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_an_exporter_no_span_is_made_for_a_sampled_click() {
        let sampled = [TraceContext { trace_id: [1; 16], span_id: [1; 8], sampled: true }];
        assert!(link(&sampled).is_empty());
        assert_eq!(traceparent(&Span::current()), None);
    }
}
