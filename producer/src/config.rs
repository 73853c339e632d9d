//! The command line and its environment, parsed once.
//!
//! Each setting is a flag with an environment name: connections unprefixed, the
//! rest `CLICKTRAIL_…`. Values that may be secrets are never shown.

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
    /// Make, change and show links in the link store; every `serve` follows them.
    Links(LinksArgs),
    /// Check whether a running `serve` is ready; for images without a shell.
    Healthcheck(HealthcheckArgs),
}

/// Broker, registry, and the outbox before them.
#[derive(Debug, Args)]
pub struct KafkaArgs {
    #[command(flatten)]
    brokers: BrokerArgs,
    #[command(flatten)]
    registry: RegistryArgs,
    /// Topic of the log; dead-letter topic and registry subject derive from it
    #[arg(long, env = "CLICKTRAIL_TOPIC", default_value = "clicks.raw.v1")]
    pub topic: TopicName,
    /// Folder on a local disk where clicks wait until the broker has them; each process needs one
    /// of its own (`serve` and `import` use folders in it)
    #[arg(
        long,
        env = "CLICKTRAIL_OUTBOX",
        default_value = "clicktrail-outbox",
        value_name = "FOLDER"
    )]
    pub outbox: PathBuf,
    /// Most bytes of it. When it is full, the newest clicks of visitors are lost and counted, and an
    /// import waits
    #[arg(long, env = "CLICKTRAIL_OUTBOX_BYTES", default_value_t = 4 << 30, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(BYTES_MIN..=1 << 50))]
    pub outbox_bytes: u64,
    /// When stored clicks are synced, so that they survive a power loss: each group before the next
    /// is written, periodically while the writing goes on, or when the operating system does. A
    /// killed process loses no stored click, whichever it is
    #[arg(long, env = "CLICKTRAIL_OUTBOX_SYNC", default_value = "group")]
    pub outbox_sync: SyncPolicy,
    /// Milliseconds between two syncs of `group`
    #[arg(long, env = "CLICKTRAIL_OUTBOX_SYNC_MS", default_value_t = 100, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..=60_000))]
    pub outbox_sync_ms: u64,
    /// Most clicks in memory that wait to be written to the disk; a visitor's click beyond it is lost
    /// and counted
    #[arg(long, env = "CLICKTRAIL_QUEUE_CLICKS", default_value_t = 200_000, value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    pub queue_clicks: u32,
    /// Most bytes in memory that wait to be written to the disk
    #[arg(long, env = "CLICKTRAIL_QUEUE_BYTES", default_value_t = 64 << 20, value_parser = clap::value_parser!(u64).range(65_536..=1 << 40))]
    pub queue_bytes: u64,
    /// How long registry and broker may be unreachable at the start of an import, in seconds
    #[arg(long, env = "CLICKTRAIL_START_SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(..=86_400))]
    start_seconds: u64,
    /// How long clicks may take to be delivered at the end, in seconds, before they are left in the
    /// outbox for the next start; an import counts from the last delivery
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
    /// Links of a file instead of those of the topic, one JSON object a line: slug, url, and
    /// optionally id, version, domain, status, disabled, expires, pass_query, opt_out
    #[arg(long, env = "CLICKTRAIL_LINKS", value_name = "FILE")]
    pub links: Option<PathBuf>,
    #[command(flatten)]
    pub follow: FollowArgs,
    /// Seconds after which what fails again and again makes `/readyz` report a degraded service
    #[arg(long, env = "CLICKTRAIL_STUCK_SECONDS", default_value_t = STUCK_SECONDS, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub stuck_seconds: u64,
    /// Name of this node in each record [default: the host's name]
    #[arg(long, env = "CLICKTRAIL_NODE")]
    pub node: Option<String>,
    /// Share of the visits that are sampled, 0 to 1; of a trace that a trusted proxy names its own
    /// flag counts (needs --otlp-endpoint)
    #[arg(long, env = "CLICKTRAIL_TRACE_SAMPLE", default_value = "0.01", value_parser = ratio, value_name = "RATIO")]
    pub trace_sample: f64,
    /// Most connections at once, within the limit of file descriptors less 256; for one more the
    /// connection that is idle longest is closed
    #[arg(long, env = "CLICKTRAIL_CONNECTIONS", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub connections: u32,
    /// Most connections of one client (an IPv4 address, a /64 of IPv6); for one more its connection
    /// that is idle longest is closed. Trusted proxies have no such limit [default: a quarter of
    /// --connections, at least 64]
    #[arg(long, env = "CLICKTRAIL_CONNECTIONS_PER_CLIENT", value_name = "CONNECTIONS", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub connections_per_client: Option<u32>,
    /// Threads that answer visitors; without it, one for each core
    #[arg(long, env = "CLICKTRAIL_THREADS", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Which clicks are lost when the outbox is full: the newest, or those that wait longest, a
    /// sixteenth of it at a time. Either way each is counted
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
    /// Address of the admin port whose /readyz is requested
    #[arg(long, env = ADMIN_LISTEN, default_value = ADMIN_LISTEN_DEFAULT, value_name = "ADDRESS")]
    pub admin_listen: SocketAddr,
}

/// Settings of `visitor-keys`.
#[derive(Debug, Args)]
pub struct VisitorKeysArgs {
    /// What to do with them
    #[command(subcommand)]
    pub action: VisitorKeysAction,
    /// Folder of the outboxes; the keys are beside them unless --visitor-keys names another
    #[arg(
        long,
        env = "CLICKTRAIL_OUTBOX",
        default_value = "clicktrail-outbox",
        value_name = "FOLDER",
        global = true
    )]
    pub outbox: PathBuf,
    /// Folder of the keys
    #[arg(long, env = "CLICKTRAIL_VISITOR_KEYS", value_name = "FOLDER", global = true)]
    pub visitor_keys: Option<PathBuf>,
    /// Where hosts share them.
    #[command(flatten)]
    pub store: StoreArgs,
}

/// What can be done with keys.
#[derive(Debug, Clone, Copy, Subcommand)]
pub enum VisitorKeysAction {
    /// Print the days that have a key
    List,
    /// Delete the key of a day: that day's visitor ids cannot be computed again
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
    /// Which server the files are from. Part of each click's id: equal lines of two servers are
    /// two clicks only under two names, and a file keeps its ids only under one
    #[arg(long, default_value = "access-log", value_name = "NAME", value_parser = source)]
    pub source: String,
    /// Host of the site that the files are of, for lines that do not say it; may be repeated. Clicks
    /// from a page of one of these hosts are then `internal`. Part of visitor ids and of no event id
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
    /// How their slugs are compared.
    #[command(flatten)]
    pub slugs: SlugArgs,
    /// Links whose slugs are recognised in paths (recorded as payload, never part of an id)
    #[arg(long, env = "CLICKTRAIL_LINKS", value_name = "FILE")]
    pub links: Option<PathBuf>,
    /// Most clicks a second
    #[arg(long, value_name = "CLICKS", value_parser = clap::value_parser!(u32).range(1..))]
    pub rate: Option<u32>,
    /// End with code 65 when a line is malformed (all others are imported all the same)
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
    /// JSON of nginx, an object a line, by the log_format that the README names
    NginxJson,
}

impl KafkaArgs {
    /// Where `topic` is.
    ///
    /// # Errors
    /// Fatal: the registry's setting is not a URL.
    pub fn endpoint(&self, topic: &TopicName) -> Result<Endpoint, ServerError> {
        Ok(Endpoint {
            brokers: self.brokers.brokers(),
            registry: self.registry.registry()?,
            topic: topic.clone(),
        })
    }

    /// How long servers may be unreachable at the start.
    pub fn start_wait(&self) -> Duration {
        Duration::from_secs(self.start_seconds)
    }

    /// How long clicks may take to be delivered at the end.
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
    fn waits_of_more_than_a_day_are_refused_with_their_bounds() {
        for flag in ["--flush-seconds", "--start-seconds"] {
            for (seconds, is_good) in
                [("0", true), ("86400", true), ("86401", false), ("18446744073709551615", false)]
            {
                let parsed = Cli::try_parse_from(["producer", "serve", flag, seconds]);
                let error = parsed.err().map(|error| error.to_string());
                assert_eq!(error.is_none(), is_good, "{flag} {seconds} {error:?}");
                assert!(error.is_none_or(|it| it.contains(flag) && it.contains("86400")), "{flag}");
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
