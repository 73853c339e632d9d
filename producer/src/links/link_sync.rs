//! The parts that keep the links of a host current: follower, publisher, admin API and snapshot.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use service::admin_port::Health;
use service::wakeup::Wakeup;
use service::worker::{Problem, Worker};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::KafkaArgs;
use crate::config::links::FollowArgs;
use crate::exit::Failure;
use crate::kafka::link_producer::LinkProducer;
use crate::links::admin_api::{LinksApi, LinksApiParts, LinksApiShared};
use crate::links::follower::{Follower, FollowerParts};
use crate::links::link_table::LinkTable;
use crate::links::publisher::{LinkPublisher, PublisherParts};
use crate::links::snapshot;
use crate::links::store::Store;
use crate::links::store_location::StoreLocation;
use crate::links::topic_reports::TopicReports;
use crate::metrics::Metrics;

/// The running threads and tasks.
#[derive(Debug)]
pub struct LinkSync {
    follower: Follower,
    publisher: Option<LinkPublisher>,
    api: JoinSet<()>,
    stop: CancellationToken,
    health: LinkHealth,
}

/// The health of the links, for the health probe.
#[derive(Debug, Clone)]
pub struct LinkHealth {
    table: Arc<LinkTable>,
    follower: Problem,
    publisher: Problem,
    /// Set while the store is behind the topic.
    behind: Problem,
    /// Whether the table holds the links of the snapshot.
    from_snapshot: bool,
}

impl LinkSync {
    /// Fills `table` from the snapshot and starts to follow the topic.
    ///
    /// # Errors
    /// A configuration failure.
    pub async fn start(
        follow: &FollowArgs,
        kafka: &KafkaArgs,
        table: &Arc<LinkTable>,
        metrics: &Metrics,
    ) -> Result<Self, Failure> {
        let path = follow.links_snapshot.clone();
        let into = Arc::clone(table);
        let read = tokio::task::spawn_blocking(move || read_snapshot(&into, &path));
        let health = LinkHealth {
            table: Arc::clone(table),
            follower: Problem::default(),
            publisher: Problem::default(),
            behind: Problem::default(),
            from_snapshot: read.await.map_err(Failure::invariant)?,
        };
        let stop = CancellationToken::new();
        let endpoint = kafka.endpoint(&follow.links_topic).map_err(Failure::configuration)?;
        let wakeup = Arc::new(Wakeup::default());
        let api = api(
            follow,
            LinksApiShared {
                wakeup: Arc::clone(&wakeup),
                table: Arc::clone(table),
                metrics: metrics.links.clone(),
            },
            &stop,
        )
        .await?;
        let reports = Arc::<TopicReports>::default();
        let publisher = publisher(PublisherParts {
            location: follow.store.links_db.clone(),
            publisher: LinkProducer::new(endpoint.clone(), Handle::current(), stop.clone()),
            wakeup,
            table: Arc::clone(table),
            reports: Arc::clone(&reports),
            metrics: metrics.clone(),
            problem: health.publisher.clone(),
            behind: health.behind.clone(),
            stop: stop.clone(),
        })
        .await?;
        let follower = Follower::start(FollowerParts {
            endpoint,
            links: Arc::clone(table),
            snapshot: follow.links_snapshot.clone(),
            reports: publisher.is_some().then_some(reports),
            runtime: Handle::current(),
            metrics: metrics.clone(),
            problem: health.follower.clone(),
            stop: stop.clone(),
        })
        .map_err(Failure::invariant)?;
        Ok(Self { follower, publisher, api, stop, health })
    }

    /// The health of the links, for the health probe.
    pub fn health(&self) -> LinkHealth {
        self.health.clone()
    }

    /// Stops threads and tasks, also if broker or database hang, and writes the last snapshot.
    ///
    /// # Errors
    /// A thread cannot be awaited.
    pub async fn finish(self) -> Result<(), Failure> {
        let Self { follower, publisher, mut api, stop, .. } = self;
        stop.cancel();
        api.shutdown().await;
        let publisher = publisher.map(LinkPublisher::into_worker);
        let workers = publisher.into_iter().chain(follower.into_workers());
        let ended = tokio::task::spawn_blocking(move || Worker::stop_all(workers));
        ended.await.map_err(Failure::invariant)
    }
}

impl LinkHealth {
    /// The current health.
    pub fn current(&self) -> Health {
        let follower = self.follower.current();
        let of_store = self.publisher.current().into_iter().chain(self.behind.current());
        if self.table.is_loaded() {
            return Health::Ready.with(follower.into_iter().chain(of_store).collect());
        }
        let health = match follower {
            Some(cause) if self.from_snapshot => {
                Health::Degraded(vec![format!("the links are those of the last snapshot: {cause}")])
            }
            cause => {
                let cause = cause.unwrap_or_else(|| "the topic of links is being read".to_owned());
                Health::NotReady(format!("not all links are loaded: {cause}"))
            }
        };
        health.with(of_store.collect())
    }
}

/// Reads the snapshot into the table; returns whether it was usable.
fn read_snapshot(table: &LinkTable, path: &Path) -> bool {
    let shown = path.display();
    match snapshot::read(table, path) {
        Ok(links) => {
            tracing::info!(snapshot = %shown, links, "loaded links from the snapshot");
            true
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            tracing::info!(snapshot = %shown, "there is no snapshot of links: unknown slugs are answered 503 until the topic is read");
            false
        }
        Err(error) => {
            let code = "links_snapshot";
            tracing::error!(code, snapshot = %shown, %error, "the snapshot of links cannot be read and was ignored");
            false
        }
    }
}

/// Starts the publisher, if this host has a store.
async fn publisher(parts: PublisherParts<LinkProducer>) -> Result<Option<LinkPublisher>, Failure> {
    if parts.location == StoreLocation::None {
        return Ok(None);
    }
    // An unusable location is an error now; an unreachable server may become reachable later.
    let location = parts.location.clone();
    let opened = tokio::task::spawn_blocking(move || Store::open(&location).map(drop));
    opened.await.map_err(Failure::invariant)?.map_err(Failure::from)?;
    LinkPublisher::start(parts).map(Some).map_err(Failure::invariant)
}

async fn api(
    follow: &FollowArgs,
    shared: LinksApiShared,
    stop: &CancellationToken,
) -> Result<JoinSet<()>, Failure> {
    let mut tasks = JoinSet::new();
    let token = follow.token().map_err(Failure::configuration)?;
    let (Some(token), address) = (token, follow.links_listen) else { return Ok(tasks) };
    if follow.store.links_db == StoreLocation::None {
        let cause = "the admin API of links needs a link store: set CLICKTRAIL_LINKS_DB, or remove the token";
        return Err(Failure::configuration(anyhow::anyhow!(cause)));
    }
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address} (--links-listen)"))
        .map_err(Failure::unavailable)?;
    let parts = LinksApiParts { location: follow.store.links_db.clone(), tokens: token, shared };
    let api = LinksApi::new(parts);
    tasks.spawn(api.serve(listener, stop.clone()));
    tracing::info!(listen = %address, "the admin API of links is on");
    Ok(tasks)
}
