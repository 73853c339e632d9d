//! One process of the group: the real driver with the simulated source and sinks.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use broker::{Registry, ServerError};
use processors::metrics::processor::ProcessorMetrics;
use processors::registry::schema_cache::SchemaCache;
use processors::run::batch_writer::BatchWriter;
use processors::run::block_encoder::BlockEncoder;
use processors::run::driver::Driver;
use processors::run::driver_settings::DriverSettings;
use processors::run::shared_breaker::SharedBreaker;
use records::flow::block::SizeLimits;
use records::flow::linger::Linger;
use schemas::{Encoder, RawClick, SchemaId};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::broker_state::{MemberId, SimSize};
use super::sim_sink::{SimDeadLetterSink, SimSink, SinkBug};
use super::sim_source::{LOGGED_AT_MS, SimSource, Values};

pub(super) const TOPIC: &str = "t";
const SCHEMA: SchemaId = SchemaId(1);

static VALUES: LazyLock<Values> = LazyLock::new(|| {
    let encoder = Encoder::new(SCHEMA);
    let good = |id| {
        let mut value = Vec::new();
        let click = RawClick::new(uuid::Uuid::from_u128(id), LOGGED_AT_MS * 1000, "a");
        encoder.encode(&click, &mut value).expect("a good click");
        Arc::from(value)
    };
    // So many that each shard owns some.
    Values { good: (1..=16).map(good).collect(), bad: Arc::from(&b"no record of ours"[..]) }
});

/// Not used: every schema is known.
static REGISTRY: LazyLock<Registry> =
    LazyLock::new(|| Registry::new("http://127.0.0.1:1").expect("a URL"));

/// A running process.
#[derive(Debug)]
pub(super) struct SimProcess {
    pub id: MemberId,
    pub stop: CancellationToken,
    pub task: JoinHandle<Result<(), ServerError>>,
}

/// Starts a process.
pub(super) fn start(
    broker: &Shared,
    id: MemberId,
    size: &SimSize,
    bug: Option<SinkBug>,
) -> SimProcess {
    super::lock(broker).member(id).alive = true;
    let source = SimSource { broker: Arc::clone(broker), id, values: VALUES.clone() };
    let rows_max = usize::try_from(size.batch).expect("a batch fits memory");
    let settings = DriverSettings {
        linger: Linger { limits: SizeLimits { rows_max, bytes_max: 1 << 20 } },
        blocks_max: 2,
        batches_max: 2,
        drain_timeout: Duration::from_secs(30),
        release_timeout: Duration::from_secs(3),
    };
    let mut registry = prometheus_client::registry::Registry::default();
    let metrics = ProcessorMetrics::register(&mut registry, settings.linger.limits);
    let subject = format!("{TOPIC}-value");
    let decoders = SchemaCache::new(REGISTRY.clone(), subject, metrics.clone());
    decoders.insert(SCHEMA, schemas::NEWEST);
    let breaker = Arc::new(SharedBreaker::default());
    let sink = SimSink { broker: Arc::clone(broker), id, layout: size.layout(), bug };
    let dead_letters = SimDeadLetterSink(Arc::clone(broker));
    let rules = Arc::default();
    let encoder = BlockEncoder::new(TOPIC, decoders, rules, breaker, metrics.clone());
    let encoder = Arc::new(encoder.for_layout(size.layout()));
    let writer = BatchWriter::new(Arc::clone(&encoder), sink, dead_letters);
    let stop = CancellationToken::new();
    let driver = Driver::new(source, encoder, writer, metrics, settings);
    SimProcess { id, stop: stop.clone(), task: tokio::spawn(driver.run(stop)) }
}
