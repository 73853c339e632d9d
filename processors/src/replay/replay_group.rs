//! The consumer group of a pass of a replay, as its workers see it from outside.

use std::collections::BTreeMap;
use std::sync::Arc;

use broker::{Brokers, ServerError};
use records::replay::replay_pass::{ReplayPass, group};
use records::replay::replay_plan::ReplayPlan;

use crate::audit::decoded_events::blocking;
use crate::kafka::group_positions::GroupPositions;

/// The brokers, for a consumer that reads from leaders only. A follower, which `client.rack` selects, may end
/// before a record that the leader holds, so that the range seems to end there.
pub(crate) fn from_leaders(mut brokers: Brokers) -> Brokers {
    brokers.properties.retain(|property| property.key != "client.rack");
    brokers
}

/// The group of one pass.
#[derive(Debug)]
pub(crate) struct ReplayGroup {
    positions: Arc<GroupPositions>,
    /// Its name.
    pub(crate) name: String,
    /// The number of the pass.
    pub(crate) number: usize,
    /// What it reads.
    pub(crate) pass: ReplayPass,
}

impl ReplayGroup {
    /// The group of a pass of the job `id`; of the last pass for a larger number. Sends no request.
    ///
    /// # Errors
    /// A property that is refused.
    pub(crate) fn open(
        brokers: &Brokers,
        id: &str,
        plan: &ReplayPlan,
        number: usize,
    ) -> Result<Self, ServerError> {
        let number = number.clamp(1, plan.pass_count());
        let name = group(id, number);
        let positions = Arc::new(GroupPositions::open(brokers, &name, &plan.topic)?);
        Ok(Self { positions, name, number, pass: plan.pass(number) })
    }

    /// The committed position of each partition of the pass that has one.
    ///
    /// # Errors
    /// The coordinator of the group does not answer.
    pub(crate) async fn positions(&self) -> Result<BTreeMap<i32, i64>, ServerError> {
        let positions = Arc::clone(&self.positions);
        let partitions: Vec<_> = self.pass.ranges.keys().copied().collect();
        blocking(move || positions.committed(partitions)).await
    }

    /// Commits the start of the ranges of each partition of which nothing is committed. Without a position, the
    /// first worker would read the partition from the start of the log.
    ///
    /// # Errors
    /// The coordinator of the group does not answer.
    pub(crate) async fn commit_starts(&self) -> Result<(), ServerError> {
        let committed = self.positions().await?;
        let mut starts = self.pass.starts();
        starts.retain(|partition, _| !committed.contains_key(partition));
        let positions = Arc::clone(&self.positions);
        blocking(move || positions.commit(&starts)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replay_reads_from_leaders_with_all_other_properties() {
        let properties = ["client.rack=a", "session.timeout.ms=6000"];
        let properties = properties.iter().map(|text| text.parse().unwrap()).collect();
        let brokers = from_leaders(Brokers { servers: "b:9092".to_owned(), properties });
        let keys: Vec<_> = brokers.properties.iter().map(|own| own.key.as_str()).collect();
        assert_eq!(keys, ["session.timeout.ms"]);
    }
}
