//! The result of a run: the counts of each kind of fault, every finding, and one line of totals.

use std::collections::BTreeMap;
use std::fmt;

use super::fault_kind::FaultKind;
use super::sampler::SamplerResult;

/// The comparison of the expected clicks with the table.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Events created.
    pub minted: u64,
    /// Created events without a row in the view.
    pub lost: u64,
    /// Rows beyond the first of an event.
    pub twice: u64,
    /// Rows of events that the generator did not create.
    pub unexpected: u64,
    /// Bad records that were written and not destroyed, and how many of them are dead-lettered.
    pub bad: (u64, u64),
    /// Dead letters of valid records.
    pub good_dead_letters: u64,
    /// Records destroyed in the log before their commit; events without another record; those of these
    /// events without a row.
    pub destroyed: (u64, u64, u64),
}

/// The result of a run.
#[derive(Debug, Default)]
pub struct Report {
    /// Decides the records and the faults.
    pub seed: u64,
    /// Requested faults.
    pub faults: u32,
    /// Requested clicks.
    pub clicks: u64,
    /// By kind: injected faults, and faults with an observed effect.
    pub kinds: BTreeMap<FaultKind, (u32, u32)>,
    /// Processors killed in the middle of another fault.
    pub also_killed: u32,
    /// Processors started.
    pub started: u32,
    /// Processors that ended by themselves, by exit code.
    pub exits: BTreeMap<i32, u32>,
    /// Records in the log, and how many of them are copies.
    pub log: (u64, u64),
    /// The comparison of the clicks.
    pub outcome: Outcome,
    /// The result of the sampler.
    pub(super) seen: SamplerResult,
    /// The exit code of `processors audit`.
    pub audit: i32,
    /// Events of the view without a record in the log; the audit reports the same number.
    pub surplus: u64,
    /// Seconds from the first fault to the end of the comparison.
    pub seconds: u64,
    /// Findings, as text.
    pub findings: Vec<String>,
}

impl Report {
    /// Faults whose effect was observed.
    pub fn observed(&self) -> u32 {
        self.kinds.values().map(|(_, observed)| observed).sum()
    }

    /// Samples of the view during the run.
    pub fn samples(&self) -> u64 {
        self.seen.samples
    }

    /// Offsets below a committed position that the sampler searched during the run.
    pub fn offsets_checked(&self) -> u64 {
        self.seen.offsets
    }

    /// Whether the time ran out before all faults and clicks were done.
    pub fn ended_early(&self) -> bool {
        self.observed() < self.faults || self.outcome.minted < self.clicks
    }

    /// Whether every invariant held.
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
        // A difference to the audit is a finding.
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
            writeln!(f, "chaos: ended early: the time (SECONDS) was over")?;
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
