//! The ids of exported spans. A trace that starts may take an id that its caller has chosen, which the SDK's
//! own generator cannot.

use std::cell::Cell;

use opentelemetry::trace::{SpanId, TraceId};
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator};

thread_local! {
    static CHOSEN: Cell<Option<[u8; 16]>> = const { Cell::new(None) };
}

/// Calls `start`. The first trace that it starts on this thread has this id; a span below a parent stays in the
/// trace of the parent.
pub fn with_trace_id<T>(trace_id: [u8; 16], start: impl FnOnce() -> T) -> T {
    CHOSEN.set(Some(trace_id));
    let started = start();
    CHOSEN.set(None);
    started
}

/// Random ids, except where a caller has chosen one.
#[derive(Debug, Default)]
pub(crate) struct TraceIds(RandomIdGenerator);

impl IdGenerator for TraceIds {
    fn new_trace_id(&self) -> TraceId {
        CHOSEN.take().map_or_else(|| self.0.new_trace_id(), TraceId::from_bytes)
    }

    fn new_span_id(&self) -> SpanId {
        self.0.new_span_id()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chosen_id_is_used_once_and_does_not_outlast_its_call() {
        let ids = TraceIds::default();
        let chosen = TraceId::from_bytes([7; 16]);
        let started = with_trace_id([7; 16], || [ids.new_trace_id(), ids.new_trace_id()]);
        assert_eq!(started[0], chosen);
        assert_ne!(started[1], chosen);
        with_trace_id([7; 16], || ());
        assert_ne!(ids.new_trace_id(), chosen);
    }
}
