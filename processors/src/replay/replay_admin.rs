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

/// Where the port is, and the names that it answers to.
#[derive(Debug, Clone)]
pub(crate) struct ReplayAdmin {
    /// Address.
    pub(crate) address: SocketAddr,
    /// Host names.
    pub(crate) hosts: AdminHosts,
}

/// Serves the port in a task of `tasks`.
///
/// # Errors
/// The address cannot be used.
pub(crate) async fn serve(
    admin: &ReplayAdmin,
    registry: MetricRegistry,
    attempts: Attempts,
    tasks: &mut JoinSet<()>,
) -> Result<(), ServerError> {
    let ReplayAdmin { address, hosts } = admin.clone();
    let listener = TcpListener::bind(address).await.map_err(|error| {
        let text = format!(
            "{address}: {error}; choose another address with --admin-listen or \
             CLICKTRAIL_REPLAY_ADMIN_LISTEN"
        );
        ServerError::fatal("admin_listen", text)
    })?;
    let probe = move || Health::Ready.with(attempts.problems());
    // The task ends with the worker.
    let stop = CancellationToken::new();
    tasks.spawn(admin_port::run(listener, Arc::new(registry), probe, hosts, stop));
    Ok(())
}
