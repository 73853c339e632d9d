//! The replicas of a shard: an attempt to insert goes to the one that answered last, and after a failure to the
//! next one.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use broker::{ErrorClass, ServerError};
use service::shown_url::without_secrets;
use tokio::sync::OnceCell;

use crate::clickhouse::click_table::ClickTable;
use crate::clickhouse::cluster_layout;
use crate::clickhouse::insert_settings::ACKNOWLEDGE_TIMEOUT;
use crate::clickhouse::server::Server;
use crate::run::sink::Insert;
use crate::shards::cluster::Cluster;
use crate::shards::shard_layout::ShardLayout;

/// How long the first of several replicas may take to acknowledge an insert. The time doubles with each failure,
/// because all of them may be slow, and halves with each success.
const FIRST_ACKNOWLEDGE: Duration = Duration::from_secs(15);
/// The time is then as long as that of the only replica.
const DOUBLINGS_MAX: u32 = 3;

/// One shard.
#[derive(Debug)]
pub(super) struct ShardReplicas {
    replicas: Vec<Replica>,
    /// Index of the replica that takes the next attempt.
    current: AtomicUsize,
    /// Failures by which the time to acknowledge is longer.
    failures: AtomicU32,
    /// Replicas that refused in turn, each with an error that no wait ends.
    refusals: AtomicUsize,
    layout: ShardLayout,
    /// Of the shard, from 1.
    number: u32,
    /// Whether errors name the server, since there is more than one.
    names_server: bool,
}

/// A server, which is opened at the first attempt.
#[derive(Debug)]
struct Replica {
    server: Server,
    table: OnceCell<ClickTable>,
    /// Set when its layout was compared: it may have been silent when the program started.
    is_of_shard: OnceCell<()>,
}

impl ShardReplicas {
    /// The replicas of a shard, by its index from 0. None is opened yet. Errors name the server if it is not the
    /// only one.
    pub(super) fn new(cluster: &Cluster, shard: usize) -> Self {
        let names_server = !cluster.is_one_server();
        let shard = &cluster.shards[shard];
        debug_assert!(!shard.replicas.is_empty(), "a shard has a replica");
        let replica = |server: &Server| Replica {
            server: server.clone(),
            table: OnceCell::new(),
            is_of_shard: OnceCell::new(),
        };
        let replicas = shard.replicas.iter().map(replica).collect();
        let (current, refusals) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Self {
            replicas,
            current,
            failures: AtomicU32::new(0),
            refusals,
            layout: cluster.layout.clone(),
            number: shard.number,
            names_server,
        }
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
        match self.insert_into(&self.replicas[index], insert).await {
            Ok(()) => {
                self.succeeded();
                Ok(())
            }
            Err(error) => Err(self.failed(index, error)),
        }
    }

    async fn insert_into(&self, replica: &Replica, insert: &Insert<'_>) -> Result<(), ServerError> {
        let table = replica.table().await?;
        let check = || cluster_layout::check(&replica.server, &self.layout, self.number);
        replica.is_of_shard.get_or_try_init(check).await?;
        table.insert(insert, self.acknowledge_timeout()).await
    }

    fn acknowledge_timeout(&self) -> Duration {
        if self.replicas.len() == 1 {
            return ACKNOWLEDGE_TIMEOUT;
        }
        let doublings = self.failures.load(Ordering::Relaxed);
        FIRST_ACKNOWLEDGE.saturating_mul(1 << doublings).min(ACKNOWLEDGE_TIMEOUT)
    }

    /// The time to acknowledge is half as long again; no replica has refused in turn.
    fn succeeded(&self) {
        let one_less = |failures: u32| failures.checked_sub(1);
        // An error here means that there is none.
        self.failures.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).ok();
        self.refusals.store(0, Ordering::Relaxed);
    }

    /// Chooses the next replica, unless another attempt has done so; returns the error with the server's name. What
    /// no wait can end at one replica is fatal once all of them have refused in turn.
    fn failed(&self, index: usize, mut error: ServerError) -> ServerError {
        let one_more = |failures| (failures < DOUBLINGS_MAX).then_some(failures + 1);
        // An error here means that there are as many as count.
        self.failures.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok();
        let next = (index + 1) % self.replicas.len();
        // An error here means that another attempt has chosen.
        let chosen =
            self.current.compare_exchange(index, next, Ordering::Relaxed, Ordering::Relaxed);
        if error.class == ErrorClass::Retryable {
            self.refusals.store(0, Ordering::Relaxed);
        } else {
            let own = usize::from(chosen.is_ok());
            if self.refusals.fetch_add(own, Ordering::Relaxed) + own < self.replicas.len() {
                error.class = ErrorClass::Retryable;
            }
        }
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
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::shards::cluster::Shard;

    /// One shard of these replicas.
    fn shard(servers: &[Server]) -> ShardReplicas {
        let shard = Shard { number: 1, weight: 1, replicas: servers.to_vec() };
        ShardReplicas::new(&Cluster::new(vec![shard], None, None), 0)
    }

    /// Servers that refuse connections.
    fn closed<const N: usize>() -> [Server; N] {
        let listeners = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        listeners.each_ref().map(Server::behind)
    }

    #[tokio::test]
    async fn each_attempt_after_a_failure_goes_to_the_next_replica_in_turn() {
        let servers = closed::<3>();
        let shard = shard(&servers);
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
    fn several_replicas_have_less_time_more_after_a_failure_and_less_after_a_success() {
        let seconds = |servers: &[Server]| {
            let shard = shard(servers);
            let time = || shard.acknowledge_timeout().as_secs();
            let failing = [(); 5].map(|()| {
                let now = time();
                shard.failed(0, ServerError::retryable("clickhouse_unreachable", ""));
                now
            });
            shard.succeeded();
            (failing, time())
        };
        assert_eq!(seconds(&closed::<1>()), ([120; 5], 120));
        assert_eq!(seconds(&closed::<2>()), ([15, 30, 60, 120, 120], 60));
    }

    #[test]
    fn what_one_replica_refuses_ends_nothing_and_what_all_refuse_does() {
        let shard = shard(&closed::<2>());
        let refuse = |index| shard.failed(index, ServerError::fatal("clickhouse_schema", "")).class;
        assert_eq!(refuse(0), ErrorClass::Retryable);
        // An attempt that had begun before: the other replica was not tried yet.
        assert_eq!(refuse(0), ErrorClass::Retryable);
        assert_eq!(refuse(1), ErrorClass::Fatal);
        // One is away, which a wait may end.
        shard.failed(0, ServerError::retryable("clickhouse_unreachable", ""));
        assert_eq!(refuse(1), ErrorClass::Retryable);
    }
}
