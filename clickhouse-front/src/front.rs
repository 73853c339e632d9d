//! The state that all requests share: the engine, the queries that run, the sessions, the users.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Semaphore;

use crate::auth::User;
use crate::engine::Engine;
use crate::faults::Faults;
use crate::running_queries::RunningQueries;
use crate::server_info::ServerInfo;
use crate::session::Sessions;

/// Everything that a query needs besides its request.
#[derive(Debug)]
pub(crate) struct Front {
    /// The engine.
    pub(crate) engine: Engine,
    /// The queries that run.
    pub(crate) running: RunningQueries,
    /// Connections that stay open between requests.
    pub(crate) sessions: Sessions,
    /// The faults to inject.
    pub(crate) faults: Faults,
    /// The users that may sign in.
    pub(crate) users: Vec<User>,
    /// Folder for results that are not sent yet.
    pub(crate) spill: PathBuf,
    /// What answers report about the server.
    pub(crate) info: ServerInfo,
    /// Bounds the queries that run at once.
    pub(crate) slots: Arc<Semaphore>,
    /// The time.
    pub(crate) clock: fn() -> Instant,
}
