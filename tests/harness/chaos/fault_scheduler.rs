//! Injects the faults one after another, and reports for each whether its effect was observed: work
//! was in flight, and the expected failure happened.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use stack::{Part, RegistryFault, RegistryProxy, Stack};

use super::broker::Broker;
use super::expected_clicks::ExpectedClicks;
use super::fault_kind::FaultKind;
use super::processor_pool::ProcessorPool;
use super::table::Table;
use crate::clickhouse_proxy::ClickHouseProxy;
use crate::http_client::{get, metric};
use crate::seeded_random::SeededRandom;
use crate::world::World;

/// The longest wait of a fault for work in flight.
pub(super) const WORK: Duration = Duration::from_secs(4);
/// The longest wait for the effect of a fault.
pub(super) const EFFECT: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(30);
/// Inserts that ClickHouse refused because its disk was full.
const REFUSED: &str = r#"retries_total{stage="insert",code="clickhouse_disk"}"#;
const ROWS: &str = "rows_inserted_total";
/// The most records by which positions are moved back.
const BACK: u64 = 30_000;

/// All parts that faults can affect.
pub(super) struct FaultScheduler<'w> {
    pub world: &'w World,
    pub stack: &'w Stack,
    pub proxy: &'w ClickHouseProxy,
    pub registry: &'w RegistryProxy,
    pub expected_clicks: &'w ExpectedClicks,
    pub pool: ProcessorPool<'w>,
    pub broker: Broker,
    pub table: Table,
    pub random: SeededRandom,
    /// Processors killed in the middle of another fault.
    pub also_killed: u32,
}

impl FaultScheduler<'_> {
    /// Injects a fault and fixes it; true if its effect was observed.
    pub(super) fn inject(&mut self, kind: FaultKind) -> bool {
        self.pool.fill();
        let observed = match kind {
            FaultKind::Kill => self.kill(),
            FaultKind::Stop => self.stop(),
            FaultKind::Freeze => self.freeze(),
            FaultKind::ExtraMember => self.extra_member(),
            FaultKind::LoseAnswers => self.lose_answers(),
            FaultKind::RefuseConnections => self.refuse_connections(),
            FaultKind::HoldInserts => self.hold_inserts(),
            FaultKind::EngineKill => self.engine_kill(),
            FaultKind::EnginePause => self.engine_pause(),
            FaultKind::BrokerPause => self.broker_pause(),
            FaultKind::BrokerKill => self.broker_kill(),
            FaultKind::RegistryKill => self.registry_kill(),
            FaultKind::RegistryErrors => {
                let status = self.random.one(&[500, 429]);
                self.registry_fault(RegistryFault::Status(status))
            }
            FaultKind::RegistryHang => self.registry_fault(RegistryFault::Hang),
            FaultKind::DiskFull => self.disk_full(),
            FaultKind::Grow => self.grow(),
            FaultKind::Expire => self.expire(),
            FaultKind::Recreate => self.recreate(),
            FaultKind::Reset => self.reset(),
            FaultKind::Move => self.moved(),
        };
        self.pool.fill();
        observed
    }

    /// Waits until the log has records that the group has not committed.
    pub(super) fn work(&self) -> bool {
        within(WORK, || self.broker.lag().is_ok_and(|lag| lag > 0))
    }

    fn kill(&mut self) -> bool {
        let slot = self.pool.random_slot();
        let work = self.work();
        self.pool.crash(slot) && work
    }

    fn stop(&mut self) -> bool {
        let slot = self.pool.random_slot();
        let work = self.work();
        self.pool.stop(slot) && work
    }

    fn freeze(&mut self) -> bool {
        let slot = self.pool.random_slot();
        let work = self.work();
        if self.pool.member(slot).ended().is_some() {
            return false;
        }
        self.pool.member(slot).signal(Signal::STOP);
        // The session ends after six seconds; then the other members continue without it.
        let long = self.random.once_in(2);
        let pause =
            if long { self.random.between(7000, 9000) } else { self.random.between(300, 4000) };
        std::thread::sleep(Duration::from_millis(pause));
        let member = self.pool.member(slot);
        let still = member.is_stopped();
        member.signal(Signal::CONT);
        still && work
    }

    fn extra_member(&mut self) -> bool {
        let mut extra_member = self.pool.start(None);
        let assigned = "clicktrail_processors_partitions_assigned";
        let owns = || metric(&extra_member.admin, assigned).is_some_and(|owned| owned > 0.0);
        let owned = within(EFFECT, owns);
        self.pause_up_to(2000);
        if extra_member.ended().is_none() && self.random.once_in(2) {
            extra_member.crash();
            return owned;
        }
        self.pool.stopped(&mut extra_member) && owned
    }

    fn lose_answers(&mut self) -> bool {
        let (before, count) = (self.proxy.lost(), self.random.between(1, 4));
        self.proxy.lose_answers(u32::try_from(count).unwrap_or(1));
        let observed = within(EFFECT, || self.proxy.lost() > before);
        self.proxy.lose_answers(0);
        observed
    }

    fn refuse_connections(&mut self) -> bool {
        let before = self.proxy.refused();
        self.proxy.close(true);
        self.pause_up_to(4000);
        self.also_kill();
        let observed = within(WORK, || self.proxy.refused() > before);
        self.proxy.close(false);
        observed
    }

    fn hold_inserts(&mut self) -> bool {
        let before = self.proxy.waited();
        self.proxy.hold(true);
        let observed = within(WORK, || self.proxy.waited() > before);
        self.pause_up_to(3000);
        self.also_kill();
        self.proxy.hold(false);
        observed
    }

    fn engine_kill(&mut self) -> bool {
        let work = self.work();
        // At any moment of an insert: reading it, writing its parts, answering.
        self.pause_up_to(400);
        if self.stack.kill(Part::ClickHouse).is_err() {
            return false;
        }
        let unreachable = !self.table.answers();
        self.pause_up_to(2000);
        self.also_kill();
        self.restart(Part::ClickHouse);
        unreachable && work && self.table.answers()
    }

    fn engine_pause(&mut self) -> bool {
        let work = self.work();
        if self.stack.pause(Part::ClickHouse).is_err() {
            return false;
        }
        let unreachable = !self.table.answers();
        self.pause_up_to(4000);
        self.also_kill();
        self.stack.resume(Part::ClickHouse).expect("a paused engine resumes");
        unreachable && work
    }

    fn broker_pause(&mut self) -> bool {
        let work = self.work();
        if self.stack.pause(Part::Kafka).is_err() {
            return false;
        }
        let unreachable = !self.broker.answers();
        self.pause_up_to(9000);
        self.also_kill();
        self.stack.resume(Part::Kafka).expect("a paused broker resumes");
        let back = within(EFFECT, || self.broker.answers());
        unreachable && work && back
    }

    fn broker_kill(&mut self) -> bool {
        let work = self.work();
        if self.stack.kill(Part::Kafka).is_err() {
            return false;
        }
        let unreachable = !self.broker.answers();
        self.pause_up_to(1000);
        self.restart(Part::Kafka);
        let back = within(EFFECT, || self.broker.answers());
        unreachable && work && back
    }

    /// A running processor continues without the registry; one that starts waits for it.
    fn registry_kill(&mut self) -> bool {
        let work = self.work();
        if self.stack.kill(Part::Registry).is_err() {
            return false;
        }
        let url = format!("{}/subjects", self.world.backends.registry);
        let unreachable = get(&url).is_err();
        self.also_kill();
        self.restart(Part::Registry);
        unreachable && work && get(&url).is_ok()
    }

    fn reset(&mut self) -> bool {
        self.pool.stop_all();
        let Ok(committed) = self.broker.committed() else { return false };
        let lower = self.lower(&committed);
        // A stopped static member remains a member until its session ends.
        let done = within(EFFECT, || self.broker.commit(&lower).is_ok());
        let now = self.broker.committed().unwrap_or(committed);
        let holds = lower.iter().all(|(partition, position)| {
            now.get(partition.unsigned_abs() as usize) == Some(position)
        });
        done && holds && !lower.is_empty()
    }

    fn moved(&mut self) -> bool {
        let jumps = self.pool.sum("position_resets_total");
        let some = within(EFFECT, || {
            self.broker.committed().is_ok_and(|all| all.iter().any(|at| *at > 0))
        });
        // If the group commits at the same time, its commit wins and nothing is moved: hold its inserts until the
        // positions are moved.
        let before = self.proxy.waited();
        self.proxy.hold(true);
        let work = within(WORK, || self.proxy.waited() > before);
        let moved = self.move_back();
        let seen = within(EFFECT, || self.pool.sum("position_resets_total") > jumps);
        self.proxy.hold(false);
        some && work && moved && seen
    }

    fn move_back(&mut self) -> bool {
        let Ok(committed) = self.broker.committed() else { return false };
        let lower = self.lower(&committed);
        let World { kafka, group, topic, .. } = self.world;
        if !lower.is_empty() {
            kafka.commit_among_members(group, &self.world.dead_letters(), topic, &lower);
        }
        !lower.is_empty()
    }

    /// Earlier positions, of one partition or of all.
    fn lower(&mut self, committed: &[i64]) -> Vec<(i32, i64)> {
        let mut lower = Vec::new();
        for (partition, position) in (0..).zip(committed).filter(|(_, position)| **position > 0) {
            let back = i64::try_from(self.random.between(1, BACK)).unwrap_or(1);
            lower.push((partition, (position - back).max(0)));
        }
        if lower.len() > 1 && self.random.once_in(2) {
            lower = vec![lower[self.random.index(lower.len())]];
        }
        lower
    }

    /// A member that starts retries and waits; a running one continues.
    fn registry_fault(&mut self, fault: RegistryFault) -> bool {
        let slot = self.pool.random_slot();
        let work = self.work();
        self.pool.crash(slot);
        let before = self.registry.injected();
        self.registry.set(fault);
        let mut member = self.pool.begin(Some(slot));
        let asked = within(EFFECT, || self.registry.injected() >= before + 2);
        self.pause_up_to(3000);
        self.registry.set(RegistryFault::None);
        member.until_ready();
        self.pool.put(slot, member);
        asked && work
    }

    /// ClickHouse refuses inserts while the disk is full, and accepts them after that. Merges are stopped
    /// meanwhile: a merge that runs out of space leaves an unreadable part (a defect of the engine,
    /// observed with 26.7.2.1), which only a replay repairs.
    fn disk_full(&mut self) -> bool {
        if self.stack.disk_usage(Part::ClickHouse).is_none() {
            return false;
        }
        let stopped = self.table.ask("SYSTEM STOP MERGES click_versions".to_owned()).is_ok();
        let merges = "SELECT count() FROM system.merges WHERE database = currentDatabase()";
        let still = within(EFFECT, || self.table.numbers(merges.to_owned()) == Ok(vec![0]));
        let observed = stopped && still && self.fill();
        self.table.ask("SYSTEM START MERGES click_versions".to_owned()).is_ok() && observed
    }

    fn fill(&mut self) -> bool {
        let work = self.work();
        let before = self.pool.sum(REFUSED);
        let full = self.stack.fill_disk(Part::ClickHouse).is_ok();
        let refused = within(EFFECT, || self.pool.sum(REFUSED) > before);
        self.pause_up_to(3000);
        self.also_kill();
        self.stack.free_disk(Part::ClickHouse).expect("a disk can be freed");
        let rows = self.pool.sum(ROWS);
        let again = within(EFFECT, || self.pool.sum(ROWS) > rows);
        full && refused && work && again
    }

    /// Kills a processor in the middle of another fault, one time in three.
    fn also_kill(&mut self) {
        if self.random.once_in(3) {
            let slot = self.pool.random_slot();
            self.also_killed += u32::from(self.pool.crash(slot));
        }
    }

    fn restart(&self, part: Part) {
        // A port may be in use for a short time after the kill of its process.
        let mut outcome = Ok(());
        let started = within(Duration::from_secs(60), || {
            outcome = self.stack.restart(part);
            outcome.is_ok()
        });
        assert!(started, "{part} does not start again: {outcome:?}");
    }

    pub(super) fn pause_up_to(&mut self, most_ms: u64) {
        std::thread::sleep(Duration::from_millis(self.random.between(0, most_ms)));
    }
}

/// Whether the condition becomes true within this time.
pub(super) fn within(time: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let began = Instant::now();
    loop {
        if condition() {
            return true;
        }
        if began.elapsed() >= time {
            return false;
        }
        std::thread::sleep(PAUSE);
    }
}
