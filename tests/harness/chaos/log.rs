//! Faults of the log: it gets a partition, loses records, or is recreated. Before a fault destroys
//! records, it writes those without a commit into the list of expected clicks.

use std::time::Duration;

use super::fault_scheduler::{EFFECT, FaultScheduler, WORK, within};

/// The most records that one fault destroys.
const LOSS: u64 = 3_000;
/// The longest wait for the acknowledgement of sent records.
const QUIET: Duration = Duration::from_secs(30);
/// Clocks tick in milliseconds.
const TICK: Duration = Duration::from_millis(20);

impl FaultScheduler<'_> {
    /// One more partition, which is read from its start.
    pub(super) fn grow(&mut self) -> bool {
        let new = self.expected_clicks.lock().partitions();
        let partitions = usize::try_from(new + 1).expect("few partitions");
        self.world.kafka.grow(&self.world.topic, partitions);
        self.expected_clicks.lock().grown();
        within(EFFECT, || self.broker.committed().is_ok_and(|all| all.last() > Some(&0)))
    }

    /// Records expire before they are committed: under live members, or while there are none.
    pub(super) fn expire(&mut self) -> bool {
        let live = self.random.once_in(2);
        if live {
            self.proxy.hold(true);
        } else {
            self.pool.stop_all();
        }
        let work = within(WORK, || self.broker.lag().is_ok_and(|lag| lag > 100));
        let gone = self.delete_uncommitted();
        self.proxy.hold(false);
        work && gone
    }

    fn delete_uncommitted(&mut self) -> bool {
        let (Ok(committed), Ok(bounds)) = (self.broker.committed(), self.broker.bounds()) else {
            return false;
        };
        let lag =
            |partition: &i32| bounds[partition].1 - committed[partition.unsigned_abs() as usize];
        let partition = *bounds.keys().max_by_key(|partition| lag(partition)).expect("partitions");
        let from = committed[partition.unsigned_abs() as usize];
        let loss = i64::try_from(self.random.between(1, LOSS)).expect("a small number");
        let to = {
            let mut expected_state = self.expected_clicks.lock();
            let to = (from + loss).min(expected_state.known(partition));
            if to <= from {
                return false;
            }
            expected_state.destroy(partition, from, to);
            to
        };
        self.world.kafka.expire(&self.world.topic, partition, to);
        self.broker.bounds().is_ok_and(|bounds| bounds[&partition].0 == to)
    }

    /// The topic is deleted under live members and recreated; no client writes meanwhile.
    pub(super) fn recreate(&mut self) -> bool {
        self.proxy.hold(true);
        let work = self.work();
        let expected_clicks = self.expected_clicks;
        let write_lock = expected_clicks.write_lock();
        let quiet = within(QUIET, || {
            let expected_state = expected_clicks.lock();
            expected_state.sent == expected_state.logged
        });
        let committed = self.broker.committed();
        let (true, Ok(committed)) = (quiet, committed) else {
            self.proxy.hold(false);
            return false;
        };
        std::thread::sleep(TICK);
        let partitions = {
            let mut expected_state = expected_clicks.lock();
            expected_state.recreate(&committed, jiff::Timestamp::now().as_millisecond());
            usize::try_from(expected_state.partitions()).expect("few partitions")
        };
        self.world.kafka.delete_topic(&self.world.topic).expect("a topic can be deleted");
        let gone = within(EFFECT, || self.broker.is_topic_gone());
        self.world.setup();
        if self.world.kafka.bounds(&self.world.topic).len() < partitions {
            self.world.kafka.grow(&self.world.topic, partitions);
        }
        let empty = self.broker.ends().is_ok_and(|ends| ends.iter().all(|end| *end == 0));
        drop(write_lock);
        self.proxy.hold(false);
        // The members continue with the new topic, at its start.
        let read = within(3 * EFFECT, || {
            self.pool.fill();
            let positions = self.broker.committed().ok().zip(self.broker.ends().ok());
            positions.is_some_and(|(all, ends)| {
                all.iter().any(|position| *position > 0)
                    && all.iter().zip(&ends).all(|(position, end)| position <= end)
            })
        });
        work && gone && empty && read
    }
}
