//! The tasks of a replay worker beside its pipeline: the watch of the throttle, and the admin port.

use std::sync::Arc;

use broker::ServerError;
use prometheus_client::registry::Registry as MetricRegistry;
use records::replay::replay_plan::ReplayPlan;
use tokio::task::JoinSet;

use crate::config::Servers;
use crate::kafka::group_lag::GroupLag;
use crate::metrics::processor::ProcessorMetrics;
use crate::metrics::replay::ReplayMetrics;
use crate::replay::replay_admin::{self, ReplayAdmin};
use crate::replay::replay_progress::ReplayProgress;
use crate::replay::throttle_state::SharedThrottle;
use crate::replay::throttle_watch::ThrottleWatch;

/// What the tasks are about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WorkerTasks<'a> {
    pub(crate) servers: &'a Servers,
    /// Job.
    pub(crate) id: &'a str,
    pub(crate) plan: &'a ReplayPlan,
    /// The group of `processors run`.
    pub(crate) live_group: &'a str,
    /// The admin port, if there is one.
    pub(crate) admin: Option<&'a ReplayAdmin>,
}

impl WorkerTasks<'_> {
    /// Starts the admin port as a task of `tasks`, and the watch of the throttle, which ends with the progress
    /// that this returns. `metrics` are those of the pipeline.
    ///
    /// # Errors
    /// The address of the admin port cannot be used, or a setting is refused.
    pub(crate) async fn start(
        self,
        metrics: &ProcessorMetrics,
        tasks: &mut JoinSet<()>,
    ) -> Result<ReplayProgress, ServerError> {
        let mut registry = MetricRegistry::default();
        let shown = ReplayMetrics::register(&mut registry, metrics);
        if let Some(admin) = self.admin {
            replay_admin::serve(admin, registry, metrics.attempts.clone(), tasks).await?;
        }
        let throttle = SharedThrottle::new(self.plan.ranges.len());
        let brokers = self.servers.kafka.brokers();
        let watch = ThrottleWatch {
            server: self.servers.clickhouse.server()?,
            id: self.id.to_owned(),
            live: Arc::new(GroupLag::open(&brokers, self.live_group, &self.plan.topic)?),
            throttle: throttle.clone(),
            worker: metrics.clone(),
            metrics: shown.clone(),
        };
        let mut watching = JoinSet::new();
        watching.spawn(watch.run());
        Ok(ReplayProgress::new(self.plan, throttle, shown, watching))
    }
}
