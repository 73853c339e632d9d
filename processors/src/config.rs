//! Settings, by subject. Each is a flag with an environment name; a component gets the values that it
//! needs, never all of them.

use std::num::NonZero;
use std::path::PathBuf;
use std::time::Duration;

use broker::{BrokerArgs, Brokers, RegistryArgs, ServerError};
use clap::Args;
use clap::builder::ArgPredicate;
use records::flow::block::SizeLimits;
use records::flow::linger::Linger;
use schemas::{TopicName, TopicSpec};
use service::admin_args::{AdminArgs, listen_at};
use service::attempts::STUCK_SECONDS;
use service::shown_url::without_secrets;

use crate::clickhouse::server::{Server, read_password};
use crate::kafka::group_settings::{GroupProtocol, GroupSettings};
use crate::run::driver_settings::DriverSettings;
use crate::shards::cluster::Cluster;
use crate::shards::shards_file;

/// Environment variable of the address of the admin port of `run`.
pub(crate) const ADMIN_LISTEN: &str = "CLICKTRAIL_PROCESSORS_ADMIN_LISTEN";
/// Its default address.
pub(crate) const ADMIN_LISTEN_DEFAULT: &str = "127.0.0.1:9181";

/// The log.
#[derive(Debug, Args)]
pub struct KafkaArgs {
    /// The brokers.
    #[command(flatten)]
    pub brokers: BrokerArgs,
    /// Topic of clicks; dead-letter topic and registry subject derive from it.
    #[arg(long, env = "CLICKTRAIL_TOPIC", default_value = "clicks.raw.v1")]
    pub topic: TopicName,
    /// Topic of links.
    #[arg(long, env = "CLICKTRAIL_LINKS_TOPIC", default_value = "links.v1")]
    pub links_topic: TopicName,
}

impl KafkaArgs {
    /// The brokers.
    pub fn brokers(&self) -> Brokers {
        self.brokers.brokers()
    }

    /// Every topic of Clicktrail, and its description.
    pub fn topics(&self) -> [(String, TopicSpec); 3] {
        [
            (self.topic.to_string(), TopicSpec::clicks()),
            (self.topic.dead_letters(), TopicSpec::dead_letters()),
            (self.links_topic.to_string(), TopicSpec::links()),
        ]
    }
}

/// The tables.
#[derive(Debug, Args)]
pub struct ClickhouseArgs {
    /// Base URL of ClickHouse's HTTP interface. With --clickhouse-shards: of the server that small tables
    /// are written to and that queries over all clicks are sent to; unset, the first replica of the first
    /// shard.
    #[arg(
        long,
        env = "CLICKHOUSE_URL",
        default_value = "http://127.0.0.1:8123",
        default_value_if("clickhouse_shards", ArgPredicate::IsPresent, None::<&'static str>),
        hide_env_values = true
    )]
    clickhouse_url: Option<String>,
    /// File of the shards of a cluster (TOML): weight, replicas, user and password file of each.
    #[arg(long, env = "CLICKHOUSE_SHARDS", value_name = "FILE")]
    clickhouse_shards: Option<PathBuf>,
    /// ClickHouse user.
    #[arg(long, env = "CLICKHOUSE_USER", default_value = "default")]
    pub clickhouse_user: String,
    /// Password of that user.
    #[arg(long, env = "CLICKHOUSE_PASSWORD", default_value = "", hide_env_values = true)]
    pub clickhouse_password: String,
    /// File that holds the password instead; a newline at its end is ignored.
    #[arg(long, env = "CLICKHOUSE_PASSWORD_FILE", value_name = "FILE")]
    pub clickhouse_password_file: Option<PathBuf>,
    /// Database of the tables.
    #[arg(long, env = "CLICKHOUSE_DATABASE", default_value = "clicktrail")]
    pub clickhouse_database: String,
}

impl ClickhouseArgs {
    /// The server through which small tables are read and written, and queries over all clicks are sent.
    ///
    /// # Errors
    /// As [`ClickhouseArgs::cluster`].
    pub fn server(&self) -> Result<Server, ServerError> {
        Ok(self.cluster()?.any().clone())
    }

    /// All servers of these settings.
    ///
    /// # Errors
    /// The file of the shards is wrong, or the file of a password cannot be read.
    pub fn cluster(&self) -> Result<Cluster, ServerError> {
        let password = match &self.clickhouse_password_file {
            None => self.clickhouse_password.clone(),
            Some(file) => read_password(file).map_err(|error| {
                let text = format!("CLICKHOUSE_PASSWORD_FILE {}: {error}", file.display());
                ServerError::fatal("clickhouse_access", text)
            })?,
        };
        let server = Server {
            url: self.clickhouse_url.clone().unwrap_or_default(),
            user: self.clickhouse_user.clone(),
            password,
            database: self.clickhouse_database.clone(),
        };
        let Some(file) = &self.clickhouse_shards else { return Ok(Cluster::single(server)) };
        let (shards, name) = shards_file::read(file, &server)?;
        Ok(Cluster::new(shards, name, self.clickhouse_url.is_some().then_some(server)))
    }

    /// The settings that name the servers, with their values.
    pub(crate) fn named(&self) -> String {
        let url = self.clickhouse_url.as_deref().map(without_secrets);
        let url = url.map(|url| format!("CLICKHOUSE_URL={url}"));
        let file = self.clickhouse_shards.as_deref();
        let file = file.map(|file| format!("CLICKHOUSE_SHARDS={}", file.display()));
        url.into_iter().chain(file).collect::<Vec<_>>().join(" ")
    }

    /// The URL without secrets; without one, the file of the shards.
    pub(crate) fn address(&self) -> String {
        let file = || self.clickhouse_shards.as_deref().map(|file| file.display().to_string());
        self.clickhouse_url.as_deref().map(without_secrets).or_else(file).unwrap_or_default()
    }
}

/// The three servers that every command uses.
#[derive(Debug, Args)]
pub struct Servers {
    /// The log.
    #[command(flatten)]
    pub kafka: KafkaArgs,
    /// The schema registry.
    #[command(flatten)]
    pub registry: RegistryArgs,
    /// The tables.
    #[command(flatten)]
    pub clickhouse: ClickhouseArgs,
}

impl Servers {
    /// An error of brokers or ClickHouse with the address in front of the message, which may not name it.
    /// Those of a registry name its URL.
    pub(crate) fn with_address(&self, cluster: &Cluster, error: ServerError) -> ServerError {
        let address = match error.code.split('_').next() {
            Some("kafka") => self.kafka.brokers.kafka_brokers.clone(),
            Some("clickhouse") => self.clickhouse.address(),
            Some(_) | None => return error,
        };
        // An error of a server of a cluster names that server.
        let names = |server: &Server| error.message.contains(&without_secrets(&server.url));
        let names_server = cluster.servers().any(|(_, server)| names(server));
        if names_server || error.message.contains(&address) {
            return error;
        }
        ServerError { message: format!("{address}: {}", error.message), ..error }
    }
}

impl std::fmt::Display for Servers {
    /// The address of each, with the name of its setting.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "KAFKA_BROKERS={} SCHEMA_REGISTRY_URL={} {}",
            self.kafka.brokers.kafka_brokers,
            without_secrets(&self.registry.schema_registry_url),
            self.clickhouse.named()
        )
    }
}

/// The rule tables.
#[derive(Debug, Args)]
pub struct RulesArgs {
    /// Folder of the rule tables; a changed file takes effect without a restart.
    #[arg(
        long,
        env = "CLICKTRAIL_RULES",
        value_name = "DIR",
        default_value = "rules",
        global = true
    )]
    pub rules: PathBuf,
}

/// Settings of `run`.
#[derive(Debug, Args)]
#[command(mut_arg("admin_listen", |it| listen_at(it, ADMIN_LISTEN, ADMIN_LISTEN_DEFAULT)))]
pub struct RunArgs {
    /// Name of the consumer group.
    #[arg(long, env = "CLICKTRAIL_GROUP", default_value = "clicktrail-processors")]
    pub group: String,
    /// Rebalance protocol: classic (the members assign partitions) or consumer (the broker does; Kafka 4
    /// and later).
    #[arg(long, env = "CLICKTRAIL_GROUP_PROTOCOL", value_enum, default_value = "classic")]
    pub group_protocol: GroupProtocol,
    /// Static member name: a restart within the session timeout causes no rebalance.
    #[arg(long, env = "CLICKTRAIL_GROUP_INSTANCE_ID", value_name = "NAME")]
    pub group_instance_id: Option<String>,
    /// The admin port.
    #[command(flatten)]
    pub admin: AdminArgs,
    /// Batches, and the end of the process.
    #[command(flatten)]
    pub pipeline: PipelineArgs,
    /// Seconds of repeated failure after which `/readyz` reports a degraded service.
    #[arg(long, env = "CLICKTRAIL_STUCK_SECONDS", default_value_t = STUCK_SECONDS,
        value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub stuck_seconds: u64,
}

/// Settings of the pipeline, of every command that processes records.
#[derive(Debug, Args)]
pub struct PipelineArgs {
    /// Maximum number of records in one insert.
    #[arg(long, env = "CLICKTRAIL_BATCH_ROWS", default_value_t = 300_000,
        value_parser = clap::value_parser!(u32).range(1..=5_000_000))]
    pub batch_rows: u32,
    /// Maximum MiB of encoded records in one insert; up to three inserts are in memory.
    #[arg(long, env = "CLICKTRAIL_BATCH_MIB", default_value_t = 32,
        value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub batch_mib: u32,
    /// Seconds that a stop may take to store and commit the records that were read.
    #[arg(long, env = "CLICKTRAIL_DRAIN_SECONDS", default_value_t = 30,
        value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub drain_seconds: u64,
}

/// Two, so that the server inserts one while the other is encoded.
const BATCHES_MAX: usize = 2;
/// With more concurrent blocks, the log and the server are slower than encoding.
const BLOCKS_MAX: usize = 4;

impl RunArgs {
    /// How the member joins its group.
    pub fn group(&self) -> GroupSettings {
        GroupSettings {
            id: self.group.clone(),
            protocol: self.group_protocol,
            instance_id: self.group_instance_id.clone(),
        }
    }
}

impl PipelineArgs {
    /// The settings of the driver.
    pub fn driver(&self, brokers: &Brokers) -> DriverSettings {
        let limits = SizeLimits {
            rows_max: self.batch_rows as usize,
            bytes_max: self.batch_mib as usize * 1024 * 1024,
        };
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        DriverSettings {
            linger: Linger { limits },
            blocks_max: cores.min(BLOCKS_MAX),
            batches_max: BATCHES_MAX,
            drain_timeout: Duration::from_secs(self.drain_seconds),
            release_timeout: brokers.session_timeout().min(RELEASE_MAX * 2) / 2,
        }
    }
}

/// The other members continue with their partitions meanwhile, so this may be long.
const RELEASE_MAX: Duration = Duration::from_secs(10);
