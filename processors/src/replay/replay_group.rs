//! The consumer group of a replay, as its workers see it from outside.

use std::collections::BTreeMap;
use std::sync::Arc;

use broker::{Brokers, ServerError};
use records::replay::replay_plan::{ReplayPlan, group};

use crate::audit::decoded_events::blocking;
use crate::kafka::group_positions::GroupPositions;

/// The brokers, for a consumer that reads from leaders only. A follower, which `client.rack` selects, may end
/// before a record that the leader holds, so that the range seems to end there.
pub(crate) fn from_leaders(mut brokers: Brokers) -> Brokers {
    brokers.properties.retain(|property| property.key != "client.rack");
    brokers
}

/// The group of one job.
#[derive(Debug)]
pub(crate) struct ReplayGroup {
    positions: Arc<GroupPositions>,
    partitions: Vec<i32>,
}

impl ReplayGroup {
    /// The group of the job `id`. Sends no request.
    ///
    /// # Errors
    /// A property that is refused.
    pub(crate) fn open(
        brokers: &Brokers,
        id: &str,
        plan: &ReplayPlan,
    ) -> Result<Self, ServerError> {
        let positions = Arc::new(GroupPositions::open(brokers, &group(id), &plan.topic)?);
        Ok(Self { positions, partitions: plan.ranges.keys().copied().collect() })
    }

    /// The committed position of each partition of the plan that has one.
    ///
    /// # Errors
    /// The coordinator of the group does not answer.
    pub(crate) async fn positions(&self) -> Result<BTreeMap<i32, i64>, ServerError> {
        let (positions, partitions) = (Arc::clone(&self.positions), self.partitions.clone());
        blocking(move || positions.committed(partitions)).await
    }

    /// Commits the start of each range of which nothing is committed. Without a position, the first worker
    /// would read the partition from the start of the log.
    ///
    /// # Errors
    /// The coordinator of the group does not answer.
    pub(crate) async fn commit_starts(&self, plan: &ReplayPlan) -> Result<(), ServerError> {
        let committed = self.positions().await?;
        let starts = plan.ranges.iter().filter(|(own, _)| !committed.contains_key(own));
        let starts = starts.filter_map(|(own, ranges)| Some((*own, ranges.first()?.first)));
        let (starts, positions) = (starts.collect(), Arc::clone(&self.positions));
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
