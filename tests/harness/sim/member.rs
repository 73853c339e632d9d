//! One process of the group: the real driver on the scripted world.

use broker::{Registry, ServerError};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use processors::decode::schema_cache::SchemaCache;
use processors::flow::block::Limits;
use processors::flow::linger::Pace;
use processors::metrics::Metrics;
use processors::run::driver::{Driver, Terms};
use processors::run::pipeline::Pipeline;
use schemas::{Encoder, RawClick, SchemaId};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::backends::{LOGGED_AT_MS, SimLetters, SimLog, SimTables, Values};
use super::broker::Id;

pub(super) const TOPIC: &str = "t";
const SCHEMA: SchemaId = SchemaId(1);

static VALUES: LazyLock<Values> = LazyLock::new(|| {
    let mut good = Vec::new();
    let click = RawClick::new(uuid::Uuid::from_u128(7), LOGGED_AT_MS * 1000, "a");
    let encoder = Encoder::new(SCHEMA);
    encoder.encode(&click, &mut good).expect("a good click");
    Values { good: good.into(), bad: Arc::from(&b"no record of ours"[..]) }
});

/// Never asked: every schema is known.
static REGISTRY: LazyLock<Registry> =
    LazyLock::new(|| Registry::new("http://127.0.0.1:1").expect("a URL"));

/// A running process.
#[derive(Debug)]
pub(super) struct Process {
    pub id: Id,
    pub stop: CancellationToken,
    pub task: JoinHandle<Result<(), ServerError>>,
}

/// Starts one.
pub(super) fn start(broker: &Shared, id: Id, batch: u64) -> Process {
    super::lock(broker).member(id).alive = true;
    let log = SimLog { broker: Arc::clone(broker), id, values: VALUES.clone() };
    let rows_max = usize::try_from(batch).unwrap_or(1);
    let terms = Terms {
        pace: Pace { limits: Limits { rows_max, bytes_max: 1 << 20 } },
        blocks_max: 2,
        batches_max: 2,
        drain: Duration::from_secs(30),
        release: Duration::from_secs(3),
    };
    let mut registry = prometheus_client::registry::Registry::default();
    let metrics = Metrics::register(&mut registry, terms.pace.limits);
    let decoders = SchemaCache::new(REGISTRY.clone());
    decoders.insert(SCHEMA, schemas::NEWEST);
    let tables = SimTables(Arc::clone(broker));
    let letters = SimLetters(Arc::clone(broker));
    let pipeline = Pipeline::new(TOPIC, decoders, tables, letters, metrics);
    let stop = CancellationToken::new();
    let driver = Driver::new(log, pipeline, terms);
    Process { id, stop: stop.clone(), task: tokio::spawn(driver.run(stop)) }
}
