//! Names of the record headers that writers and readers agree on.

/// W3C trace context of the request, 55 bytes, of a trace that is sampled or that the request named. A record
/// without it is in the trace whose id is its event id, or in none if its identifiers are stripped.
pub const TRACEPARENT: &str = "traceparent";
/// Vendor part of the trace context, where the client sent one.
pub const TRACESTATE: &str = "tracestate";

/// Stable snake_case code of the error that made a dead letter.
pub const DEAD_LETTER_CODE: &str = "clicktrail-error-code";
/// Log time of the original record, milliseconds since 1970.
pub const DEAD_LETTER_LOG_TIME: &str = "clicktrail-original-timestamp";
/// Registry id found in the original's frame, where there was one.
pub const DEAD_LETTER_SCHEMA_ID: &str = "clicktrail-schema-id";
/// When the record failed for the first time, milliseconds since 1970.
pub const DEAD_LETTER_FIRST_FAILURE: &str = "clicktrail-first-failure";
/// How often a processor tried the record.
pub const DEAD_LETTER_ATTEMPTS: &str = "clicktrail-attempts";
/// How often an operator sent it back to the source topic.
pub const DEAD_LETTER_REDRIVES: &str = "clicktrail-redrives";
/// The record that failed first, `topic:partition:offset:log time`: of a redriven record, and of each
/// dead letter.
pub const DEAD_LETTER_ORIGIN: &str = "clicktrail-origin";
/// The part of the original that a stub leaves out: `record` or `batch`. Only a stub has it.
pub const DEAD_LETTER_STUB: &str = "clicktrail-stub";
/// Bytes of the value that a stub leaves out.
pub const STUB_VALUE_BYTES: &str = "clicktrail-original-value-bytes";
/// SHA-256 of the value that a stub leaves out, in hexadecimal digits.
pub const STUB_VALUE_SHA256: &str = "clicktrail-original-value-sha256";
/// Bytes of the key that a stub leaves out.
pub const STUB_KEY_BYTES: &str = "clicktrail-original-key-bytes";
/// SHA-256 of the key that a stub leaves out, in hexadecimal digits.
pub const STUB_KEY_SHA256: &str = "clicktrail-original-key-sha256";
/// Number of headers that a stub leaves out.
pub const STUB_HEADERS: &str = "clicktrail-original-headers";
/// `true`: the headers of the original are missing, because the processor could not read them.
pub const STUB_HEADERS_UNREADABLE: &str = "clicktrail-original-headers-unreadable";
/// Last offset of a batch that cannot be read.
pub const STUB_LAST_OFFSET: &str = "clicktrail-original-last-offset";
/// Topic of the original, under the name that Kafka Connect uses.
pub const CONNECT_TOPIC: &str = "__connect.errors.topic";
/// Partition of the original.
pub const CONNECT_PARTITION: &str = "__connect.errors.partition";
/// Offset of the original.
pub const CONNECT_OFFSET: &str = "__connect.errors.offset";
/// Stage that failed.
pub const CONNECT_STAGE: &str = "__connect.errors.stage";
/// Class of the failure.
pub const CONNECT_CLASS: &str = "__connect.errors.exception.class.name";
/// Message of the failure, for operators.
pub const CONNECT_MESSAGE: &str = "__connect.errors.exception.message";
