//! The table of events of dead letters: what operators and jobs did with them.
//!
//! An event is written before the act that it names, except `sent`, which is written after the brokers
//! acknowledged the record. An `Ok` of [`add_events`] means that the events are durable.

use broker::ServerError;
use clickhouse::Row;
use records::dead_letters::origin::Origin;
use serde::Serialize;

use crate::clickhouse::insert_settings::{PINNED, WAIT};
use crate::clickhouse::server::{Server, server_error};

/// What happened to a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// A job selected it.
    Selected,
    /// A job is about to send a copy of it.
    Pending,
    /// The brokers acknowledged the copy.
    Sent,
    /// A job did not send it, because the copy would fail again.
    Skipped,
    /// The table has the click of the copy.
    Resolved,
    /// An operator decided that it never becomes a row.
    Discarded,
    /// A job did not send it, because too many copies have failed.
    Parked,
    /// An operator revoked that it is discarded, parked or resolved.
    Reopened,
    /// An operator stored a repair of it.
    Edited,
}

impl EventKind {
    /// Its name in the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Selected => "selected",
            Self::Pending => "pending",
            Self::Sent => "sent",
            Self::Skipped => "skipped",
            Self::Resolved => "resolved",
            Self::Discarded => "discarded",
            Self::Parked => "parked",
            Self::Reopened => "reopened",
            Self::Edited => "edited",
        }
    }
}

/// One event of one dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetterEvent {
    /// The dead letter.
    pub origin: Origin,
    /// What happened.
    pub kind: EventKind,
    /// Number of the redriven copy; 0 where there is none.
    pub redrive: u32,
    /// Job; empty where there is none.
    pub job: String,
    /// Key facts of the copy that is sent; zeros where they are not known.
    pub event_id: [u8; 16],
    /// Likewise, microseconds since 1970.
    pub occurred_at_us: i64,
    /// User.
    pub actor: String,
    /// Why, in the words of the operator.
    pub reason: String,
}

#[derive(Row, Serialize)]
struct EventRow<'a> {
    origin_topic: &'a str,
    origin_partition: u32,
    origin_offset: u64,
    origin_logged_at: i64,
    kind: &'a str,
    redrive: u32,
    job: &'a str,
    event_id: [u8; 16],
    occurred_at: i64,
    actor: &'a str,
    reason: &'a str,
}

impl<'a> EventRow<'a> {
    fn new(event: &'a DeadLetterEvent) -> Self {
        Self {
            origin_topic: &event.origin.topic,
            origin_partition: event.origin.partition,
            origin_offset: event.origin.offset,
            origin_logged_at: event.origin.logged_at_ms,
            kind: event.kind.name(),
            redrive: event.redrive,
            job: &event.job,
            event_id: event.event_id,
            occurred_at: event.occurred_at_us,
            actor: &event.actor,
            reason: &event.reason,
        }
    }
}

/// Adds events in one insert. The server sets the time of each.
///
/// # Errors
/// The server's refusal. The events may be stored or not; to add one again changes no state.
pub async fn add_events(server: &Server, events: &[DeadLetterEvent]) -> Result<(), ServerError> {
    if events.is_empty() {
        return Ok(());
    }
    // Without it, the client asks for the columns before each insert; a migration fixes them.
    let mut client = server.client().with_validation(false);
    for (name, value) in PINNED.iter().chain([&WAIT]) {
        client = client.with_setting(*name, *value);
    }
    let insert = client.insert::<EventRow<'_>>("dead_letter_events").await;
    let mut insert = insert.map_err(server_error)?;
    for event in events {
        insert.write(&EventRow::new(event)).await.map_err(server_error)?;
    }
    insert.end().await.map_err(server_error)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The view `dead_letters` compares these names.
    #[test]
    fn the_names_of_events_are_those_of_the_migration() {
        let migration = include_str!("../../migrations/0006_dead_letters.sql");
        let kinds = [
            EventKind::Selected,
            EventKind::Pending,
            EventKind::Sent,
            EventKind::Skipped,
            EventKind::Resolved,
            EventKind::Discarded,
            EventKind::Parked,
            EventKind::Reopened,
            EventKind::Edited,
        ];
        let names = kinds.map(EventKind::name).join(", ");
        assert!(migration.contains(&format!("COMMENT '{names}'")), "{names}");
    }
}
