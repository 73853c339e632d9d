//! A ClickHouse server that does not answer, for tests.

use std::net::TcpListener;
use std::time::Duration;

use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;
use records::flow::block::SizeLimits;

use crate::clickhouse::server::Server;
use crate::metrics::processor::ProcessorMetrics;

/// Runs a task with such a server for this time; returns how many attempts failed, as the metric counts them.
pub(super) async fn failures_within<F: Future<Output = ()>>(
    time: Duration,
    run: impl FnOnce(Server, ProcessorMetrics) -> F,
) -> u64 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = Server::behind(&listener);
    let mut registry = Registry::default();
    let limits = SizeLimits { rows_max: 1, bytes_max: 1 };
    let metrics = ProcessorMetrics::register(&mut registry, limits);
    assert!(tokio::time::timeout(time, run(server, metrics)).await.is_err(), "it has ended");
    let mut shown = String::new();
    text::encode(&mut shown, &registry).unwrap();
    let failures = shown.lines().find(|line| line.contains("_retries_total{"));
    failures.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0)
}
