//! The offer of a click to the outbox, and the codes of its loss.

/// Accepts encoded clicks, and never waits.
pub trait ClickSink: Send + Sync + 'static {
    /// Offers the Avro datum of one click. [`Offered::Queued`] promises that the click is written to the
    /// disk and delivered, or counted as lost. Returns at once, in any state of disk and broker.
    fn offer(&self, datum: &[u8], trace: TraceHeaders<'_>) -> Offered;

    /// Offers a click that is no redirect. The last fifth of the outbox is reserved for redirects: while
    /// it is in use, this click is lost.
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
    /// The click is in memory, and waits to be written.
    Queued,
    /// The click is lost, and counted under this code.
    Lost(Loss),
}

/// Why a click was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Loss {
    /// Too many clicks waited in memory for the disk.
    QueueFull,
    /// The outbox was full.
    OutboxFull,
    /// The click was no redirect, and the outbox had room for redirects only.
    OutboxReserved,
    /// The disk could not store it.
    OutboxDisk,
    /// It was on the disk, and can no longer be read.
    OutboxCorrupt,
    /// It is larger than the outbox or the Kafka client accepts.
    TooLarge,
    /// It could not be encoded by its schema: a bug of this program.
    Encode,
    /// It was offered while the process was stopping.
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
