//! Reads from all shards of the table of clicks in parallel, from one replica of each.

use std::fmt::Display;
use std::time::Duration;

use broker::ServerError;
use futures_util::future::{join_all, try_join_all};
use service::shown_url::without_secrets;

use crate::clickhouse::cluster_layout;
use crate::clickhouse::server::{Server, within};
use crate::shards::cluster::{Cluster, Shard};
use crate::shards::shard_layout::ShardLayout;

/// Bounds the question how late a replica is.
const TIMEOUT: Duration = Duration::from_secs(4);

/// The view of the clicks, if there is one shard.
const ALL_CLICKS: &str = "clicks";
/// The view of the clicks that a shard holds.
const OWN_CLICKS: &str = "shard_clicks";

/// One replica of each shard. A reader asks the same ones for all of its queries, because replicas may hold different
/// rows.
#[derive(Debug, Clone)]
pub(crate) struct ShardReaders {
    layout: ShardLayout,
    servers: Vec<Server>,
}

impl ShardReaders {
    /// Chooses of each shard the replica that is the least late, the first one of several; asks none where there is no
    /// choice.
    ///
    /// # Errors
    /// No replica of a shard answers, or the chosen one states another shard.
    pub(crate) async fn open(cluster: &Cluster) -> Result<Self, ServerError> {
        let choose = async |shard| {
            let server = least_late(shard).await?;
            let checked = cluster_layout::check(&server, &cluster.layout, shard.number).await;
            match checked {
                Ok(()) => Ok(server),
                Err(error) => Err(of_shard(shard.number, &server, error)),
            }
        };
        let servers = try_join_all(cluster.shards.iter().map(choose)).await?;
        Ok(Self { layout: cluster.layout.clone(), servers })
    }

    /// Which shard has which click.
    pub(crate) fn layout(&self) -> &ShardLayout {
        &self.layout
    }

    /// The view of the clicks that a server of a shard holds.
    pub(crate) fn view(&self) -> &'static str {
        if self.layout.is_single() { ALL_CLICKS } else { OWN_CLICKS }
    }

    /// The items of each shard, by the event ids of their clicks.
    pub(crate) fn by_owner<T: Copy>(
        &self,
        items: &[T],
        id: impl Fn(&T) -> [u8; 16],
    ) -> Vec<Vec<T>> {
        if self.layout.is_single() {
            return vec![items.to_vec()];
        }
        let mut own = vec![Vec::new(); self.servers.len()];
        items.iter().for_each(|item| own[self.layout.owner(&id(item))].push(*item));
        own
    }

    /// What each shard answers, in their order; `ask` gets the index of the shard. All are asked at once.
    ///
    /// # Errors
    /// The first error of a shard, with its number.
    pub(crate) async fn each<T>(
        &self,
        ask: impl AsyncFn(usize, &Server) -> Result<T, ServerError>,
    ) -> Result<Vec<T>, ServerError> {
        let ask = &ask;
        let answers = self.servers.iter().enumerate().map(|(index, server)| async move {
            let answer = ask(index, server).await;
            answer.map_err(|error| match self.layout.is_single() {
                true => error,
                false => of_shard(index + 1, server, error),
            })
        });
        try_join_all(answers).await
    }
}

/// How late a replica is: seconds, and entries of its queue.
type Lateness = (u64, u64);
/// Of a replica whose user may not know it.
const UNKNOWN: Lateness = (u64::MAX, u64::MAX);

/// The replica that is the least late.
async fn least_late(shard: &Shard) -> Result<Server, ServerError> {
    if let [only] = shard.replicas.as_slice() {
        return Ok(only.clone());
    }
    let answers = join_all(shard.replicas.iter().map(lateness)).await;
    if let Some(index) = least(&answers) {
        return Ok(shard.replicas[index].clone());
    }
    let failed = shard
        .replicas
        .iter()
        .zip(answers)
        .find_map(|(server, answer)| Some(of_shard(shard.number, server, answer.err()?)));
    let none = || ServerError::fatal("clickhouse_shards", "a shard has no replica");
    Err(failed.unwrap_or_else(none))
}

/// The first of the smallest.
fn least(answers: &[Result<Lateness, ServerError>]) -> Option<usize> {
    let known = answers.iter().enumerate();
    let known = known.filter_map(|(index, answer)| Some((*answer.as_ref().ok()?, index)));
    known.min().map(|(_, index)| index)
}

async fn lateness(server: &Server) -> Result<Lateness, ServerError> {
    let sql = "SELECT toUInt64(max(absolute_delay)), toUInt64(sum(queue_size)) FROM system.replicas \
               WHERE database = currentDatabase() AND table = 'click_versions'";
    match within(TIMEOUT, server.client().query(sql).fetch_one::<Lateness>()).await {
        Err(error) if !error.is_retryable() => Ok(UNKNOWN),
        answer => answer,
    }
}

/// An error with the number of the shard and the URL of the replica.
fn of_shard(number: impl Display, server: &Server, error: ServerError) -> ServerError {
    let message = format!("shard {number} ({}): {}", without_secrets(&server.url), error.message);
    ServerError { message, ..error }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn readers(weights: &[u32]) -> ShardReaders {
        let server = |number| Server {
            url: format!("http://user:secret@ch{number}:8123"),
            user: String::new(),
            password: String::new(),
            database: String::new(),
        };
        let servers = (1..=weights.len()).map(server).collect();
        ShardReaders { layout: ShardLayout::new(weights.to_vec()), servers }
    }

    #[test]
    fn each_click_is_asked_of_its_own_shard() {
        let ids: Vec<[u8; 16]> = (0..100_u128).map(u128::to_be_bytes).collect();
        assert_eq!(readers(&[1]).by_owner(&ids, |id| *id), std::slice::from_ref(&ids));
        let readers = readers(&[1, 3]);
        let own = readers.by_owner(&ids, |id| *id);
        let [first, second] = &own[..] else { panic!("{own:?}") };
        assert_eq!(first.len() + second.len(), 100);
        assert!(first.len() < second.len() && !first.is_empty());
        assert!(first.iter().all(|id| readers.layout().owner(id) == 0));
    }

    #[test]
    fn of_the_replicas_that_answer_the_least_late_is_read() {
        let silent = || Err(ServerError::retryable("clickhouse_timeout", "late"));
        assert_eq!(least(&[silent(), Ok((3, 0)), Ok((0, 2)), Ok((0, 1)), Ok((0, 1))]), Some(3));
        assert_eq!(least(&[silent(), Ok(UNKNOWN)]), Some(1));
        assert_eq!(least(&[silent(), silent()]), None);
    }

    #[tokio::test]
    async fn an_error_names_its_shard_and_no_secret() {
        let ask = async |index: usize, _: &Server| match index {
            1 => Err(ServerError::retryable("clickhouse_timeout", "late")),
            _ => Ok(index),
        };
        let error = readers(&[1, 1, 1]).each(&ask).await.unwrap_err();
        assert_eq!(error.message, "shard 2 (http://…@ch2:8123): late");
        assert_eq!(readers(&[1]).each(&ask).await, Ok(vec![0]));
        assert_eq!((readers(&[1]).view(), readers(&[1, 1]).view()), ("clicks", "shard_clicks"));
    }
}
