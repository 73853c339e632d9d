//! The contract between whoever writes clicks and whoever reads them.
//!
//! Holds the Avro schemas, the topic descriptions, the wire framing and the
//! codec. It does no I/O, reads no clock and knows neither Kafka nor HTTP.

mod click;
mod codec;
pub mod compat;
pub mod datum;
mod example;
mod frame;
pub mod headers;
mod link;
mod topic;
mod trace;

pub use click::{ClientIpPolicy, Contract, EventId, Method, Origin, Outcome, RawClick};
pub use codec::{DecodeError, Decoder, Encoder};
pub use example::Example;
pub use frame::{FrameError, SchemaId, frame, unframe};
pub use link::{EncodeError, LINKS_NEWEST, LINKS_RELEASED, LinkDecoder, LinkEncoder, RawLink};
pub use topic::{TopicName, TopicNameError, TopicSpec};
pub use trace::{
    TRACEPARENT_BYTES, TRACESTATE_BYTES_MAX, TraceContext, Traceparent, tracestate_is_plain,
};

/// Released versions of the click schema, oldest first. A released file is
/// never edited; the newest is the one that is written.
pub const RELEASED: &[(&str, &str)] =
    &[("clicks.raw.v1.avsc", include_str!("../avro/clicks.raw.v1.avsc"))];

/// The schema that producers write: the newest of [`RELEASED`].
pub const NEWEST: &str = RELEASED[RELEASED.len() - 1].1;
