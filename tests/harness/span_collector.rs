//! A collector of spans that keeps all that it receives.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use prost::Message as _;

use crate::post_receiver::PostReceiver;

/// A listening collector; it ends with the process of the test.
#[derive(Debug)]
pub struct SpanCollector {
    /// The OTLP endpoint.
    pub endpoint: String,
    receiver: PostReceiver,
}

impl SpanCollector {
    /// Listens.
    ///
    /// # Panics
    /// When there is no port.
    pub fn start() -> Self {
        let receiver = PostReceiver::start("/v1/traces");
        Self { endpoint: receiver.url(), receiver }
    }

    /// All bodies sent to `/v1/traces`, one after another.
    pub fn received(&self) -> Vec<u8> {
        self.receiver.bodies().concat()
    }

    /// All received spans.
    ///
    /// # Panics
    /// When a body does not follow the protocol.
    pub fn spans(&self) -> Vec<Span> {
        // Concatenated protobuf messages are one message with the fields of all.
        let received = self.received();
        let request = ExportTraceServiceRequest::decode(received.as_slice()).expect("OTLP");
        let mut spans = Vec::new();
        for of_resource in request.resource_spans {
            let attributes = of_resource.resource.map(|it| it.attributes).unwrap_or_default();
            let service = text(&attributes, "service.name").unwrap_or_default();
            let scopes = of_resource.scope_spans.into_iter();
            spans.extend(scopes.flat_map(|scope| scope.spans).map(|span| Span {
                service: service.clone(),
                name: span.name,
                trace_id: span.trace_id,
                span_id: span.span_id,
                parent: span.parent_span_id,
                links: span.links.into_iter().map(|link| (link.trace_id, link.span_id)).collect(),
                event_id: text(&span.attributes, "clicktrail.event_id"),
                query_id: text(&span.attributes, "clickhouse.query_id"),
                offset: number(&span.attributes, "messaging.kafka.offset"),
                nanos: (span.start_time_unix_nano, span.end_time_unix_nano),
            }));
        }
        spans
    }

    /// Whether the received bodies contain these bytes.
    pub fn holds(&self, needle: &[u8]) -> bool {
        self.received().windows(needle.len()).any(|window| window == needle)
    }
}

/// An exported span.
#[derive(Debug, Clone)]
pub struct Span {
    /// `service.name` of its resource.
    pub service: String,
    /// Its name.
    pub name: String,
    /// 16 bytes.
    pub trace_id: Vec<u8>,
    /// 8 bytes.
    pub span_id: Vec<u8>,
    /// Of its parent span; empty without one.
    pub parent: Vec<u8>,
    /// Trace and span of each of its links.
    pub links: Vec<(Vec<u8>, Vec<u8>)>,
    /// The event id of its click.
    pub event_id: Option<String>,
    /// The id of its query.
    pub query_id: Option<String>,
    /// The offset of its click.
    pub offset: Option<i64>,
    /// Begin and end, since 1970.
    pub nanos: (u64, u64),
}

fn text(attributes: &[KeyValue], key: &str) -> Option<String> {
    match value(attributes, key)? {
        Value::StringValue(text) => Some(text.clone()),
        _ => None,
    }
}

fn number(attributes: &[KeyValue], key: &str) -> Option<i64> {
    match value(attributes, key)? {
        Value::IntValue(number) => Some(*number),
        _ => None,
    }
}

fn value<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a Value> {
    attributes.iter().find(|it| it.key == key)?.value.as_ref()?.value.as_ref()
}
