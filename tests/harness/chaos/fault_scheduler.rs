//! Does the faults, one after another, and says of each whether its effect was observed: that
//! there was work under way, and that what was to fail was seen to fail.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use stack::{Part, RegistryFault, RegistryProxy, Stack};

use super::broker::Broker;
use super::dice::Dice;
use super::processor_pool::Fleet;
use super::fault_kind::Kind;
use super::expected_clicks::Ledger;
use super::table::Table;
use crate::clickhouse_proxy::Proxy;
use crate::http_client::{get, metric};
use crate::world::World;

/// How long a fault waits for work to be under way.
pub(super) const WORK: Duration = Duration::from_secs(4);
/// How long an effect may take to be seen.
pub(super) const EFFECT: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(30);
/// Inserts that ClickHouse refused, in its own words, for want of room.
const REFUSED: &str = r#"retries_total{stage="insert",code="clickhouse_disk"}"#;
const ROWS: &str = "rows_inserted_total";
/// How far positions are put back at most.
const BACK: u64 = 30_000;

/// Everything a fault can reach.
pub(super) struct Storm<'w> {
    pub world: &'w World,
    pub stack: &'w Stack,
    pub proxy: &'w Proxy,
    pub door: &'w RegistryProxy,
    pub ledger: &'w Ledger,
    pub fleet: Fleet<'w>,
    pub broker: Broker,
    pub table: Table,
    pub dice: Dice,
    /// Processors killed in the middle of another fault.
    pub killed_too: u32,
}

impl Storm<'_> {
    /// Lets a fault happen and mends it; true if its effect was observed.
    pub(super) fn strike(&mut self, kind: Kind) -> bool {
        self.fleet.fill();
        let observed = match kind {
            Kind::Kill => self.kill(),
            Kind::Stop => self.stop(),
            Kind::Freeze => self.freeze(),
            Kind::Guest => self.guest(),
            Kind::LoseAnswers => self.lose_answers(),
            Kind::CloseDoor => self.close_door(),
            Kind::HoldInserts => self.hold_inserts(),
            Kind::EngineKill => self.engine_kill(),
            Kind::EnginePause => self.engine_pause(),
            Kind::BrokerPause => self.broker_pause(),
            Kind::BrokerKill => self.broker_kill(),
            Kind::RegistryKill => self.registry_kill(),
            Kind::RegistryErrors => {
                let status = self.dice.one(&[500, 429]);
                self.registry_fault(RegistryFault::Status(status))
            }
            Kind::RegistryHang => self.registry_fault(RegistryFault::Hang),
            Kind::DiskFull => self.disk_full(),
            Kind::Grow => self.grow(),
            Kind::Expire => self.expire(),
            Kind::MakeAnew => self.make_anew(),
            Kind::Reset => self.reset(),
            Kind::Move => self.moved(),
        };
        self.fleet.fill();
        observed
    }

    /// Waits until records are in the log that the group has not committed.
    pub(super) fn work(&self) -> bool {
        within(WORK, || self.broker.lag().is_ok_and(|lag| lag > 0))
    }

    fn kill(&mut self) -> bool {
        let place = self.fleet.any();
        let work = self.work();
        self.fleet.crash(place) && work
    }

    fn stop(&mut self) -> bool {
        let place = self.fleet.any();
        let work = self.work();
        self.fleet.stop(place) && work
    }

    fn freeze(&mut self) -> bool {
        let place = self.fleet.any();
        let work = self.work();
        if self.fleet.member(place).ended().is_some() {
            return false;
        }
        self.fleet.member(place).signal(Signal::STOP);
        // The session ends after six seconds; the others then go on without it.
        let long = self.dice.once_in(2);
        let pause = if long { self.dice.between(7000, 9000) } else { self.dice.between(300, 4000) };
        std::thread::sleep(Duration::from_millis(pause));
        let member = self.fleet.member(place);
        let still = member.is_stopped();
        member.signal(Signal::CONT);
        still && work
    }

    fn guest(&mut self) -> bool {
        let mut guest = self.fleet.start(None);
        let assigned = "clicktrail_processors_partitions_assigned";
        let owns = || metric(&guest.admin, assigned).is_some_and(|owned| owned > 0.0);
        let owned = within(EFFECT, owns);
        self.linger(2000);
        if guest.ended().is_none() && self.dice.once_in(2) {
            guest.crash();
            return owned;
        }
        self.fleet.stopped(&mut guest) && owned
    }

    fn lose_answers(&mut self) -> bool {
        let (before, count) = (self.proxy.lost(), self.dice.between(1, 4));
        self.proxy.lose_answers(u32::try_from(count).unwrap_or(1));
        let observed = within(EFFECT, || self.proxy.lost() > before);
        self.proxy.lose_answers(0);
        observed
    }

    fn close_door(&mut self) -> bool {
        let before = self.proxy.refused();
        self.proxy.close(true);
        self.linger(4000);
        self.kill_too();
        let observed = within(WORK, || self.proxy.refused() > before);
        self.proxy.close(false);
        observed
    }

    fn hold_inserts(&mut self) -> bool {
        let before = self.proxy.waited();
        self.proxy.hold(true);
        let observed = within(WORK, || self.proxy.waited() > before);
        self.linger(3000);
        self.kill_too();
        self.proxy.hold(false);
        observed
    }

    fn engine_kill(&mut self) -> bool {
        let work = self.work();
        // At any moment of an insert: reading it, writing its parts, answering.
        self.linger(400);
        if self.stack.kill(Part::ClickHouse).is_err() {
            return false;
        }
        let away = !self.table.answers();
        self.linger(2000);
        self.kill_too();
        self.restart(Part::ClickHouse);
        away && work && self.table.answers()
    }

    fn engine_pause(&mut self) -> bool {
        let work = self.work();
        if self.stack.pause(Part::ClickHouse).is_err() {
            return false;
        }
        let away = !self.table.answers();
        self.linger(4000);
        self.kill_too();
        self.stack.resume(Part::ClickHouse).expect("a paused engine goes on");
        away && work
    }

    fn broker_pause(&mut self) -> bool {
        let work = self.work();
        if self.stack.pause(Part::Kafka).is_err() {
            return false;
        }
        let away = !self.broker.answers();
        self.linger(9000);
        self.kill_too();
        self.stack.resume(Part::Kafka).expect("a paused broker goes on");
        let back = within(EFFECT, || self.broker.answers());
        away && work && back
    }

    fn broker_kill(&mut self) -> bool {
        let work = self.work();
        if self.stack.kill(Part::Kafka).is_err() {
            return false;
        }
        let away = !self.broker.answers();
        self.linger(1000);
        self.restart(Part::Kafka);
        let back = within(EFFECT, || self.broker.answers());
        away && work && back
    }

    /// Who runs goes on without the registry; who starts meanwhile waits for it.
    fn registry_kill(&mut self) -> bool {
        let work = self.work();
        if self.stack.kill(Part::Registry).is_err() {
            return false;
        }
        let url = format!("{}/subjects", self.world.backends.registry);
        let away = get(&url).is_err();
        self.kill_too();
        self.restart(Part::Registry);
        away && work && get(&url).is_ok()
    }

    fn reset(&mut self) -> bool {
        self.fleet.stop_all();
        let Ok(committed) = self.broker.committed() else { return false };
        let lower = self.lower(&committed);
        // A static member that has stopped still counts as one until its session ends.
        let done = within(EFFECT, || self.broker.commit(&lower).is_ok());
        let now = self.broker.committed().unwrap_or(committed);
        let holds = lower.iter().all(|(partition, position)| {
            now.get(partition.unsigned_abs() as usize) == Some(position)
        });
        done && holds && !lower.is_empty()
    }

    fn moved(&mut self) -> bool {
        let jumps = self.fleet.sum("position_jumps_total");
        let some = within(EFFECT, || {
            self.broker.committed().is_ok_and(|all| all.iter().any(|at| *at > 0))
        });
        // A group that commits at the same time wins, and nothing is moved: its inserts stand still
        // until it has looked.
        let before = self.proxy.waited();
        self.proxy.hold(true);
        let work = within(WORK, || self.proxy.waited() > before);
        let moved = self.move_back();
        let seen = within(EFFECT, || self.fleet.sum("position_jumps_total") > jumps);
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

    /// Positions further back, of one partition or of all.
    fn lower(&mut self, committed: &[i64]) -> Vec<(i32, i64)> {
        let mut lower = Vec::new();
        for (partition, position) in (0..).zip(committed).filter(|(_, position)| **position > 0) {
            let back = i64::try_from(self.dice.between(1, BACK)).unwrap_or(1);
            lower.push((partition, (position - back).max(0)));
        }
        if lower.len() > 1 && self.dice.once_in(2) {
            lower = vec![lower[self.dice.index(lower.len())]];
        }
        lower
    }

    /// A member that starts meanwhile asks in vain and waits; who runs goes on.
    fn registry_fault(&mut self, fault: RegistryFault) -> bool {
        let place = self.fleet.any();
        let work = self.work();
        self.fleet.crash(place);
        let before = self.door.injected();
        self.door.set(fault);
        let mut member = self.fleet.begin(Some(place));
        let asked = within(EFFECT, || self.door.injected() >= before + 2);
        self.linger(3000);
        self.door.set(RegistryFault::None);
        member.until_ready();
        self.fleet.seat(place, member);
        asked && work
    }

    /// Inserts are refused for want of room, and go on when there is some. Merges stand still
    /// meanwhile: one that runs out of room leaves a part that cannot be read (the engine's own
    /// fault, seen with 26.7.2.1), for which only a replay helps.
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
        let before = self.fleet.sum(REFUSED);
        let full = self.stack.fill_disk(Part::ClickHouse).is_ok();
        let refused = within(EFFECT, || self.fleet.sum(REFUSED) > before);
        self.linger(3000);
        self.kill_too();
        self.stack.free_disk(Part::ClickHouse).expect("a disk can be freed");
        let rows = self.fleet.sum(ROWS);
        let again = within(EFFECT, || self.fleet.sum(ROWS) > rows);
        full && refused && work && again
    }

    /// At times a processor dies in the middle of another fault.
    fn kill_too(&mut self) {
        if self.dice.once_in(3) {
            let place = self.fleet.any();
            self.killed_too += u32::from(self.fleet.crash(place));
        }
    }

    fn restart(&self, part: Part) {
        // A port may be held for a moment by what was just killed.
        let mut outcome = Ok(());
        let started = within(Duration::from_secs(60), || {
            outcome = self.stack.restart(part);
            outcome.is_ok()
        });
        assert!(started, "{part} does not start again: {outcome:?}");
    }

    pub(super) fn linger(&mut self, most_ms: u64) {
        std::thread::sleep(Duration::from_millis(self.dice.between(0, most_ms)));
    }
}

/// Asks until it is so, or the time is over.
pub(super) fn within(time: Duration, mut so: impl FnMut() -> bool) -> bool {
    let began = Instant::now();
    loop {
        if so() {
            return true;
        }
        if began.elapsed() >= time {
            return false;
        }
        std::thread::sleep(PAUSE);
    }
}
