//! The admin port of a replay worker.

use std::net::SocketAddr;
use std::sync::Arc;

use broker::ServerError;
use prometheus_client::registry::Registry as MetricRegistry;
use service::admin_port::{self, Health};
use service::attempts::Attempts;
use service::host_header::AdminHosts;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// The port, which is listened to and not served yet.
#[derive(Debug)]
pub(crate) struct ReplayAdmin {
    listener: TcpListener,
    /// Host names that it answers to.
    hosts: AdminHosts,
}

impl ReplayAdmin {
    /// Listens to an address, before the worker changes its job.
    ///
    /// # Errors
    /// The address cannot be used.
    pub(crate) async fn listen(
        address: SocketAddr,
        hosts: AdminHosts,
    ) -> Result<Self, ServerError> {
        let listener = TcpListener::bind(address).await.map_err(|error| {
            let text = format!(
                "{address}: {error}; choose another address with --admin-listen or \
                 CLICKTRAIL_REPLAY_ADMIN_LISTEN"
            );
            ServerError::fatal("admin_listen", text)
        })?;
        Ok(Self { listener, hosts })
    }

    /// Serves the port in a task of `tasks`.
    pub(crate) fn serve(
        self,
        registry: MetricRegistry,
        attempts: Attempts,
        tasks: &mut JoinSet<()>,
    ) {
        let probe = move || Health::Ready.with(attempts.problems());
        // The task ends with the worker.
        let (registry, stop) = (Arc::new(registry), CancellationToken::new());
        tasks.spawn(admin_port::run(self.listener, registry, probe, self.hosts, stop));
    }
}
