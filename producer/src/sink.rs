//! Where clicks go: the seam between whoever makes a click and the broker.
//!
//! Holds the trait and its words; the broker's side is in `publish`.

/// Takes encoded clicks without ever waiting.
pub trait ClickSink: Send + Sync + 'static {
    /// Takes one framed record. [`Offered::Queued`] promises an attempt and that its end is
    /// counted, not delivery. Returns at once, whatever the broker does.
    fn offer(&self, record: &[u8], trace: TraceHeaders<'_>) -> Offered;
}

/// Trace headers of one record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TraceHeaders<'a> {
    /// W3C `traceparent`.
    pub traceparent: Option<&'a str>,
    /// W3C `tracestate`, as the client sent it.
    pub tracestate: Option<&'a str>,
}

/// What became of an offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Offered {
    /// Waits for delivery.
    Queued,
    /// Lost, and counted under this reason.
    Lost(Loss),
}

/// Why a click was not delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Loss {
    /// The bounded queue was full.
    QueueFull,
    /// The process ended before the broker acknowledged (it may have it all the same).
    Shutdown,
    /// Larger than broker or client allow.
    TooLarge,
    /// The topic is not there.
    UnknownTopic,
    /// The broker refuses us.
    NotAuthorized,
    /// Only where the operator set a time limit.
    TimedOut,
    /// The client gave up for good; nothing is sent any more.
    ProducerFatal,
    /// The click could not be written by its schema: a bug of ours.
    Encode,
    /// Anything else that the broker answered.
    Broker,
}

impl Loss {
    /// Every reason.
    pub const ALL: [Self; 9] = [
        Self::QueueFull,
        Self::Shutdown,
        Self::TooLarge,
        Self::UnknownTopic,
        Self::NotAuthorized,
        Self::TimedOut,
        Self::ProducerFatal,
        Self::Encode,
        Self::Broker,
    ];

    /// Stable name: metric label, log field and heading in the RUNBOOK.
    pub fn code(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::Shutdown => "shutdown",
            Self::TooLarge => "too_large",
            Self::UnknownTopic => "unknown_topic",
            Self::NotAuthorized => "not_authorized",
            Self::TimedOut => "timed_out",
            Self::ProducerFatal => "producer_fatal",
            Self::Encode => "encode",
            Self::Broker => "broker",
        }
    }
}
