//! The contract between the programs that write clicks and those that read them.
//!
//! Holds the Avro schemas, the topic descriptions, the wire framing and the codec. It does no I/O, reads
//! no clock, and depends on neither Kafka nor HTTP.
//!
//! In reading order: the click, the symbols, the kinds of agents, bounds and text limits of its fields, the released
//! schemas, the datum and its frame, the writer's schema, the codec; a datum read in part; clicks as JSON; links;
//! topics, headers and trace context; the classes of errors.

mod agent_kind;
pub mod bounds;
mod click;
mod click_field;
mod codec;
pub mod compat;
mod datum;
mod decode_error;
mod editable_click;
mod error_class;
mod example;
mod field_value;
mod frame;
pub mod headers;
mod json_click;
mod link;
mod partial_datum;
mod released;
mod schema_refusal;
mod symbols;
pub mod text_limits;
mod topic;
mod trace;
pub mod writer_schema;

pub use click::{ContractError, EventId, RawClick};
pub use codec::{Decoder, Encoder};
pub use decode_error::DecodeError;
pub use editable_click::{EditError, EditableClick};
pub use error_class::{BATCH_UNREADABLE, ErrorClass};
pub use example::Example;
pub use field_value::FieldValue;
pub use frame::{FrameError, SchemaId, frame, unframe};
pub use json_click::{JsonClick, JsonTime, UnknownOutcome};
pub use link::{
    EncodeError, LINK_BYTES_MAX, LINK_VERSION_MAX, LINKS_NEWEST, LINKS_RELEASED, LinkContractError,
    LinkDecoder, LinkEncoder, RawLink,
};
pub use partial_datum::{PartialDatum, PartialDecoder};
pub use released::{NEWEST, RELEASED};
pub use schema_refusal::SchemaRefusal;
pub use symbols::{AgentKind, ClientIpPolicy, Method, Origin, Outcome};
pub use topic::{TopicName, TopicNameError, TopicSpec};
pub use trace::{
    TRACEPARENT_BYTES, TRACESTATE_BYTES_MAX, TraceContext, Traceparent, tracestate_is_plain,
};
