//! The tasks of a replay worker beside its pipeline: the watch of the throttle, and the admin port.

use std::sync::Arc;

use broker::ServerError;
use prometheus_client::registry::Registry as MetricRegistry;
use records::replay::replay_plan::ReplayPlan;
use service::number::gauge;
use tokio::task::JoinSet;

use crate::config::Servers;
use crate::kafka::group_lag::GroupLag;
use crate::metrics::processor::ProcessorMetrics;
use crate::metrics::replay::ReplayMetrics;
use crate::replay::replay_admin::ReplayAdmin;
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
}

impl WorkerTasks<'_> {
    /// Serves the admin port by a task of `tasks`, and starts the watch of the throttle, which ends with the progress
    /// that this returns. `metrics` are those of the pipeline.
    ///
    /// # Errors
    /// A setting is refused.
    pub(crate) fn start(
        self,
        admin: Option<ReplayAdmin>,
        metrics: &ProcessorMetrics,
        tasks: &mut JoinSet<()>,
    ) -> Result<ReplayProgress, ServerError> {
        let mut registry = MetricRegistry::default();
        let shown = ReplayMetrics::register(&mut registry, metrics);
        if let Some(admin) = admin {
            admin.serve(registry, metrics.attempts.clone(), tasks);
        }
        let throttle = SharedThrottle::new(self.plan.ranges.len());
        shown.passes.set(gauge(self.plan.pass_count()));
        let brokers = self.servers.kafka.brokers();
        let watch = ThrottleWatch {
            cluster: self.servers.clickhouse.cluster()?,
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
