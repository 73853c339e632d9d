//! The Kafka client as the relay uses it: it sends clicks and reports each result.
//!
//! Pure: the implementation is in `kafka`.

use crate::outbox::offer::TraceHeaders;

/// A Kafka client, from its start until it fails or the relay stops.
pub trait RelayClient {
    /// Sends a framed click without waiting; a report with its sequence number follows.
    ///
    /// # Errors
    /// The client did not accept the click.
    fn send(
        &self,
        number: u64,
        record: &[u8],
        trace: TraceHeaders<'_>,
    ) -> Result<(), DeliveryFault>;

    /// Returns the reports since the last call. The client notifies the wakeup when every click in flight has
    /// one, when there are many, and when a click failed.
    fn reports(&self) -> Vec<DeliveryReport>;
}

/// The result of one send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeliveryReport {
    /// The sequence number of the click.
    pub number: u64,
    /// When the client received the report, milliseconds since 1970.
    pub at_ms: u64,
    /// Whether all replicas have the click.
    pub delivered: Result<(), DeliveryFault>,
    /// When the broker appended the click by its own clock, milliseconds since 1970, if it reports that.
    pub logged_at_ms: Option<u64>,
    /// Where the log holds the click; none if it was not delivered.
    pub location: Option<ClickLocation>,
}

/// Where the log holds a click.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClickLocation {
    /// Partition of the topic.
    pub partition: i32,
    /// Offset in the partition.
    pub offset: i64,
}

/// Why a click was not delivered. The relay sends it again after every fault but `ClickTooLarge`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryFault {
    /// The client cannot be created.
    Client,
    /// The client failed and does not recover.
    ProducerFatal,
    /// The topic does not exist.
    UnknownTopic,
    /// The broker does not authorize the producer.
    NotAuthorized,
    /// The batch is larger than the broker accepts.
    BatchTooLarge,
    /// A time limit of the client passed, though none is set.
    TimedOut,
    /// The client accepts no click of this size: it would refuse the click again.
    ClickTooLarge,
    /// Any other error of the broker.
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
