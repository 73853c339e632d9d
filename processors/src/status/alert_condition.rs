//! The conditions of alerts that one look at the pipeline can see: their limits, and their headings in the
//! RUNBOOK. Pure.
//!
//! Each has the name of its alert in `deploy/prometheus/rules`, whose expression has the same limit; a test
//! compares them. An alert also waits until its condition has held for some time.

use std::fmt;

use crate::status::finding_level::FindingLevel;
use crate::status::limit::Limit;
use crate::status::limit::Limit::{Above, Below, Equal};

/// A condition of an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AlertCondition {
    /// The audit compares no record.
    AuditJudgesNothing,
    /// The audit found clicks that count twice, or records that are neither row nor dead letter.
    AuditOutOfBalance,
    /// The audit has completed no run for some time.
    AuditSilent,
    /// A producer is connected to no broker.
    BrokersDisconnected,
    /// Clicks are lost.
    ClicksLost,
    /// The audit found clicks that are not in the table.
    ClicksMissing,
    /// Clicks in an outbox have waited long.
    ClicksWait,
    /// The clock of a host differs from the broker's.
    ClockSkewed,
    /// Almost all connections of visitors are in use.
    ConnectionsNearBound,
    /// Dead letters are open, or failed again.
    DeadLettersOpen,
    /// Copies that a redrive announced did not arrive.
    DeadLettersPending,
    /// An audit has found differences that no later one has compared again.
    DifferencesOpen,
    /// A disk of ClickHouse is almost full.
    DiskFilling,
    /// The lag is large and grows.
    LagGrows,
    /// The topic has superseded links of the store.
    LinksBehind,
    /// A producer has not read all links.
    LinksNotLoaded,
    /// Changes of links are not published.
    LinksUnpublished,
    /// Damaged segments are in an outbox.
    OutboxDamaged,
    /// The disk of an outbox has less room than the bound of the outbox.
    OutboxDiskFilling,
    /// An outbox is filling.
    OutboxFilling,
    /// A partition of a table has many parts.
    PartsNearLimit,
    /// An attempt of the processors fails repeatedly.
    ProcessorsStuck,
    /// An attempt of a producer fails repeatedly.
    ProducerStuck,
    /// The clicks in memory take much of their bound.
    QueueFilling,
    /// Visitors are answered 503.
    RedirectsFail,
    /// Records wait long for their rows.
    RowsLate,
    /// A rule table was built long ago.
    RuleTableOld,
    /// A rule table is missing or refused.
    RuleTableUnusable,
    /// Processes use different versions of a rule table.
    RuleVersionsDiffer,
    /// Day keys are missing.
    VisitorKeysMissing,
}

impl AlertCondition {
    /// All of them.
    pub const ALL: [Self; 30] = [
        Self::AuditJudgesNothing,
        Self::AuditOutOfBalance,
        Self::AuditSilent,
        Self::BrokersDisconnected,
        Self::ClicksLost,
        Self::ClicksMissing,
        Self::ClicksWait,
        Self::ClockSkewed,
        Self::ConnectionsNearBound,
        Self::DeadLettersOpen,
        Self::DeadLettersPending,
        Self::DifferencesOpen,
        Self::DiskFilling,
        Self::LagGrows,
        Self::LinksBehind,
        Self::LinksNotLoaded,
        Self::LinksUnpublished,
        Self::OutboxDamaged,
        Self::OutboxDiskFilling,
        Self::OutboxFilling,
        Self::PartsNearLimit,
        Self::ProcessorsStuck,
        Self::ProducerStuck,
        Self::QueueFilling,
        Self::RedirectsFail,
        Self::RowsLate,
        Self::RuleTableOld,
        Self::RuleTableUnusable,
        Self::RuleVersionsDiffer,
        Self::VisitorKeysMissing,
    ];

    /// Which values are wrong: of seconds, shares (0 to 1) and numbers.
    pub fn limit(self) -> Limit {
        match self {
            Self::AuditSilent | Self::ClicksWait | Self::ClockSkewed => Above(300.0),
            Self::AuditJudgesNothing => Above(900.0),
            Self::RowsLate => Above(60.0),
            // 90 days.
            Self::RuleTableOld => Above(7_776_000.0),
            Self::ConnectionsNearBound => Above(0.9),
            Self::OutboxFilling | Self::QueueFilling => Above(0.5),
            Self::DiskFilling => Below(0.1),
            Self::OutboxDiskFilling => Below(1.0),
            Self::LagGrows => Above(10_000.0),
            Self::PartsNearLimit => Above(500.0),
            Self::RuleVersionsDiffer => Above(1.0),
            Self::VisitorKeysMissing => Below(2.0),
            Self::BrokersDisconnected | Self::LinksNotLoaded | Self::RuleTableUnusable => {
                Equal(0.0)
            }
            Self::AuditOutOfBalance
            | Self::ClicksLost
            | Self::ClicksMissing
            | Self::DeadLettersOpen
            | Self::DeadLettersPending
            | Self::DifferencesOpen
            | Self::LinksBehind
            | Self::LinksUnpublished
            | Self::OutboxDamaged
            | Self::ProcessorsStuck
            | Self::ProducerStuck
            | Self::RedirectsFail => Above(0.0),
        }
    }

    /// Its heading in the RUNBOOK, as a link names it; `None`: that of the code of the loss.
    pub fn heading(self) -> Option<&'static str> {
        Some(match self {
            Self::AuditJudgesNothing | Self::ClockSkewed => "clock_skewed",
            Self::AuditOutOfBalance | Self::ClicksMissing | Self::DifferencesOpen => {
                "out_of_balance"
            }
            Self::AuditSilent => "audit",
            Self::BrokersDisconnected | Self::ClicksWait => "unacknowledged",
            Self::ClicksLost => return None,
            Self::ConnectionsNearBound | Self::RedirectsFail => "redirects-fail",
            Self::DeadLettersOpen => "dead-letters-come",
            Self::DeadLettersPending => "redrive-dead-letters",
            Self::DiskFilling | Self::OutboxDiskFilling => "disk-full",
            Self::LagGrows | Self::RowsLate => "lag-grows",
            Self::LinksBehind => "links_behind",
            Self::LinksNotLoaded => "links_follow",
            Self::LinksUnpublished => "links_unpublished",
            Self::OutboxDamaged => "outbox_damaged",
            Self::OutboxFilling => "outbox_full",
            Self::PartsNearLimit => "clickhouse_too_many_parts",
            Self::ProcessorsStuck | Self::ProducerStuck => "stuck",
            Self::QueueFilling => "queue_full",
            Self::RuleTableOld => "newer-geo-data",
            Self::RuleVersionsDiffer => "rules",
            Self::RuleTableUnusable => "rules_missing",
            Self::VisitorKeysMissing => "visitor_key",
        })
    }

    /// Whether its alert pages.
    pub fn level(self) -> FindingLevel {
        match self {
            Self::AuditJudgesNothing
            | Self::AuditSilent
            | Self::ConnectionsNearBound
            | Self::DeadLettersPending
            | Self::DifferencesOpen
            | Self::LinksBehind
            | Self::LinksUnpublished
            | Self::OutboxDamaged
            | Self::OutboxDiskFilling
            | Self::PartsNearLimit
            | Self::RuleTableOld
            | Self::RuleTableUnusable
            | Self::RuleVersionsDiffer
            | Self::VisitorKeysMissing => FindingLevel::Ticket,
            Self::AuditOutOfBalance
            | Self::BrokersDisconnected
            | Self::ClicksLost
            | Self::ClicksMissing
            | Self::ClicksWait
            | Self::ClockSkewed
            | Self::DeadLettersOpen
            | Self::DiskFilling
            | Self::LagGrows
            | Self::LinksNotLoaded
            | Self::OutboxFilling
            | Self::ProcessorsStuck
            | Self::ProducerStuck
            | Self::QueueFilling
            | Self::RedirectsFail
            | Self::RowsLate => FindingLevel::Wrong,
        }
    }

    /// The level of a problem that has this heading: a ticket if all alerts with the heading are tickets.
    pub(super) fn level_of(heading: &str) -> FindingLevel {
        let own = Self::ALL.into_iter().filter(|it| it.heading() == Some(heading));
        own.map(Self::level).min().unwrap_or(FindingLevel::Wrong)
    }

    /// Whether a value is wrong.
    pub(super) fn is_met(self, value: f64) -> bool {
        self.limit().is_wrong(value)
    }
}

impl fmt::Display for AlertCondition {
    /// The name of its alert.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}
