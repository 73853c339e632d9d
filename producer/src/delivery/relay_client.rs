//! What the relay needs of a client of the broker: send, and report each result.
//!
//! Pure: the client itself is in `kafka`.

use crate::outbox::offer::TraceHeaders;

/// A client of the broker, from its start until it fails or the relay stops.
pub trait RelayClient {
    /// Sends a framed click and never waits; a report with its sequence number follows.
    ///
    /// # Errors
    /// The client did not take it.
    fn send(
        &self,
        number: u64,
        record: &[u8],
        trace: TraceHeaders<'_>,
    ) -> Result<(), DeliveryFault>;

    /// Takes the reports since the last call. The client notifies the wakeup when there are some.
    fn reports(&self) -> Vec<DeliveryReport>;
}

/// The result of one send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeliveryReport {
    /// The sequence number of the click.
    pub number: u64,
    /// Whether all replicas have it.
    pub delivered: Result<(), DeliveryFault>,
    /// When the broker appended it by its own clock, milliseconds since 1970, where it says so.
    pub logged_at_ms: Option<u64>,
}

/// Why a click was not delivered. The relay sends it again, whatever the fault was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryFault {
    /// The client cannot be made.
    Client,
    /// The client failed and does not recover.
    ProducerFatal,
    /// The topic does not exist.
    UnknownTopic,
    /// The broker does not authorize the producer.
    NotAuthorized,
    /// The batch is larger than the broker accepts.
    BatchTooLarge,
    /// Only where the operator set a time limit.
    TimedOut,
    /// The click alone is too large for the client: the one fault that sending again does not fix.
    ClickTooLarge,
    /// Any other answer of the broker.
    Broker,
    /// The outbox cannot be read.
    Disk,
}

impl DeliveryFault {
    /// Stable name: metric label, log field and heading in the RUNBOOK.
    pub fn code(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::ProducerFatal => "producer_fatal",
            Self::UnknownTopic => "unknown_topic",
            Self::NotAuthorized => "not_authorized",
            Self::BatchTooLarge => "batch_too_large",
            Self::TimedOut => "timed_out",
            Self::ClickTooLarge => "too_large",
            Self::Broker => "broker",
            Self::Disk => "outbox_read",
        }
    }
}
