//! Logs to stderr, and spans over OTLP when an endpoint is set.
//!
//! Start it before the async runtime and shut it down after: the exporter's blocking HTTP client may not be
//! made or dropped inside one. It depends on neither Kafka nor HTTP; the code that makes a span has decided
//! to sample it.

use std::io::IsTerminal as _;
use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use thiserror::Error;
use tracing_subscriber::filter::{EnvFilter, filter_fn};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use url::Url;

use crate::process_metrics;
use crate::shown_url::without_secrets;
use crate::trace_ids::TraceIds;

/// How long a process that ends waits for the export of the last spans.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// Flags of every command about logs and traces.
#[derive(Debug, clap::Args)]
pub struct TelemetryArgs {
    /// Base URL of an OTLP/HTTP collector; without it the process exports no spans
    #[arg(
        long,
        env = "OTEL_EXPORTER_OTLP_ENDPOINT",
        value_name = "URL",
        global = true,
        hide_env_values = true
    )]
    pub otlp_endpoint: Option<String>,
    /// Filter of log lines, in the syntax of RUST_LOG
    #[arg(long, env = "CLICKTRAIL_LOG", default_value = "info", global = true)]
    pub log: String,
    /// Write log lines as JSON
    #[arg(long, env = "CLICKTRAIL_LOG_JSON", global = true)]
    pub log_json: bool,
}

impl TelemetryArgs {
    /// The settings for [`start`], for a service whose spans come from the crate `spans_of`.
    pub fn settings(
        &self,
        service: &'static str,
        version: &'static str,
        spans_of: &'static str,
    ) -> Settings<'_> {
        // Compose files express "none" as an empty variable.
        let endpoint = self.otlp_endpoint.as_deref().filter(|endpoint| !endpoint.is_empty());
        Settings { service, version, spans_of, endpoint, filter: &self.log, json: self.log_json }
    }
}

/// The form of logs and spans, and the destination of spans.
#[derive(Debug, Clone)]
pub struct Settings<'a> {
    /// Name of the service in traces, such as `clicktrail-producer`.
    pub service: &'static str,
    /// Version of the service in traces.
    pub version: &'static str,
    /// Crate whose spans are exported (those of libraries are not).
    pub spans_of: &'static str,
    /// Base URL of an OTLP/HTTP collector, such as `http://localhost:4318`; none: no export.
    pub endpoint: Option<&'a str>,
    /// Filter of log lines, in the syntax of `RUST_LOG`.
    pub filter: &'a str,
    /// One JSON object per line instead of text.
    pub json: bool,
}

/// Why telemetry cannot start. The process should not start either.
#[derive(Debug, Error)]
pub enum TelemetryError {
    /// The filter is not one.
    #[error("log filter {filter:?}: {cause}")]
    Filter {
        /// As given.
        filter: String,
        /// The error in it.
        cause: tracing_subscriber::filter::ParseError,
    },
    /// The exporter cannot be made.
    #[error("OTLP endpoint {endpoint}: {cause}")]
    Endpoint {
        /// As given, without what may be a secret.
        endpoint: String,
        /// The error in it.
        cause: String,
    },
    /// Logging was started before.
    #[error("logging was started twice: {0}")]
    Twice(#[from] tracing_subscriber::util::TryInitError),
}

/// Running telemetry; [`Telemetry::shutdown`] sends the spans that wait.
#[derive(Debug)]
#[must_use]
pub struct Telemetry {
    provider: Option<SdkTracerProvider>,
}

/// Starts logs and, with an endpoint, the export of spans. Notes the start of the process for its metrics.
///
/// # Errors
/// [`TelemetryError`]: an invalid setting. A collector that is down is no error.
pub fn start(settings: &Settings<'_>) -> Result<Telemetry, TelemetryError> {
    process_metrics::note_start();
    let filter = EnvFilter::try_new(settings.filter)
        .map_err(|cause| TelemetryError::Filter { filter: settings.filter.to_owned(), cause })?;
    let ansi = std::io::stderr().is_terminal();
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(ansi);
    let lines = if settings.json {
        lines.json().with_filter(filter).boxed()
    } else {
        lines.with_filter(filter).boxed()
    };
    let provider = settings.endpoint.map(|endpoint| provider(endpoint, settings)).transpose()?;
    let spans = provider.as_ref().map(|provider| {
        let ours = settings.spans_of;
        tracing_opentelemetry::layer()
            .with_location(false)
            .with_threads(false)
            .with_tracer(provider.tracer(settings.service))
            // The export of a span of the exporter's own client would make another span, without end.
            .with_filter(filter_fn(move |meta| {
                meta.is_span() && meta.target().split("::").next() == Some(ours)
            }))
    });
    tracing_subscriber::registry().with(lines).with(spans).try_init()?;
    Ok(Telemetry { provider })
}

impl Telemetry {
    /// Whether spans are exported.
    pub fn exports(&self) -> bool {
        self.provider.is_some()
    }

    /// Sends the spans that wait, for [`STOP_TIMEOUT`] at most. Call it outside the runtime.
    pub fn shutdown(self) {
        if let Some(Err(error)) = self.provider.map(|it| it.shutdown_with_timeout(STOP_TIMEOUT)) {
            tracing::warn!(%error, "not all spans were exported");
        }
    }
}

/// Refuses a text that is no URL, and a URL with a password: the exporter would repeat them in its errors.
fn check(endpoint: &str) -> Result<(), String> {
    match Url::parse(endpoint) {
        Ok(url) if !url.has_host() => Err("write a URL such as http://localhost:4318".to_owned()),
        Ok(url) if !url.username().is_empty() || url.password().is_some() => {
            Err("set OTEL_EXPORTER_OTLP_HEADERS in place of user and password".to_owned())
        }
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

fn provider(endpoint: &str, settings: &Settings<'_>) -> Result<SdkTracerProvider, TelemetryError> {
    let refused =
        |cause: String| TelemetryError::Endpoint { endpoint: without_secrets(endpoint), cause };
    check(endpoint).map_err(refused)?;
    let exporter = SpanExporter::builder()
        .with_http()
        .with_endpoint(traces_url(endpoint))
        .build()
        .map_err(|cause| refused(cause.to_string()))?;
    let resource = Resource::builder()
        .with_service_name(settings.service)
        .with_attribute(opentelemetry::KeyValue::new("service.version", settings.version))
        .build();
    Ok(SdkTracerProvider::builder()
        // Unsampled work makes no span at all, so every span is exported.
        .with_sampler(Sampler::AlwaysOn)
        .with_id_generator(TraceIds::default())
        .with_resource(resource)
        .with_batch_exporter(exporter)
        .build())
}

/// Appends the path of the signal, as the OpenTelemetry specification requires for a base URL.
fn traces_url(endpoint: &str) -> String {
    const PATH: &str = "/v1/traces";
    match endpoint.trim_end_matches('/') {
        complete if complete.ends_with(PATH) => complete.to_owned(),
        base => format!("{base}{PATH}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l5_an_endpoint_with_a_password_or_without_a_host_is_refused() {
        for (endpoint, accepted) in [
            ("http://localhost:4318", true),
            ("https://collector.example/base/v1/traces", true),
            ("http://user:geheim@localhost:4318", false),
            ("http://geheim@localhost:4318", false),
            ("http://user:geheim@/x", false),
            ("localhost:4318", false),
            ("geheim", false),
        ] {
            let refused = check(endpoint).err();
            assert_eq!(refused.is_none(), accepted, "{endpoint}");
            assert!(refused.is_none_or(|cause| !cause.contains("geheim")), "{endpoint}");
        }
    }

    #[test]
    fn a_base_url_gets_the_path_of_traces_once() {
        for given in ["http://c:4318", "http://c:4318/", "http://c:4318/v1/traces"] {
            assert_eq!(traces_url(given), "http://c:4318/v1/traces");
        }
    }
}
