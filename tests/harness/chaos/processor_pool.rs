//! The processors of the run: two slots, each with a processor, and sometimes an additional member. The
//! pool restarts a processor that ends by itself, as a supervisor does, and counts it in the report.

use std::collections::BTreeMap;

use rustix::process::Signal;
use stack::RegistryProxy;

use super::budget::{LineReporter, clock};
use crate::child::Exit;
use crate::clickhouse_proxy::ClickHouseProxy;
use crate::http_client::metric;
use crate::seeded_random::SeededRandom;
use crate::world::{Processors, World};

/// Slots, each with a processor between faults.
const SLOTS: usize = 2;
/// The most rows of a batch; small, so that faults interrupt batches.
const ROWS: [&str; 3] = ["500", "2000", "10000"];
/// The longest time, in milliseconds, until a member discovers a new partition or a recreated topic.
const REFRESH: &str = "topic.metadata.refresh.interval.ms=1000";
/// Exit codes that a fault may cause: drained, drain timeout, a server is unreachable.
const BEARABLE: [i32; 2] = [0, 75];

/// The processors.
pub(super) struct ProcessorPool<'w> {
    world: &'w World,
    url: String,
    registry: String,
    random: SeededRandom,
    report_line: LineReporter<'w>,
    slots: Vec<Option<Processors>>,
    /// Processes started so far.
    pub started: u32,
    /// Processes that ended by themselves, by exit code.
    pub exits: BTreeMap<i32, u32>,
    /// Unexpected exit codes, as findings.
    pub findings: Vec<String>,
}

impl<'w> ProcessorPool<'w> {
    pub(super) fn of(
        world: &'w World,
        proxy: &ClickHouseProxy,
        registry: &RegistryProxy,
        seed: u64,
        report_line: LineReporter<'w>,
    ) -> Self {
        let mut pool = Self {
            world,
            url: proxy.url.clone(),
            registry: registry.url.clone(),
            random: SeededRandom::stream(seed, 2),
            report_line,
            slots: Vec::new(),
            started: 0,
            exits: BTreeMap::new(),
            findings: Vec::new(),
        };
        pool.slots.resize_with(SLOTS, || None);
        pool.fill();
        pool
    }

    /// Starts a processor, for a slot or as an extra member, and waits until it is ready.
    pub(super) fn start(&mut self, slot: Option<usize>) -> Processors {
        let mut member = self.begin(slot);
        member.until_ready();
        member
    }

    /// Like [`ProcessorPool::start`], without the wait.
    pub(super) fn begin(&mut self, slot: Option<usize>) -> Processors {
        self.started += 1;
        let set = [
            ("CLICKHOUSE_URL", self.url.as_str()),
            ("SCHEMA_REGISTRY_URL", self.registry.as_str()),
            ("CLICKTRAIL_BATCH_ROWS", self.random.one(&ROWS)),
        ];
        let fixed = format!("group.instance.id=slot-{}", slot.unwrap_or(SLOTS));
        // A static member rejoins at once, and keeps its partitions while it is down.
        let args = ["--kafka", REFRESH, "--kafka", &fixed];
        let args = if self.random.once_in(2) { &args[..] } else { &args[..2] };
        self.world.start_processors(&self.world.group, args, &set)
    }

    /// Puts a processor into an empty slot.
    pub(super) fn put(&mut self, slot: usize, member: Processors) {
        self.slots[slot] = Some(member);
    }

    /// Fills all empty slots, including those of processes that ended by themselves.
    pub(super) fn fill(&mut self) {
        for slot in 0..SLOTS {
            let ended = self.slots[slot].as_mut().and_then(|member| member.ended());
            if ended.is_some()
                && let Some(mut member) = self.slots[slot].take()
            {
                let exit = member.end();
                self.record_exit(&exit);
            }
            if self.slots[slot].is_none() {
                self.slots[slot] = Some(self.start(Some(slot)));
            }
        }
    }

    fn record_exit(&mut self, exit: &Exit) {
        let code = exit.code.unwrap_or(-1);
        *self.exits.entry(code).or_default() += 1;
        let last = exit.err.lines().next_back().unwrap_or_default();
        (self.report_line)(&format!("a processor ended by itself, code {code}: {last}"));
        if !BEARABLE.contains(&code) {
            self.findings.push(format!("{} a processor ended with {code}: {last}", clock()));
        }
    }

    /// A random slot.
    pub(super) fn random_slot(&mut self) -> usize {
        self.random.index(SLOTS)
    }

    /// The processor in a slot.
    pub(super) fn member(&mut self, slot: usize) -> &mut Processors {
        self.slots[slot].as_mut().expect("slots are filled between faults")
    }

    /// Sends SIGKILL; the slot stays empty. True if the signal ended the process.
    pub(super) fn crash(&mut self, slot: usize) -> bool {
        let Some(mut member) = self.slots[slot].take() else { return false };
        if member.ended().is_some() {
            let exit = member.end();
            self.record_exit(&exit);
            return false;
        }
        member.crash();
        member.ended() == Some(None)
    }

    /// Sends SIGTERM; the slot stays empty. True if the process ended with success.
    pub(super) fn stop(&mut self, slot: usize) -> bool {
        let Some(mut member) = self.slots[slot].take() else { return false };
        self.stopped(&mut member)
    }

    /// Sends SIGTERM to a processor. True if it ended with success.
    pub(super) fn stopped(&mut self, member: &mut Processors) -> bool {
        let exit = if member.ended().is_some() { member.end() } else { member.stop() };
        if exit.code != Some(0) {
            self.record_exit(&exit);
        }
        exit.code == Some(0)
    }

    /// Stops all at the same time.
    pub(super) fn stop_all(&mut self) {
        for member in self.slots.iter_mut().flatten() {
            if member.ended().is_none() {
                member.signal(Signal::TERM);
            }
        }
        for slot in 0..SLOTS {
            self.stop(slot);
        }
    }

    /// The sum of a metric over the running processors.
    pub(super) fn sum(&self, name: &str) -> f64 {
        let name = format!("clicktrail_processors_{name}");
        let members = self.slots.iter().flatten();
        members.filter_map(|member| metric(&member.admin, &name)).sum()
    }
}
