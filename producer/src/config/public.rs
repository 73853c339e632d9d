//! Settings of the public port: trust, privacy and limits.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;

use crate::bearer_token::BearerTokens;
use crate::client::day_keys::folder::KeyFolder;
use crate::client::day_keys::shared::SharedKeys;
use crate::client::day_keys::{DAYS_MAX, KeyRing, KeyStore};
use crate::client::policy::ClientPolicy;
use crate::client::privacy::{AddressPolicy, PrivacyPolicies, PrivacyPolicy};
use crate::client::proxies::{Networks, Proxies, ProxyHeader};
use crate::client::rate_limiter::RateLimiter;
use crate::collector::collector_limits::CollectorLimits;
use crate::links::store_location::StoreLocation;
use crate::metrics::Metrics;
use crate::public_port::{PortConnections, PortLimits};

/// What a click records about its visitor.
#[derive(Debug, Clone, Args)]
pub struct PrivacyArgs {
    /// How to record a click whose visitor sends `Sec-GPC: 1` or `DNT: 1`
    #[arg(
        long,
        env = "CLICKTRAIL_PRIVACY_SIGNALS",
        default_value = "strip",
        value_name = "POLICY"
    )]
    privacy_signals: PrivacyPolicy,
    /// How to record a click on a link with "opt_out": true
    #[arg(
        long,
        env = "CLICKTRAIL_PRIVACY_OPT_OUT",
        default_value = "strip",
        value_name = "POLICY"
    )]
    privacy_opt_out: PrivacyPolicy,
    /// How much of the client's address every other click records
    #[arg(
        long,
        env = "CLICKTRAIL_PRIVACY_CLIENT_ADDRESS",
        default_value = "full",
        value_name = "POLICY"
    )]
    privacy_client_address: AddressPolicy,
    /// Folder of the daily keys of visitor ids [default: the keys are in the link store if that is
    /// PostgreSQL, and otherwise in the subfolder visitor-keys of the outbox]
    #[arg(long, env = "CLICKTRAIL_VISITOR_KEYS", value_name = "FOLDER")]
    visitor_keys: Option<PathBuf>,
    /// Days for which `serve` keeps the keys of visitor ids, today included; it deletes older keys. A
    /// click of a day without a key has no visitor id. `import` uses all keys and deletes none
    #[arg(long, env = "CLICKTRAIL_VISITOR_KEY_DAYS", default_value_t = 2, value_name = "DAYS", value_parser = clap::value_parser!(u16).range(1..=i64::from(DAYS_MAX)))]
    visitor_key_days: u16,
}

impl PrivacyArgs {
    /// The policies.
    pub fn privacy(&self) -> PrivacyPolicies {
        PrivacyPolicies {
            signals: self.privacy_signals,
            links: self.privacy_opt_out,
            address: self.privacy_client_address,
        }
    }

    /// The store of the day keys of a process with this outbox and this link store.
    ///
    /// # Errors
    /// The folder cannot be created.
    pub fn key_store(
        &self,
        outbox: &Path,
        store: &StoreLocation,
    ) -> anyhow::Result<Box<dyn KeyStore>> {
        key_store(self.visitor_keys.as_deref(), outbox, store)
    }

    /// The day keys in memory, which are empty until the first read.
    pub fn key_ring(&self, metrics: &Metrics) -> KeyRing {
        KeyRing::new(self.visitor_key_days, metrics.clone())
    }
}

/// The day keys in `folder` if it is set, otherwise in a link store on PostgreSQL, otherwise in the
/// folder of the outbox.
///
/// # Errors
/// The folder cannot be created.
pub fn key_store(
    folder: Option<&Path>,
    outbox: &Path,
    store: &StoreLocation,
) -> anyhow::Result<Box<dyn KeyStore>> {
    if let (None, StoreLocation::Server(_)) = (folder, store) {
        return Ok(Box::new(SharedKeys::new(store.clone())));
    }
    let folder = folder.map_or_else(|| outbox.join("visitor-keys"), Path::to_owned);
    let keys = KeyFolder::open(&folder);
    let keys = keys.with_context(|| format!("visitor keys {}", folder.display()))?;
    Ok(Box::new(keys))
}

/// Which proxies may name a client.
#[derive(Debug, Clone, Args)]
pub struct ProxyArgs {
    /// Networks of trusted proxies, whose header names the client's address; comma-separated
    /// [default: none]
    #[arg(
        long,
        env = "CLICKTRAIL_TRUSTED_PROXIES",
        default_value = "",
        hide_default_value = true,
        value_name = "LIST"
    )]
    trusted_proxies: Networks,
    /// Header in which trusted proxies name the client; other headers are ignored
    #[arg(
        long,
        env = "CLICKTRAIL_PROXY_HEADER",
        default_value = "x-forwarded-for",
        value_name = "NAME"
    )]
    proxy_header: ProxyHeader,
}

impl ProxyArgs {
    /// The proxies.
    pub fn proxies(&self) -> Proxies {
        Proxies { trusted: self.trusted_proxies.clone(), header: self.proxy_header }
    }
}

/// Trust and limits of the public port.
#[derive(Debug, Clone, Args)]
pub struct PublicArgs {
    #[command(flatten)]
    proxies: ProxyArgs,
    /// Most bytes of a request's head; a longer one is answered 431
    #[arg(long, env = "CLICKTRAIL_HEADER_BYTES", default_value_t = 16_384, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(8_192..=1_048_576))]
    header_bytes: u32,
    /// Seconds within which a client must send a request's head, from the start of the connection or
    /// from the last answer; this also limits how long a connection may be idle
    #[arg(long, env = "CLICKTRAIL_HEADER_SECONDS", default_value_t = 15, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=3_600))]
    header_seconds: u32,
    /// Seconds that a client has to read an answer after it stops reading, and one more for each 1,024
    /// bytes that it reads; then the producer closes the connection
    #[arg(long, env = "CLICKTRAIL_WRITE_SECONDS", default_value_t = 15, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=3_600))]
    write_seconds: u32,
    /// Seconds after which the producer closes a connection with its next answer. A connection without
    /// another request is closed 30 seconds later, or 75 if the collector is on
    #[arg(long, env = "CLICKTRAIL_CONNECTION_SECONDS", default_value_t = 3_600, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    connection_seconds: u32,
    /// Most requests per minute, and at once, of one client (an IPv4 address, or a /64 of IPv6) that
    /// are not redirected: unknown slugs, robots.txt, the base URL and so on. Further ones are answered
    /// 429 and recorded as no click. 0: no limit
    #[arg(long, env = "CLICKTRAIL_UNKNOWN_SLUGS_PER_MINUTE", default_value_t = 600, value_name = "REQUESTS", value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    unknown_slugs_per_minute: u32,
    /// Bearer token of the collector (POST /v1/clicks); without a token the collector is off
    #[arg(
        long,
        env = "CLICKTRAIL_COLLECTOR_TOKEN",
        value_name = "TOKEN",
        hide_env_values = true,
        conflicts_with = "collector_token_file"
    )]
    collector_token: Option<BearerTokens>,
    /// File of the collector's tokens, one per line; each of them is valid
    #[arg(long, env = "CLICKTRAIL_COLLECTOR_TOKEN_FILE", value_name = "FILE")]
    collector_token_file: Option<PathBuf>,
    /// Most bytes of a request to the collector, compressed and decompressed
    #[arg(long, env = "CLICKTRAIL_BODY_BYTES", default_value_t = 1_048_576, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1_024..=67_108_864))]
    body_bytes: u32,
    /// Seconds within which a client must send the body of a request to the collector
    #[arg(long, env = "CLICKTRAIL_BODY_SECONDS", default_value_t = 15, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=3_600))]
    body_seconds: u32,
    /// Most records in a request to the collector
    #[arg(long, env = "CLICKTRAIL_BODY_RECORDS", default_value_t = 1_000, value_name = "RECORDS", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    body_records: u32,
    /// Most days since a click that the collector accepts; it rejects older clicks, which `import`
    /// accepts
    #[arg(long, env = "CLICKTRAIL_COLLECTOR_DAYS", default_value_t = 30, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=36_500))]
    collector_days: u32,
}

impl PublicArgs {
    /// The client policy of these settings.
    pub fn client_policy(&self, privacy: PrivacyPolicies, keys: Arc<KeyRing>) -> ClientPolicy {
        let proxies = self.proxies.proxies();
        let unknown = (self.unknown_slugs_per_minute > 0)
            .then(|| Arc::new(RateLimiter::new(self.unknown_slugs_per_minute)));
        ClientPolicy { proxies, privacy, keys: Some(keys), unknown }
    }

    /// Limits of the public port; without `threads`, it has one thread per core.
    pub fn limits(
        &self,
        connections: PortConnections,
        threads: Option<u16>,
        drain: Duration,
    ) -> PortLimits {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        PortLimits {
            threads: threads.map_or_else(cores, usize::from),
            connections,
            header_bytes: self.header_bytes as usize,
            head: Duration::from_secs(self.header_seconds.into()),
            write: Duration::from_secs(self.write_seconds.into()),
            age: Duration::from_secs(self.connection_seconds.into()),
            drain,
        }
    }

    /// Limits of the collector's requests.
    pub fn collector_limits(&self) -> CollectorLimits {
        CollectorLimits {
            bytes: self.body_bytes as usize,
            time: Duration::from_secs(self.body_seconds.into()),
            records: self.body_records as usize,
            days: self.collector_days,
        }
    }

    /// The collector's tokens; `None` if the collector is off.
    ///
    /// # Errors
    /// The file cannot be read, or a line of it is no token.
    pub fn tokens(&self) -> anyhow::Result<Option<BearerTokens>> {
        let Some(file) = &self.collector_token_file else {
            return Ok(self.collector_token.clone());
        };
        let name = || format!("collector token {}", file.display());
        let text = std::fs::read_to_string(file).with_context(name)?;
        text.parse::<BearerTokens>().map_err(anyhow::Error::msg).with_context(name).map(Some)
    }
}
