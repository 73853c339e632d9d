//! The offer of a click to the outbox, and the codes of its loss.

/// Takes encoded clicks and never waits.
pub trait ClickSink: Send + Sync + 'static {
    /// Takes the Avro datum of one click. [`Offered::Queued`] promises that it is written to disk
    /// and delivered, or counted as lost. Returns at once, whatever disk and broker do.
    fn offer(&self, datum: &[u8], trace: TraceHeaders<'_>) -> Offered;

    /// The same for a click that is no redirect: it is lost while the last fifth of the outbox is in
    /// use, which is kept for redirects.
    fn offer_unreserved(&self, datum: &[u8], trace: TraceHeaders<'_>) -> Offered;
}

impl<S: ClickSink> ClickSink for std::sync::Arc<S> {
    fn offer(&self, datum: &[u8], trace: TraceHeaders<'_>) -> Offered {
        S::offer(self, datum, trace)
    }

    fn offer_unreserved(&self, datum: &[u8], trace: TraceHeaders<'_>) -> Offered {
        S::offer_unreserved(self, datum, trace)
    }
}

/// Trace headers of one record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TraceHeaders<'a> {
    /// W3C `traceparent`.
    pub traceparent: Option<&'a str>,
    /// W3C `tracestate`, as the client sent it.
    pub tracestate: Option<&'a str>,
}

/// The result of an offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Offered {
    /// The click waits in memory to be written.
    Queued,
    /// Lost, and counted under this reason.
    Lost(Loss),
}

/// Why a click was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Loss {
    /// Too many clicks waited in memory for the disk.
    QueueFull,
    /// The outbox was full.
    OutboxFull,
    /// It was no redirect, and the outbox had room for redirects only.
    OutboxReserved,
    /// The disk refused to take it.
    OutboxDisk,
    /// It was on the disk and cannot be read any more.
    OutboxCorrupt,
    /// Larger than the outbox or the client takes.
    TooLarge,
    /// The click could not be written by its schema: a bug of ours.
    Encode,
    /// It came when the process was ending.
    Shutdown,
}

impl Loss {
    /// Every reason.
    pub const ALL: [Self; 8] = [
        Self::QueueFull,
        Self::OutboxFull,
        Self::OutboxReserved,
        Self::OutboxDisk,
        Self::OutboxCorrupt,
        Self::TooLarge,
        Self::Encode,
        Self::Shutdown,
    ];

    /// Stable name: metric label, log field and heading in the RUNBOOK.
    pub fn code(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::OutboxFull => "outbox_full",
            Self::OutboxReserved => "outbox_reserved",
            Self::OutboxDisk => "outbox_disk",
            Self::OutboxCorrupt => "outbox_corrupt",
            Self::TooLarge => "too_large",
            Self::Encode => "encode",
            Self::Shutdown => "shutdown",
        }
    }
}
