//! The processors of the run: two slots that are always filled, and at times an extra member. One
//! that ends by itself is started again, as by a supervisor, and counted in the report.

use std::collections::BTreeMap;

use rustix::process::Signal;
use stack::RegistryProxy;

use super::budget::{LineReporter, clock};
use crate::child::Exit;
use crate::clickhouse_proxy::ClickHouseProxy;
use crate::http_client::metric;
use crate::seeded_random::SeededRandom;
use crate::world::{Processors, World};

/// Slots that are always filled.
const SLOTS: usize = 2;
/// What a batch may hold; small, so that faults hit the middle of batches.
const ROWS: [&str; 3] = ["500", "2000", "10000"];
/// A partition that is added, or a recreated topic, is seen within so many milliseconds.
const REFRESH: &str = "topic.metadata.refresh.interval.ms=1000";
/// Exit codes that a fault may cause: drained, out of drain time, a server is unreachable.
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
    /// Those that ended by themselves, by exit code.
    pub exits: BTreeMap<i32, u32>,
    /// What is wrong about how some of them ended.
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

    /// As [`Fleet::start`], for one that cannot be ready yet.
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

    /// Fills the empty slots, and those of processes that ended by themselves.
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

    /// SIGKILL; the slot stays empty. True if it was a signal that ended it.
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

    /// SIGTERM; the slot stays empty. True if it ended well.
    pub(super) fn stop(&mut self, slot: usize) -> bool {
        let Some(mut member) = self.slots[slot].take() else { return false };
        self.stopped(&mut member)
    }

    /// SIGTERM to a processor. True if it ended well.
    pub(super) fn stopped(&mut self, member: &mut Processors) -> bool {
        let exit = if member.ended().is_some() { member.end() } else { member.stop() };
        if exit.code != Some(0) {
            self.record_exit(&exit);
        }
        exit.code == Some(0)
    }

    /// Stops all, together.
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
