#![expect(clippy::disallowed_methods, reason = "when a snapshot is due is measured here")]
//! From the topic of links to memory, and from memory to a snapshot on this host's disk.
//!
//! Reads the topic from its start at every start, applies by version, and calls the table whole
//! once it has read to where the topic ended when it began. A snapshot serves until then.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use schemas::{LinkDecoder, SchemaId, unframe};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::kafka::endpoint::Endpoint;
use crate::kafka::link_consumer::LinkConsumer;
use crate::links::link::Link;
use crate::links::link_table::{Applied, Links};
use crate::links::publisher::Overtaken;
use crate::links::snapshot;
use crate::metrics::{Metrics, ResultLabel};
use service::number::gauge;
use service::worker::{Problem, Worker};

/// Longest wait without a look around.
const BEAT: Duration = Duration::from_millis(100);
/// Of one question to broker or registry at the start.
const ASK: Duration = Duration::from_secs(5);
/// Before reading is begun anew.
const PAUSE: Duration = Duration::from_secs(1);
/// Between two snapshots, where links change.
const SNAPSHOT_EVERY: Duration = Duration::from_secs(30);

/// What the follower works with.
#[derive(Debug)]
pub struct Parts {
    /// The topic.
    pub endpoint: Endpoint,
    /// The table that it fills.
    pub links: Arc<Links>,
    /// The file of the snapshot.
    pub snapshot: PathBuf,
    /// Where a store is: what its relay has to publish once more.
    pub overtaken: Option<Arc<Overtaken>>,
    /// For questions to the registry.
    pub runtime: Handle,
    /// Its metrics.
    pub metrics: Metrics,
    /// What is wrong now, for whoever asks.
    pub problem: Problem,
    /// The end.
    pub stop: CancellationToken,
}

/// The running follower.
#[derive(Debug)]
pub struct Follower {
    reader: Worker,
    keeper: Worker,
}

impl Follower {
    /// Starts it, on two threads of its own: one reads, one writes snapshots.
    ///
    /// # Errors
    /// The system has no thread.
    pub fn start(parts: Parts) -> std::io::Result<Self> {
        let stop = parts.stop.clone();
        let keeper = Keeper {
            links: Arc::clone(&parts.links),
            path: parts.snapshot.clone(),
            metrics: parts.metrics.clone(),
            stop: stop.clone(),
        };
        let keeper = Worker::start("link-snapshots", stop.clone(), None, move || keeper.keep())?;
        let reader = Worker::start("link-follower", stop, None, move || Reading::new(parts).run())?;
        Ok(Self { reader, keeper })
    }

    /// Ends it; the last snapshot is written then. Blocks.
    pub fn stop(self) {
        self.reader.stop();
        self.keeper.stop();
    }
}

struct Reading {
    parts: Parts,
    /// What comes has just been written.
    live: bool,
    decoders: HashMap<SchemaId, LinkDecoder>,
}

impl Reading {
    fn new(parts: Parts) -> Self {
        Self { parts, live: false, decoders: HashMap::new() }
    }

    fn run(mut self) {
        while let Err(cause) = self.follow() {
            self.parts.metrics.links.failed("links_follow");
            if self.parts.problem.is_new(cause.clone()) {
                tracing::error!(code = "links_follow", cause, "links are not followed");
            }
            let until = Instant::now() + PAUSE;
            while !self.parts.stop.is_cancelled() && Instant::now() < until {
                std::thread::sleep(BEAT);
            }
        }
    }

    /// Reads until told to stop.
    fn follow(&mut self) -> Result<(), String> {
        if self.parts.stop.is_cancelled() {
            return Ok(());
        }
        let began = Instant::now();
        let mut reader = LinkConsumer::open(&self.parts.endpoint, ASK)?;
        while !self.parts.stop.is_cancelled() {
            self.live = reader.is_caught_up();
            reader.next(BEAT, |value| self.take(value))?;
            if reader.is_caught_up() {
                self.parts.problem.set(None);
                if !self.parts.links.is_whole() {
                    self.parts.links.set_whole();
                    self.parts.metrics.links.whole.set(1);
                    let (links, ms) = (self.parts.links.count(), began.elapsed().as_millis());
                    let topic = &self.parts.endpoint.topic;
                    tracing::info!(links, ms, %topic, "all links have been read");
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, value: Option<&[u8]>) -> Result<(), String> {
        let refused = |cause: String| {
            tracing::error!(code = "link_record", cause, "a record that is no link");
            "refused"
        };
        let result = match value.map(unframe) {
            None => refused("it has no value".to_owned()),
            Some(Err(error)) => refused(error.to_string()),
            Some(Ok((id, datum))) => match self.decoder(id)?.decode(datum) {
                Err(error) => refused(error.to_string()),
                Ok(raw) => match Link::new(&raw) {
                    None => refused(format!("a text of link {:?} is too long", raw.id)),
                    Some(link) => match self.parts.links.apply(link) {
                        Applied::Newer => "newer",
                        Applied::Same => "same",
                        Applied::Older => {
                            // Of what was there before this host, it may know newer ones.
                            let overtaken = self.parts.overtaken.as_ref().filter(|_| self.live);
                            overtaken.into_iter().for_each(|links| links.add(raw.id));
                            "older"
                        }
                    },
                },
            },
        };
        self.parts.metrics.links.record(result);
        self.parts.metrics.links_in_memory.set(gauge(self.parts.links.count()));
        Ok(())
    }

    fn decoder(&mut self, id: SchemaId) -> Result<&LinkDecoder, String> {
        if !self.decoders.contains_key(&id) {
            let registry = &self.parts.endpoint.registry;
            let schema = self.parts.runtime.block_on(async {
                tokio::select! {
                    schema = registry.schema(id) => match schema {
                        Ok(Some(schema)) => Ok(schema),
                        Ok(None) => Err(format!("the registry knows no schema {id}")),
                        Err(error) => Err(error.to_string()),
                    },
                    () = self.parts.stop.cancelled() => Err("the process ends".to_owned()),
                }
            })?;
            let decoder = LinkDecoder::new(&schema).map_err(|error| error.to_string())?;
            self.decoders.insert(id, decoder);
        }
        self.decoders.get(&id).ok_or_else(String::new)
    }
}

/// Writes a snapshot when the table has become whole, now and then while links change, and at the
/// end.
struct Keeper {
    links: Arc<Links>,
    path: PathBuf,
    metrics: Metrics,
    stop: CancellationToken,
}

impl Keeper {
    fn keep(self) {
        let mut written: Option<(u64, Instant)> = None;
        loop {
            let ends = self.stop.is_cancelled();
            let changes = self.links.changes();
            let due = match written {
                None => true,
                Some((at, when)) => at != changes && (ends || when.elapsed() >= SNAPSHOT_EVERY),
            };
            // What is not whole would make the next start forget links.
            if due && self.links.is_whole() {
                let result = match snapshot::write(&self.links, &self.path) {
                    Ok(_) => "ok",
                    Err(error) => {
                        let path = self.path.display();
                        tracing::error!(code = "links_snapshot", %path, %error, "no snapshot");
                        "error"
                    }
                };
                self.metrics.links.snapshots.get_or_create(&ResultLabel { result }).inc();
                written = Some((changes, Instant::now()));
            }
            if ends {
                return;
            }
            std::thread::sleep(BEAT);
        }
    }
}
