//! The replicas of a shard: an attempt to insert goes to the one that answered last, and after a failure to the
//! next one.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use broker::ServerError;
use service::shown_url::without_secrets;
use tokio::sync::OnceCell;

use crate::clickhouse::click_table::ClickTable;
use crate::clickhouse::insert_settings::ACKNOWLEDGE_TIMEOUT;
use crate::clickhouse::server::Server;
use crate::run::sink::Insert;

/// How long the first of several replicas may take to acknowledge an insert. The time doubles with each failure
/// in a row, because all of them may be slow.
const FIRST_ACKNOWLEDGE: Duration = Duration::from_secs(15);

/// One shard.
#[derive(Debug)]
pub(super) struct ShardReplicas {
    replicas: Vec<Replica>,
    /// Index of the replica that takes the next attempt.
    current: AtomicUsize,
    /// Attempts that failed since the last one that succeeded.
    failures: AtomicU32,
    /// Whether errors name the server, since there is more than one.
    names_server: bool,
}

/// A server, which is opened at the first attempt.
#[derive(Debug)]
struct Replica {
    server: Server,
    table: OnceCell<ClickTable>,
}

impl ShardReplicas {
    /// Replicas that were not opened yet. Errors name the server if it is not the only one.
    pub(super) fn new(servers: &[Server], names_server: bool) -> Self {
        debug_assert!(!servers.is_empty(), "a shard has a replica");
        let replica = |server: &Server| Replica { server: server.clone(), table: OnceCell::new() };
        let replicas = servers.iter().map(replica).collect();
        let (current, failures) = (AtomicUsize::new(0), AtomicU32::new(0));
        Self { replicas, current, failures, names_server }
    }

    /// Opens one replica: the first that answers.
    ///
    /// # Errors
    /// None of them does.
    pub(super) async fn open(&self) -> Result<(), ServerError> {
        let mut opened = self.open_current().await;
        for _ in 1..self.replicas.len() {
            if opened.is_err() {
                opened = self.open_current().await;
            }
        }
        opened
    }

    async fn open_current(&self) -> Result<(), ServerError> {
        let index = self.current.load(Ordering::Relaxed);
        let opened = self.replicas[index].table().await.map(|_| ());
        opened.map_err(|error| self.failed(index, error))
    }

    /// One attempt to insert.
    ///
    /// # Errors
    /// As [`ClickTable::insert`]; the next attempt goes to the next replica.
    pub(super) async fn insert(&self, insert: &Insert<'_>) -> Result<(), ServerError> {
        let index = self.current.load(Ordering::Relaxed);
        let inserted = self.replicas[index].insert(insert, self.acknowledge_timeout()).await;
        match inserted {
            Ok(()) => {
                self.failures.store(0, Ordering::Relaxed);
                Ok(())
            }
            Err(error) => Err(self.failed(index, error)),
        }
    }

    fn acknowledge_timeout(&self) -> Duration {
        if self.replicas.len() == 1 {
            return ACKNOWLEDGE_TIMEOUT;
        }
        let doublings = self.failures.load(Ordering::Relaxed).min(8);
        FIRST_ACKNOWLEDGE.saturating_mul(1 << doublings).min(ACKNOWLEDGE_TIMEOUT)
    }

    /// Chooses the next replica, unless another attempt has done so; returns the error with the server's name.
    fn failed(&self, index: usize, error: ServerError) -> ServerError {
        self.failures.fetch_add(1, Ordering::Relaxed);
        let next = (index + 1) % self.replicas.len();
        // An error here means that another attempt has chosen.
        self.current.compare_exchange(index, next, Ordering::Relaxed, Ordering::Relaxed).ok();
        if !self.names_server {
            return error;
        }
        let url = without_secrets(&self.replicas[index].server.url);
        ServerError { message: format!("{url}: {}", error.message), ..error }
    }
}

impl Replica {
    async fn table(&self) -> Result<&ClickTable, ServerError> {
        self.table.get_or_try_init(|| ClickTable::open(&self.server)).await
    }

    async fn insert(&self, insert: &Insert<'_>, acknowledge: Duration) -> Result<(), ServerError> {
        self.table().await?.insert(insert, acknowledge).await
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// Servers that refuse connections.
    fn closed<const N: usize>() -> [Server; N] {
        let listeners = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        listeners.each_ref().map(Server::behind)
    }

    #[tokio::test]
    async fn each_attempt_after_a_failure_goes_to_the_next_replica_in_turn() {
        let servers = closed::<3>();
        let shard = ShardReplicas::new(&servers, true);
        for attempt in 0..7 {
            let error = shard.open_current().await.unwrap_err();
            assert_eq!(error.code, "clickhouse_unreachable");
            let url = &servers[attempt % 3].url;
            assert!(error.message.starts_with(url.as_str()), "{attempt}: {error}");
        }
        // Another attempt that had begun before changes nothing.
        shard.failed(0, ServerError::retryable("clickhouse_unreachable", ""));
        let error = shard.open_current().await.unwrap_err();
        assert!(error.message.starts_with(&servers[1].url), "{error}");
    }

    #[test]
    fn several_replicas_have_less_time_and_more_after_each_failure() {
        let seconds = |servers: &[Server]| {
            let shard = ShardReplicas::new(servers, false);
            [0, 1, 2, 3, 4].map(|failures| {
                shard.failures.store(failures, Ordering::Relaxed);
                shard.acknowledge_timeout().as_secs()
            })
        };
        assert_eq!(seconds(&closed::<1>()), [120; 5]);
        assert_eq!(seconds(&closed::<2>()), [15, 30, 60, 120, 120]);
    }
}
