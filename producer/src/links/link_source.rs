//! Where the links of `serve` come from: a file, or the topic of links with all that feeds it.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use service::admin_port::Health;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::cmd::read_links;
use crate::config::ServeArgs;
use crate::config::links::FollowArgs;
use crate::exit::Failure;
use crate::kafka::endpoint::Endpoint;
use crate::kafka::link_producer::LinkProducer;
use crate::links::admin_api::Api;
use crate::links::follower::{self, Follower};
use crate::links::link_table::Links;
use crate::links::publisher::{self, LinkPublisher, Overtaken};
use crate::links::snapshot;
use crate::links::store::Store;
use crate::links::store_location::Place;
use crate::metrics::Metrics;
use service::wakeup::Wakeup;
use service::worker::Problem;

/// The links of `serve`, and what keeps them current.
#[derive(Debug)]
pub struct LiveLinks {
    /// The table that visitors are answered from.
    pub table: Arc<Links>,
    following: Option<Following>,
}

#[derive(Debug)]
struct Following {
    follower: Follower,
    publisher: Option<LinkPublisher>,
    api: JoinSet<()>,
    stop: CancellationToken,
    state: State,
}

/// What is wrong, for whoever asks.
#[derive(Debug, Clone)]
struct State {
    table: Arc<Links>,
    follower: Problem,
    publisher: Problem,
    /// Links are served that were read from this host's disk.
    snapshot: bool,
}

impl LiveLinks {
    /// Reads the file, or the snapshot, and starts what follows the topic. Broker, registry and
    /// PostgreSQL need not be up.
    ///
    /// # Errors
    /// A configuration failure.
    pub async fn start(args: &ServeArgs, metrics: &Metrics) -> Result<Self, Failure> {
        if let Some(file) = &args.links {
            metrics.links.whole.set(1);
            let table = Arc::new(read_links(file, Links::parse)?);
            return Ok(Self { table, following: None });
        }
        let (follow, kafka) = (&args.follow, &args.kafka);
        let table = Arc::new(Links::default());
        let path = follow.links_snapshot.clone();
        let into = Arc::clone(&table);
        let read = tokio::task::spawn_blocking(move || read_snapshot(&into, &path));
        let snapshot = read.await.map_err(Failure::invariant)?;
        let state = State {
            table: Arc::clone(&table),
            follower: Problem::default(),
            publisher: Problem::default(),
            snapshot,
        };
        let stop = CancellationToken::new();
        let endpoint = kafka.endpoint(&follow.links_topic).map_err(Failure::configuration)?;
        let wakeup = Arc::new(Wakeup::default());
        let api = api(follow, &wakeup, &stop).await?;
        let overtaken = Arc::default();
        let feed = (&endpoint, wakeup, Arc::clone(&overtaken));
        let publisher = publisher(follow, feed, metrics, (&state.publisher, &stop)).await?;
        let follower = Follower::start(follower::Parts {
            endpoint,
            links: Arc::clone(&table),
            snapshot: follow.links_snapshot.clone(),
            overtaken: publisher.is_some().then_some(overtaken),
            runtime: Handle::current(),
            metrics: metrics.clone(),
            problem: state.follower.clone(),
            stop: stop.clone(),
        })
        .map_err(Failure::invariant)?;
        Ok(Self { table, following: Some(Following { follower, publisher, api, stop, state }) })
    }

    /// Whether visitors can be answered, and what is wrong.
    pub fn health(&self) -> impl Fn() -> Health + Send + Sync + use<> {
        let state = self.following.as_ref().map(|following| following.state.clone());
        move || state.as_ref().map_or(Health::Ready, State::health)
    }

    /// Ends what follows the topic, and writes the last snapshot.
    ///
    /// # Errors
    /// A thread that cannot be awaited.
    pub async fn finish(self) -> Result<(), Failure> {
        let Some(Following { follower, publisher, mut api, stop, .. }) = self.following else {
            return Ok(());
        };
        stop.cancel();
        api.shutdown().await;
        let ended = tokio::task::spawn_blocking(move || {
            publisher.into_iter().for_each(LinkPublisher::stop);
            follower.stop();
        });
        ended.await.map_err(Failure::invariant)
    }
}

impl State {
    fn health(&self) -> Health {
        let follower = self.follower.current();
        match (self.table.is_whole(), self.snapshot, follower) {
            (true, _, follower) => {
                let wrong: Vec<_> = follower.into_iter().chain(self.publisher.current()).collect();
                if wrong.is_empty() { Health::Ready } else { Health::Degraded(wrong) }
            }
            (false, true, Some(cause)) => {
                Health::Degraded(vec![format!("links are those of the last snapshot: {cause}")])
            }
            (false, _, cause) => {
                let cause = cause.unwrap_or_else(|| "the topic is being read".to_owned());
                Health::NotReady(format!("not all links are known: {cause}"))
            }
        }
    }
}

/// Whether there was one.
fn read_snapshot(table: &Links, path: &Path) -> bool {
    let shown = path.display();
    match snapshot::read(table, path) {
        Ok(links) => {
            tracing::info!(snapshot = %shown, links, "links of the last run");
            true
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            tracing::info!(snapshot = %shown, "no snapshot: visitors wait for the topic of links");
            false
        }
        Err(error) => {
            tracing::error!(code = "links_snapshot", snapshot = %shown, %error, "not used");
            false
        }
    }
}

async fn publisher(
    follow: &FollowArgs,
    (endpoint, wakeup, overtaken): (&Endpoint, Arc<Wakeup>, Arc<Overtaken>),
    metrics: &Metrics,
    (problem, stop): (&Problem, &CancellationToken),
) -> Result<Option<LinkPublisher>, Failure> {
    let place = follow.store.links_db.clone();
    if place == Place::Nowhere {
        return Ok(None);
    }
    // What cannot be used is told now; a server is not asked yet and may come back.
    let own = place.clone();
    let opened = tokio::task::spawn_blocking(move || Store::open(&own).map(drop));
    opened.await.map_err(Failure::invariant)?.map_err(Failure::configuration)?;
    let publisher = LinkPublisher::start(publisher::Parts {
        place,
        publisher: LinkProducer::new(endpoint.clone(), Handle::current(), stop.clone()),
        wakeup,
        overtaken,
        metrics: metrics.clone(),
        problem: problem.clone(),
        stop: stop.clone(),
    });
    publisher.map(Some).map_err(Failure::invariant)
}

async fn api(
    follow: &FollowArgs,
    wakeup: &Arc<Wakeup>,
    stop: &CancellationToken,
) -> Result<JoinSet<()>, Failure> {
    let mut tasks = JoinSet::new();
    let token = follow.token().map_err(Failure::configuration)?;
    let (Some(token), address) = (token, follow.links_listen) else { return Ok(tasks) };
    if follow.store.links_db == Place::Nowhere {
        let cause = "the admin API of links needs a store: set CLICKTRAIL_LINKS_DB, or no token";
        return Err(Failure::configuration(anyhow::anyhow!(cause)));
    }
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address} (--links-listen)"))
        .map_err(Failure::configuration)?;
    let api = Api::new(follow.store.links_db.clone(), token, Arc::clone(wakeup));
    tasks.spawn(api.serve(listener, stop.clone()));
    tracing::info!(listen = %address, "the admin API of links is on");
    Ok(tasks)
}
