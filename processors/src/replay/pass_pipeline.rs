//! What processes the records of a pass: the pipeline of `processors run`, within the ranges of the pass and with
//! the sinks of a replay.

use broker::ServerError;
use records::replay::replay_plan::ReplayPlan;

use crate::clickhouse::shard_tables::ShardTables;
use crate::config::Servers;
use crate::kafka::dead_letter_writer::DeadLetterWriter;
use crate::kafka::group_consumer::GroupConsumer;
use crate::kafka::group_settings::{GroupProtocol, GroupSettings};
use crate::kafka::read_limits::ReadLimits;
use crate::metrics::processor::ProcessorMetrics;
use crate::replay::replay_group::{ReplayGroup, from_leaders};
use crate::replay::replay_sinks::{ReplayDeadLetters, ReplayTable};
use crate::replay::throttle_state::SharedThrottle;
use crate::replay::throttled_source::ThrottledSource;
use crate::rules::folder::SharedRuleSet;
use crate::run::driver::Driver;
use crate::run::driver_settings::DriverSettings;
use crate::run::pipeline::Pipeline;

/// The driver of a pass.
pub(crate) type PassDriver = Driver<ThrottledSource<GroupConsumer>, ReplayTable, ReplayDeadLetters>;

/// What the passes of one worker share.
#[derive(Debug)]
pub(crate) struct PassPipeline<'a> {
    pub(crate) servers: &'a Servers,
    pub(crate) plan: &'a ReplayPlan,
    pub(crate) rules: SharedRuleSet,
    pub(crate) settings: DriverSettings,
    pub(crate) metrics: ProcessorMetrics,
    pub(crate) dead_letters: ReplayDeadLetters,
}

/// Where the dead letters of a replay go.
///
/// # Errors
/// A property that is refused.
pub(crate) fn dead_letters(
    servers: &Servers,
    plan: &ReplayPlan,
) -> Result<ReplayDeadLetters, ServerError> {
    if !plan.writes_dead_letters {
        return Ok(ReplayDeadLetters::counted());
    }
    let topic = servers.kafka.topic.dead_letters();
    let writer = DeadLetterWriter::open(&servers.kafka.brokers(), &topic)?;
    Ok(ReplayDeadLetters::written(writer))
}

impl<'a> PassPipeline<'a> {
    fn pipeline(&self) -> Pipeline<'a> {
        Pipeline {
            servers: self.servers,
            rules: SharedRuleSet::clone(&self.rules),
            metrics: self.metrics.clone(),
            settings: self.settings,
            occurred: self.plan.window.occurred(),
            // Live processing has passed these records: they are in no backlog.
            override_args: "--partition PARTITION --offsets FIRST-LAST".to_owned(),
        }
    }

    /// Waits for the servers without end; see [`Pipeline::open_table`].
    ///
    /// # Errors
    /// What the preflight refuses.
    pub(crate) async fn open_table(&self) -> Result<ShardTables, ServerError> {
        self.pipeline().open_table().await
    }

    /// The driver of a member of the group of a pass, which reads its ranges as the throttle allows.
    ///
    /// # Errors
    /// A property or a setting that is refused.
    pub(crate) fn driver(
        &self,
        table: ShardTables,
        group: &ReplayGroup,
        throttle: &SharedThrottle,
    ) -> Result<PassDriver, ServerError> {
        let (id, instance_id) = (group.name.clone(), None);
        let member = GroupSettings { id, protocol: GroupProtocol::Classic, instance_id };
        let brokers = from_leaders(self.servers.kafka.brokers());
        let limits = Some(ReadLimits::new(group.pass.ranges.clone()));
        let source = GroupConsumer::join_within(&brokers, &member, &self.plan.topic, limits)?;
        let source = ThrottledSource::new(source, throttle);
        let table = match self.plan.writes_dead_letters {
            true => ReplayTable::guarded(table),
            false => ReplayTable::new(table, group.pass.ranges.keys().copied()),
        };
        self.pipeline().driver(source, table, self.dead_letters.clone())
    }
}
