//! Reads what the Rust binding of librdkafka does not pass on: the partition and offset of an error, the log
//! lines between two messages, and headers whose name is not UTF-8, at which the binding panics.
#![expect(unsafe_code, reason = "calls librdkafka's own interface where the binding has none")]

use std::borrow::Cow;
use std::ffi::{CStr, c_char, c_int};

use rdkafka::bindings as native;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::message::BorrowedMessage;

/// The message that a consumer received.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Polled {
    /// Nothing within the time.
    Nothing,
    /// A record of this partition.
    Record(i32),
    /// An error.
    Failed(ConsumeError),
}

/// An error with its place in the log.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ConsumeError {
    /// Partition.
    pub(crate) partition: i32,
    /// Of a batch that cannot be read: its base offset.
    pub(crate) offset: i64,
    /// The library's code.
    pub(crate) code: Code,
}

/// Receives one message of `consumer`, which no other code polls. Blocks for at most `wait_ms`
/// milliseconds.
pub(crate) fn poll<C: ConsumerContext>(consumer: &BaseConsumer<C>, wait_ms: i32) -> Polled {
    // SAFETY: the handle lives as long as `consumer`, which is borrowed.
    let message =
        unsafe { native::rd_kafka_consumer_poll(consumer.client().native_ptr(), wait_ms) };
    if message.is_null() {
        return Polled::Nothing;
    }
    // SAFETY: the library returned it, and it is not destroyed before the next statement.
    let (code, partition, offset) =
        unsafe { ((*message).err, (*message).partition, (*message).offset) };
    // SAFETY: it is not used afterwards.
    unsafe { native::rd_kafka_message_destroy(message) };
    if code == native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
        return Polled::Record(partition);
    }
    Polled::Failed(ConsumeError { partition, offset, code: code.into() })
}

/// syslog's level of debug lines, and the one above it.
const DEBUG: c_int = 7;
const INFO: c_int = 6;

/// A context that reads the library's debug lines.
pub(crate) trait DebugLines: ConsumerContext {
    /// Takes a debug line. Returns whether the library is to queue more of them.
    fn take_line(&self, line: &str) -> bool;
}

/// Makes [`poll`] pass the library's log lines to the context of `consumer`, instead of printing them to
/// standard error.
pub(crate) fn pass_log_lines<C: DebugLines>(consumer: &BaseConsumer<C>) {
    // SAFETY: the handle lives as long as `consumer`. Log lines are queued, so only the thread that polls
    // reads the function.
    unsafe { native::rd_kafka_set_logger(consumer.client().native_ptr(), Some(log::<C>)) };
}

/// Whether the library queues debug lines from now on.
pub(crate) fn set_debug<C: ConsumerContext>(consumer: &BaseConsumer<C>, is_on: bool) {
    let level = if is_on { DEBUG } else { INFO };
    // SAFETY: the handle lives as long as `consumer`; the level is a number that the library's threads read
    // before they queue a line.
    unsafe { native::rd_kafka_set_log_level(consumer.client().native_ptr(), level) };
}

/// The library's log function of a client whose context is a `C`.
unsafe extern "C" fn log<C: DebugLines>(
    client: *const native::rd_kafka_t,
    level: c_int,
    facility: *const c_char,
    line: *const c_char,
) {
    // SAFETY: the binding sets the context as the client's opaque pointer, and it lives as long as the
    // client, which calls this function. Both texts end with a zero byte and live until it returns.
    let (context, facility, line) = unsafe {
        let context = native::rd_kafka_opaque(client).cast::<C>();
        (context.as_ref(), CStr::from_ptr(facility), CStr::from_ptr(line))
    };
    let (Some(context), line) = (context, line.to_string_lossy()) else { return };
    if level < DEBUG {
        context.log(RDKafkaLogLevel::Info, &facility.to_string_lossy(), &line);
    } else if !context.take_line(&line) {
        // SAFETY: as in `set_debug`; the client calls this function, so it lives.
        unsafe { native::rd_kafka_set_log_level(client.cast_mut(), INFO) };
    }
}

/// A header: its name, in which bytes that are not UTF-8 are replaced, and its bytes.
pub type NamedHeader<'m> = (Cow<'m, str>, Option<&'m [u8]>);

/// Headers of a record that are read; the library reads none of a record with more.
const HEADERS_READ_MAX: usize = 100_000;

/// The headers of a record, in order. `None`: the library does not read them, for instance because there are
/// more than 100,000.
pub fn message_headers<'m>(message: &'m BorrowedMessage<'_>) -> Option<Vec<NamedHeader<'m>>> {
    let mut headers = std::ptr::null_mut();
    // SAFETY: the message is borrowed; the library keeps the list as long as the message.
    let found = unsafe { native::rd_kafka_message_headers(message.ptr(), &raw mut headers) };
    if found == native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__NOENT {
        return Some(Vec::new());
    }
    if found != native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR || headers.is_null() {
        return None;
    }
    // SAFETY: the list is the one that the library returned.
    let count = unsafe { native::rd_kafka_header_cnt(headers) };
    let header = |index| {
        let (mut name, mut value, mut size) = (std::ptr::null(), std::ptr::null(), 0);
        // SAFETY: as above; the three pointers are to local variables.
        let found = unsafe {
            native::rd_kafka_header_get_all(
                headers,
                index,
                &raw mut name,
                &raw mut value,
                &raw mut size,
            )
        };
        if found != native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return None;
        }
        // SAFETY: the library terminates each name by a zero byte, and `size` is that of the value;
        // both live as long as the message.
        let (name, value) = unsafe {
            let value =
                (!value.is_null()).then(|| std::slice::from_raw_parts(value.cast::<u8>(), size));
            (CStr::from_ptr(name).to_string_lossy(), value)
        };
        Some((name, value))
    };
    Some((0..count.min(HEADERS_READ_MAX)).map_while(header).collect())
}
