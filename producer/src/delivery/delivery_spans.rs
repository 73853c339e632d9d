//! The spans of sampled clicks in flight: each lasts from the send of its click to the acknowledgement, in the
//! trace of the click's request.

use std::collections::BTreeMap;

use opentelemetry::trace::{Status, TraceContextExt as _};
use schemas::TraceContext;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::delivery::relay_client::ClickLocation;
use crate::outbox::offer::TraceHeaders;
use crate::request_span::remote_context;

/// Most spans of clicks in flight: each takes about a kilobyte. A click sent beyond them has none.
const SPANS_MAX: usize = 1_000;

/// The spans of one session, by sequence number.
#[derive(Debug, Default)]
pub(super) struct DeliverySpans {
    in_flight: BTreeMap<u64, Span>,
    /// A span was made and is not exported, so the process exports none.
    is_off: bool,
}

impl DeliverySpans {
    /// The click `number` is sent. It gets a span if its request was sampled.
    pub(super) fn sent(&mut self, number: u64, trace: TraceHeaders<'_>) {
        if self.is_off || self.in_flight.len() >= SPANS_MAX {
            return;
        }
        let Some(parent) = sampled(trace) else { return };
        let span =
            tracing::info_span!("deliver", otel.kind = "producer", messaging.system = "kafka");
        if let Err(error) = span.set_parent(remote_context(parent)) {
            tracing::debug!(%error, "cannot set the parent of a span");
        }
        if span.context().span().span_context().is_valid() {
            self.in_flight.insert(number, span);
        } else {
            self.is_off = true;
        }
    }

    /// The broker has the click `number`.
    pub(super) fn acknowledged(&mut self, number: u64, location: Option<ClickLocation>) {
        let Some(span) = self.in_flight.remove(&number) else { return };
        if let Some(ClickLocation { partition, offset }) = location {
            span.set_attribute("messaging.destination.partition.id", i64::from(partition));
            span.set_attribute("messaging.kafka.offset", offset);
        }
    }

    /// The client failed. The next session sends the clicks again, with other spans.
    pub(super) fn failed(&mut self, code: &'static str) {
        for span in std::mem::take(&mut self.in_flight).into_values() {
            span.set_status(Status::error(code));
        }
    }
}

/// The trace of the click's request, if it was sampled.
fn sampled(trace: TraceHeaders<'_>) -> Option<TraceContext> {
    // Most requests are not sampled, by the flags at the end.
    let header = trace.traceparent.filter(|header| !header.ends_with("-00"))?;
    TraceContext::parse(header).filter(|trace| trace.sampled)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn the_clicks_of_sampled_requests_have_a_trace() {
        let unsampled = SAMPLED.replace("-01", "-00");
        let other_flags = SAMPLED.replace("-01", "-02");
        for (traceparent, is_sampled) in [
            (Some(SAMPLED), true),
            (Some(unsampled.as_str()), false),
            (Some(other_flags.as_str()), false),
            (Some("nonsense"), false),
            (None, false),
        ] {
            let found = sampled(TraceHeaders { traceparent, tracestate: None });
            assert_eq!(found.is_some(), is_sampled, "{traceparent:?}");
        }
    }

    #[test]
    fn without_an_exporter_one_span_is_made_and_none_is_kept() {
        let mut spans = DeliverySpans::default();
        let trace = TraceHeaders { traceparent: Some(SAMPLED), tracestate: None };
        for number in 0..3 {
            spans.sent(number, trace);
        }
        assert!(spans.is_off && spans.in_flight.is_empty());
        spans.acknowledged(1, None);
    }
}
