//! The command line and its environment, parsed once.
//!
//! Each setting is a flag with an environment name: those of connections have no prefix, all others
//! begin with `CLICKTRAIL_`. Help and errors show no value that may be a secret.

pub mod links;
pub mod public;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use broker::{BrokerArgs, RegistryArgs, ServerError};
use clap::{Args, Parser, Subcommand, ValueEnum};
use schemas::TopicName;

use crate::client::day_keys::folder::parse_day;
use crate::client::visitor_id::Day;
use crate::config::public::{PrivacyArgs, ProxyArgs, PublicArgs};
use crate::import::site_hosts::SiteHost;
use crate::kafka::endpoint::Endpoint;
use crate::outbox::outbox_settings::{BYTES_MIN, DropPolicy, SyncPolicy};
use service::admin_args::{AdminArgs, listen_at};
use service::attempts::STUCK_SECONDS;
use service::telemetry::TelemetryArgs;

use crate::config::links::{FollowArgs, LinksArgs, SlugArgs, StoreArgs};

/// Environment name of the admin port's address.
const ADMIN_LISTEN: &str = "CLICKTRAIL_PRODUCER_ADMIN_LISTEN";
const ADMIN_LISTEN_DEFAULT: &str = "127.0.0.1:9180";

/// Clicktrail's producer: redirects visitors and records each click in a replayable log.
#[derive(Parser)]
#[command(version, propagate_version = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Telemetry, which every command has.
    #[command(flatten)]
    pub telemetry: TelemetryArgs,
}

/// The endpoint of telemetry may hold a password.
impl std::fmt::Debug for Cli {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cli").field("command", &self.command).finish_non_exhaustive()
    }
}

/// What the producer can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Answer redirects until SIGTERM or SIGINT; SIGHUP reads the file of links again.
    Serve(Box<ServeArgs>),
    /// Import access logs of another server into the log; importing a file again changes nothing.
    Import(Box<ImportArgs>),
    /// List or delete the day keys of visitor ids.
    VisitorKeys(VisitorKeysArgs),
    /// Create, change and show links in the link store; every `serve` process receives the changes.
    Links(LinksArgs),
    /// Check whether a running `serve` is ready; for images without a shell.
    Healthcheck(HealthcheckArgs),
}

/// Settings of brokers, registry and outbox.
#[derive(Debug, Args)]
pub struct KafkaArgs {
    #[command(flatten)]
    brokers: BrokerArgs,
    #[command(flatten)]
    registry: RegistryArgs,
    /// Topic of the log; dead-letter topic and registry subject derive from it
    #[arg(long, env = "CLICKTRAIL_TOPIC", default_value = "clicks.raw.v1")]
    pub topic: TopicName,
    /// Folder on a local disk for the outbox, where clicks wait until the broker acknowledges them.
    /// Two processes must not share it; `serve` and `import` each use a subfolder
    #[arg(
        long,
        env = "CLICKTRAIL_OUTBOX",
        default_value = "clicktrail-outbox",
        value_name = "FOLDER"
    )]
    pub outbox: PathBuf,
    /// Most bytes of the outbox on the disk. When it is full, `serve` loses clicks and counts them (see
    /// --outbox-drop), and `import` waits
    #[arg(long, env = "CLICKTRAIL_OUTBOX_BYTES", default_value_t = 4 << 30, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(BYTES_MIN..=1 << 50))]
    pub outbox_bytes: u64,
    /// When the outbox syncs written clicks, so that they survive a power loss. A killed process loses
    /// no written click with any of these policies
    #[arg(long, env = "CLICKTRAIL_OUTBOX_SYNC", default_value = "group")]
    pub outbox_sync: SyncPolicy,
    /// Milliseconds between two syncs with --outbox-sync group
    #[arg(long, env = "CLICKTRAIL_OUTBOX_SYNC_MS", default_value_t = 100, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..=60_000))]
    pub outbox_sync_ms: u64,
    /// Most clicks in memory that wait to be written to the outbox; `serve` loses further clicks and
    /// counts them
    #[arg(long, env = "CLICKTRAIL_QUEUE_CLICKS", default_value_t = 200_000, value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    pub queue_clicks: u32,
    /// Most bytes of clicks in memory that wait to be written to the outbox
    #[arg(long, env = "CLICKTRAIL_QUEUE_BYTES", default_value_t = 64 << 20, value_parser = clap::value_parser!(u64).range(65_536..=1 << 40))]
    pub queue_bytes: u64,
    /// Milliseconds that a click in the outbox waits at most for others of the same Produce request. The
    /// first click after a pause does not wait, and a stop ends the wait
    #[arg(long, env = "CLICKTRAIL_RELAY_LINGER_MS", default_value_t = 100, value_name = "MS", value_parser = clap::value_parser!(u64).range(..=1_000))]
    relay_linger_ms: u64,
    /// Seconds that `import` waits at its start for an unreachable registry or broker
    #[arg(long, env = "CLICKTRAIL_START_SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(..=86_400))]
    start_seconds: u64,
    /// Seconds that the process waits at its end for clicks to be delivered; the others stay in the
    /// outbox until the next start. `import` counts from the last delivery
    #[arg(long, env = "CLICKTRAIL_FLUSH_SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(..=86_400))]
    flush_seconds: u64,
}

/// Settings of `serve`.
#[derive(Debug, Args)]
#[command(mut_arg("admin_listen", |it| listen_at(it, ADMIN_LISTEN, ADMIN_LISTEN_DEFAULT)))]
#[expect(missing_docs, reason = "clap shows each field's comment as its help")]
pub struct ServeArgs {
    #[command(flatten)]
    pub kafka: KafkaArgs,
    /// Address of the public port
    #[arg(
        long,
        env = "CLICKTRAIL_LISTEN",
        default_value = "127.0.0.1:8080",
        value_name = "ADDRESS"
    )]
    pub listen: SocketAddr,
    #[command(flatten)]
    pub admin: AdminArgs,
    /// File of links to serve instead of the links of the topic. Each line is a JSON object: slug, url,
    /// and optionally id, version, domain, status, disabled, expires, pass_query, opt_out
    #[arg(long, env = "CLICKTRAIL_LINKS", value_name = "FILE")]
    pub links: Option<PathBuf>,
    #[command(flatten)]
    pub follow: FollowArgs,
    /// Seconds after which an operation that keeps failing makes `/readyz` report a degraded service
    #[arg(long, env = "CLICKTRAIL_STUCK_SECONDS", default_value_t = STUCK_SECONDS, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub stuck_seconds: u64,
    /// Name of this node in each record [default: the host name]
    #[arg(long, env = "CLICKTRAIL_NODE")]
    pub node: Option<String>,
    /// Share of visits whose traces are sampled, 0 to 1 (needs --otlp-endpoint). If a trusted proxy
    /// sends a trace, the sampling flag of that trace decides
    #[arg(long, env = "CLICKTRAIL_TRACE_SAMPLE", default_value = "0.01", value_parser = ratio, value_name = "RATIO")]
    pub trace_sample: f64,
    /// Most connections at once, and never more than the limit of file descriptors minus 256. For one
    /// more, the producer closes the connection that has been idle longest
    #[arg(long, env = "CLICKTRAIL_CONNECTIONS", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub connections: u32,
    /// Most connections of one client (an IPv4 address, or a /64 of IPv6). For one more, the producer
    /// closes the connection of this client that has been idle longest. Trusted proxies have no such
    /// limit [default: a quarter of --connections, at least 64]
    #[arg(long, env = "CLICKTRAIL_CONNECTIONS_PER_CLIENT", value_name = "CONNECTIONS", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub connections_per_client: Option<u32>,
    /// Threads that answer visitors [default: one per core]
    #[arg(long, env = "CLICKTRAIL_THREADS", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Which clicks are lost when the outbox is full; each lost click is counted
    #[arg(long, env = "CLICKTRAIL_OUTBOX_DROP", default_value = "newest", value_name = "WHICH")]
    pub outbox_drop: DropPolicy,
    #[command(flatten)]
    pub public: PublicArgs,
    #[command(flatten)]
    pub privacy: PrivacyArgs,
}

/// Settings of `healthcheck`.
#[derive(Debug, Args)]
pub struct HealthcheckArgs {
    /// Address of the admin port that serves /readyz
    #[arg(long, env = ADMIN_LISTEN, default_value = ADMIN_LISTEN_DEFAULT, value_name = "ADDRESS")]
    pub admin_listen: SocketAddr,
}

/// Settings of `visitor-keys`.
#[derive(Debug, Args)]
pub struct VisitorKeysArgs {
    /// What to do with the keys
    #[command(subcommand)]
    pub action: VisitorKeysAction,
    /// Folder of the outbox; its subfolder visitor-keys holds the keys, unless --visitor-keys names
    /// another folder
    #[arg(
        long,
        env = "CLICKTRAIL_OUTBOX",
        default_value = "clicktrail-outbox",
        value_name = "FOLDER",
        global = true
    )]
    pub outbox: PathBuf,
    /// Folder of the keys of visitor ids
    #[arg(long, env = "CLICKTRAIL_VISITOR_KEYS", value_name = "FOLDER", global = true)]
    pub visitor_keys: Option<PathBuf>,
    /// Where hosts share the keys.
    #[command(flatten)]
    pub store: StoreArgs,
}

/// What can be done with keys.
#[derive(Debug, Clone, Copy, Subcommand)]
pub enum VisitorKeysAction {
    /// Print the days that have a key
    List,
    /// Delete the key of a day; after that, the visitor ids of this day cannot be computed
    Forget {
        /// UTC day, such as 2026-11-26
        #[arg(value_parser = parse_day)]
        day: Day,
    },
}

/// Settings of `import`.
#[derive(Debug, Args)]
#[expect(missing_docs, reason = "clap shows each field's comment as its help")]
pub struct ImportArgs {
    #[command(flatten)]
    pub kafka: KafkaArgs,
    /// Format of the files
    #[arg(long)]
    pub format: ImportFormat,
    /// Name of the server that wrote the files. It is a part of each click's id: give each server its
    /// own name, or equal lines of two servers become one click. Import a file again under the same
    /// name, or its clicks count twice
    #[arg(long, default_value = "access-log", value_name = "NAME", value_parser = source)]
    pub source: String,
    /// Host of the site that the files belong to, for lines that name no host; repeatable. Clicks whose
    /// referrer is a page of one of these hosts are `internal`. The host is a part of visitor ids, not
    /// of event ids
    #[arg(long, value_name = "HOST")]
    pub domain: Vec<SiteHost>,
    /// Who may name the clients of logged requests.
    #[command(flatten)]
    pub proxies: ProxyArgs,
    #[command(flatten)]
    pub privacy: PrivacyArgs,
    /// Where hosts share the keys of visitor ids.
    #[command(flatten)]
    pub store: StoreArgs,
    /// How slugs are compared.
    #[command(flatten)]
    pub slugs: SlugArgs,
    /// File of links: a click whose path is the slug of one of them records this link. The link is
    /// never a part of an event id
    #[arg(long, env = "CLICKTRAIL_LINKS", value_name = "FILE")]
    pub links: Option<PathBuf>,
    /// Most clicks per second
    #[arg(long, value_name = "CLICKS", value_parser = clap::value_parser!(u32).range(1..))]
    pub rate: Option<u32>,
    /// Exit with code 65 if a line is malformed; all other lines are imported in any case
    #[arg(long)]
    pub strict: bool,
    /// Access logs, read in this order; gzip is decompressed, - is standard input
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
}

/// Formats of access logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ImportFormat {
    /// The combined format of nginx and Apache, also Debian's vhost_combined and nginx' main
    Combined,
    /// JSON lines of nginx, written with the log_format in docs/producer.md
    NginxJson,
}

impl KafkaArgs {
    /// The endpoint of `topic`: its brokers and its registry.
    ///
    /// # Errors
    /// Fatal: the setting of the registry is not a URL.
    pub fn endpoint(&self, topic: &TopicName) -> Result<Endpoint, ServerError> {
        Ok(Endpoint {
            brokers: self.brokers.brokers(),
            registry: self.registry.registry()?,
            topic: topic.clone(),
        })
    }

    /// How long a click in the outbox waits for others.
    pub fn relay_linger(&self) -> Duration {
        Duration::from_millis(self.relay_linger_ms)
    }

    /// How long `import` waits at its start for unreachable servers.
    pub fn start_wait(&self) -> Duration {
        Duration::from_secs(self.start_seconds)
    }

    /// How long the process waits at its end for clicks to be delivered.
    pub fn flush_wait(&self) -> Duration {
        Duration::from_secs(self.flush_seconds)
    }
}

fn ratio(text: &str) -> Result<f64, String> {
    let ratio: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    (0.0..=1.0).contains(&ratio).then_some(ratio).ok_or_else(|| "not between 0 and 1".to_owned())
}

fn source(text: &str) -> Result<String, String> {
    match text.len() {
        1..=256 => Ok(text.to_owned()),
        _ => Err("use 1 to 256 bytes".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::visitor_id::VisitorKey;
    use crate::links::store::Store;
    use clap::CommandFactory as _;

    #[test]
    fn waits_beyond_their_bounds_are_refused_and_the_bounds_are_named() {
        for (flag, most, more) in [
            ("--flush-seconds", "86400", "86401"),
            ("--start-seconds", "86400", "86401"),
            ("--relay-linger-ms", "1000", "1001"),
        ] {
            let too_large = u64::MAX.to_string();
            for (wait, is_good) in
                [("0", true), (most, true), (more, false), (too_large.as_str(), false)]
            {
                let parsed = Cli::try_parse_from(["producer", "serve", flag, wait]);
                let error = parsed.err().map(|error| error.to_string());
                assert_eq!(error.is_none(), is_good, "{flag} {wait} {error:?}");
                assert!(error.is_none_or(|it| it.contains(flag) && it.contains(most)), "{flag}");
            }
        }
    }

    #[test]
    fn l14_no_debug_text_of_the_settings_or_of_what_is_made_of_them_shows_a_secret() {
        let url = "postgres://user:geheim@localhost/links?password=geheim";
        let cli = Cli::parse_from([
            "producer",
            "serve",
            "--kafka",
            "sasl.password=geheim",
            "--kafka-properties",
            "ssl.key.pem=geheim,sasl.oauthbearer.client.secret=geheim",
            "--schema-registry-url",
            "http://user:geheim@h",
            "--links-db",
            url,
            "--links-token",
            "geheim-geheim-geheim",
            "--collector-token",
            "geheim-geheim-geheim",
            "--otlp-endpoint",
            "http://user:geheim@h/",
        ]);
        let Command::Serve(args) = &cli.command else { panic!("serve") };
        let endpoint = args.kafka.endpoint(&args.kafka.topic).unwrap();
        let location = &args.follow.store.links_db;
        let keys = args.privacy.key_store(&args.kafka.outbox, location).unwrap();
        let store = Store::open(location).unwrap();
        let key = VisitorKey::from(*b"geheimgeheimgeheimgeheimgeheim!!");
        let (tokens, token) = (args.public.tokens().unwrap(), args.follow.token().unwrap());
        let all: [&dyn std::fmt::Debug; 9] =
            [&cli, args, &endpoint, location, &keys, &store, &key, &tokens, &token];
        for value in all {
            for text in [format!("{value:?}"), format!("{value:#?}")] {
                assert!(!text.contains("geheim") && !text.contains("103, 101, 104"), "{text}");
            }
        }
        let links = Cli::parse_from(["producer", "links", "--links-db", url, "list"]);
        assert!(!format!("{links:?}").contains("geheim"));
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
