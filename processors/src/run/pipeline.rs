//! The pipeline: connects a source, the block encoder, the batch writer and the sinks.

use std::sync::Arc;

use broker::ServerError;
use records::replay::occurred_window::OccurredWindow;

use crate::clickhouse::shard_tables::ShardTables;
use crate::config::Servers;
use crate::metrics::processor::ProcessorMetrics;
use crate::registry::schema_cache::SchemaCache;
use crate::rules::folder::SharedRuleSet;
use crate::run::batch_writer::BatchWriter;
use crate::run::block_encoder::BlockEncoder;
use crate::run::driver::Driver;
use crate::run::driver_settings::DriverSettings;
use crate::run::retry::until_done;
use crate::run::shared_breaker::SharedBreaker;
use crate::run::sink::{DeadLetterSink, Sink};
use crate::run::source::Source;
use crate::setup::server_facts::preflight;

/// What all parts share.
#[derive(Debug)]
pub(crate) struct Pipeline<'a> {
    pub(crate) servers: &'a Servers,
    pub(crate) rules: SharedRuleSet,
    pub(crate) metrics: ProcessorMetrics,
    pub(crate) settings: DriverSettings,
    /// The clicks that become rows; `None`: all.
    pub(crate) occurred: Option<OccurredWindow>,
    /// Arguments of `processors breaker override` that dead-letter the records of a storm.
    pub(crate) override_args: String,
}

impl Pipeline<'_> {
    /// Waits for the servers without end, and refuses settings with which records could be lost.
    ///
    /// # Errors
    /// What the preflight refuses.
    pub(crate) async fn open_table(&self) -> Result<ShardTables, ServerError> {
        self.open_table_noting(&|_| {}).await
    }

    /// As [`Pipeline::open_table`]; `note` gets each error of a server.
    ///
    /// # Errors
    /// Likewise.
    pub(crate) async fn open_table_noting(
        &self,
        note: &(dyn Fn(&ServerError) + Sync),
    ) -> Result<ShardTables, ServerError> {
        let cluster = self.servers.clickhouse.cluster()?;
        let named = |error| {
            let error = self.servers.with_address(&cluster, error);
            note(&error);
            error
        };
        let open = async || ShardTables::open(&cluster).await.map_err(named);
        let table = until_done!("open", &self.metrics, open());
        let check = async || preflight(self.servers).await.map_err(named);
        let findings = until_done!("preflight", &self.metrics, check());
        let mut refused = Vec::new();
        for finding in findings {
            if finding.tolerable {
                tracing::warn!(code = "preflight", "{finding}");
            } else {
                refused.push(finding.to_string());
            }
        }
        if refused.is_empty() {
            Ok(table)
        } else {
            Err(ServerError::fatal("preflight", refused.join(". Also: ")))
        }
    }

    /// The driver of records from `source`.
    ///
    /// # Errors
    /// The settings of the registry are refused.
    pub(crate) fn driver<S: Source, K: Sink, D: DeadLetterSink>(
        self,
        source: S,
        sink: K,
        dead_letters: D,
    ) -> Result<Driver<S, K, D>, ServerError> {
        let Self { servers, rules, metrics, settings, occurred, override_args } = self;
        let (breaker, topic) = (Arc::new(SharedBreaker::default()), &servers.kafka.topic);
        let registry = servers.registry.registry()?;
        let decoders = SchemaCache::new(registry, topic.subject(), metrics.clone());
        let encoder = BlockEncoder::new(topic.as_str(), decoders, rules, breaker, metrics.clone());
        let encoder = Arc::new(encoder.within(occurred).for_layout(sink.layout()));
        let writer = BatchWriter::new(Arc::clone(&encoder), sink, dead_letters)
            .with_override_args(override_args);
        Ok(Driver::new(source, encoder, writer, metrics, settings))
    }
}
