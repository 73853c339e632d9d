//! The result of a run: the counts of each kind of fault, every finding, and one line of totals.

use std::collections::BTreeMap;
use std::fmt;

use super::fault_kind::FaultKind;
use super::sampler::SamplerResult;

/// The comparison of the expected clicks with the table.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Events minted.
    pub minted: u64,
    /// Of those, events that the view does not show.
    pub lost: u64,
    /// Rows beyond the first of an event.
    pub twice: u64,
    /// Events that were never minted.
    pub unexpected: u64,
    /// Bad records written and not destroyed, and those of them that the dead letters hold.
    pub bad: (u64, u64),
    /// Dead letters of records that were good.
    pub good_dead_letters: u64,
    /// Records that were destroyed in the log before they were committed; events that were in no
    /// other; events, of these, that the view does not show.
    pub destroyed: (u64, u64, u64),
}

/// The result of a run.
#[derive(Debug, Default)]
pub struct Report {
    /// Decides what is written and what breaks.
    pub seed: u64,
    /// Faults that were wanted.
    pub faults: u32,
    /// Clicks that were wanted.
    pub clicks: u64,
    /// Of each kind: how often it was tried, how often its effect was observed.
    pub kinds: BTreeMap<FaultKind, (u32, u32)>,
    /// Processors killed in the middle of another fault.
    pub also_killed: u32,
    /// Processors started.
    pub started: u32,
    /// Processors that ended by themselves, by exit code.
    pub exits: BTreeMap<i32, u32>,
    /// Records in the log, and those of them that are copies.
    pub log: (u64, u64),
    /// The comparison of the clicks.
    pub outcome: Outcome,
    /// What was seen while it went on.
    pub(super) seen: SamplerResult,
    /// The exit code of `processors audit`.
    pub audit: i32,
    /// Events of the view that the log does not hold any more, as the audit says too.
    pub surplus: u64,
    /// Seconds from the first fault to the end of the comparison.
    pub seconds: u64,
    /// What is wrong, in words.
    pub findings: Vec<String>,
}

impl Report {
    /// Faults whose effect was observed.
    pub fn observed(&self) -> u32 {
        self.kinds.values().map(|(_, observed)| observed).sum()
    }

    /// Looks at the view while the run went on.
    pub fn samples(&self) -> u64 {
        self.seen.samples
    }

    /// Offsets below a committed position that were looked for while the run went on.
    pub fn offsets_checked(&self) -> u64 {
        self.seen.offsets
    }

    /// Whether the time ran out before all faults and clicks were done.
    pub fn ended_early(&self) -> bool {
        self.observed() < self.faults || self.outcome.minted < self.clicks
    }

    /// Whether every promise held.
    pub fn good(&self) -> bool {
        let Outcome {
            minted,
            lost,
            twice,
            unexpected,
            bad: (bad, dead_letters),
            good_dead_letters,
            ..
        } = self.outcome;
        let complete =
            minted > 0 && lost + twice + unexpected + good_dead_letters == 0 && bad == dead_letters;
        let seen = self.seen.samples > 0 && self.seen.twice + self.seen.ahead == 0;
        // What the audit reports is a finding where it differs.
        complete && seen && self.findings.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (outcome, seen) = (&self.outcome, &self.seen);
        for (kind, (tried, observed)) in &self.kinds {
            writeln!(f, "chaos: {kind:<18} tried={tried} observed={observed}")?;
        }
        writeln!(
            f,
            "chaos: processors started={} killed_in_other_faults={} ended_by_themselves={:?}",
            self.started, self.also_killed, self.exits
        )?;
        writeln!(
            f,
            "chaos: samples={} engine_unreachable={} position_checks={} offsets_checked={}",
            seen.samples, seen.unreachable, seen.looks, seen.offsets
        )?;
        for finding in &self.findings {
            writeln!(f, "chaos: FOUND {finding}")?;
        }
        if self.ended_early() {
            writeln!(f, "chaos: ended early, by its bound of time (SECONDS)")?;
        }
        write!(
            f,
            "chaos: seed={} faults={} observed={} clicks={} log={} resends={} bad={} dead_letters={} \
             lost={} duplicates={} duplicates_in_a_sample={} unexpected={} good_dead_letters={} ahead={} \
             destroyed={} excused={} absent={} surplus={} audit={} seconds={} {}",
            self.seed,
            self.faults,
            self.observed(),
            outcome.minted,
            self.log.0,
            self.log.1,
            outcome.bad.0,
            outcome.bad.1,
            outcome.lost,
            outcome.twice,
            seen.twice,
            outcome.unexpected,
            outcome.good_dead_letters,
            seen.ahead,
            outcome.destroyed.0,
            outcome.destroyed.1,
            outcome.destroyed.2,
            self.surplus,
            self.audit,
            self.seconds,
            if self.good() { "HELD" } else { "BROKEN" }
        )
    }
}
