//! The result of a run with hostile input.

use std::collections::BTreeMap;
use std::fmt;

use super::damaged_host::DamagedHosts;
use super::log_account::Fates;

/// The memory limits of the shipped files, KiB: `producer serve` and `processors run`.
pub(super) const PRODUCER_KIB_MAX: u64 = 640 << 10;
pub(super) const PROCESSORS_KIB_MAX: u64 = 512 << 10;
/// The longest time from an honest click to its row, and from a visit to its response, milliseconds.
const DELAY_MS_MAX: u64 = 10_000;

/// The rows of honest clicks or visits.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct HonestRows {
    /// Sent clicks, or visits with a response.
    pub sent: u64,
    /// Rows.
    pub rows: u64,
    /// Clicks with at least one row.
    pub distinct: u64,
    /// The longest time from a click to its row, milliseconds.
    pub delay_ms: u64,
}

/// The result of a run.
#[derive(Debug, Default)]
pub struct HostileReport {
    /// Decides the input.
    pub seed: u64,
    /// Rounds.
    pub rounds: u64,
    /// Honest clicks in the log.
    pub(super) honest: HonestRows,
    /// Honest visits.
    pub(super) visits: HonestRows,
    /// Visits without a response.
    pub unanswered: u64,
    /// The longest time from a visit to its response, milliseconds.
    pub answer_ms: u64,
    /// The fates of hostile records of clicks.
    pub(super) fates: Fates,
    /// Hostile records of clicks and links that the broker accepted.
    pub taken: (u64, u64),
    /// Hostile batches that the broker refused.
    pub refused: u64,
    /// Requests, stalled connections, and responses by status.
    pub requests: (u64, u64, BTreeMap<u16, u64>),
    /// Producers with a damaged outbox.
    pub(super) damaged: DamagedHosts,
    /// The highest memory of producers and processors, KiB.
    pub peaks_kib: (u64, u64),
    /// The exit code of `processors audit`.
    pub audit: i32,
    /// Other findings.
    pub findings: Vec<String>,
}

impl HostileReport {
    /// The bounds that do not hold, and the findings.
    pub fn wrong(&self) -> Vec<String> {
        let (producer, processors) = self.peaks_kib;
        let mut rules = vec![
            (producer < PRODUCER_KIB_MAX, format!("a producer used {producer} KiB of memory")),
            (
                processors < PROCESSORS_KIB_MAX,
                format!("the processors used {processors} KiB of memory"),
            ),
            (self.unanswered == 0, format!("{} visits have no response", self.unanswered)),
            (self.answer_ms <= DELAY_MS_MAX, format!("a visitor waited {} ms", self.answer_ms)),
            (
                self.fates.missing.is_empty(),
                format!("records without row and dead letter: {:?}", self.fates.missing),
            ),
            (self.audit == 0, format!("the audit ended with {}", self.audit)),
        ];
        for (name, honest) in [("honest clicks", self.honest), ("visits", self.visits)] {
            let HonestRows { sent, rows, distinct, delay_ms } = honest;
            let is_right = sent == rows && sent == distinct && delay_ms <= DELAY_MS_MAX;
            rules.push((is_right, format!("{name}: {honest:?}")));
        }
        let wrong = rules.into_iter().filter(|(holds, _)| !holds).map(|(_, wrong)| wrong);
        wrong.chain(self.findings.iter().cloned()).collect()
    }

    /// Whether all bounds held.
    pub fn good(&self) -> bool {
        self.wrong().is_empty()
    }
}

impl fmt::Display for HostileReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, rounds, honest, visits, fates, taken, refused, damaged, .. } = self;
        let (requests, stalled, statuses) = &self.requests;
        write!(
            f,
            "hostile: SEED={seed} rounds={rounds} honest={} visits={} delay_ms={} answer_ms={} \
             records={} rows={} dead_letters={} stubs={} refused_batches={refused} links={} \
             requests={requests} stalled={stalled} statuses={statuses:?} damaged_clicks={} \
             delivered={} counted={} cut={} producer_mib={} processors_mib={} audit={}: ",
            honest.sent,
            visits.sent,
            honest.delay_ms.max(visits.delay_ms),
            self.answer_ms,
            taken.0,
            fates.rows,
            fates.dead_letters,
            fates.stubs,
            taken.1,
            damaged.stored,
            damaged.delivered,
            damaged.counted,
            damaged.cut,
            self.peaks_kib.0 >> 10,
            self.peaks_kib.1 >> 10,
            self.audit,
        )?;
        match self.wrong() {
            wrong if wrong.is_empty() => f.write_str("held"),
            wrong => write!(f, "BROKEN: {}", wrong.join("; ")),
        }
    }
}
