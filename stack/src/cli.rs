//! The command line: its subcommands and flags, their help, and the stack that they name.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use stack::{
    Brokers, Cache, ClickHouseFault, Part, PortChoice, Postgres, RegistryFault, SmallDisk, Stack,
    StackError,
};

/// The real parts of the stack without Docker: Kafka, a schema registry, ClickHouse.
///
/// Everything listens on loopback only. Data is in `.stack/` of the clone and stays when the
/// parts stop; downloads are in a cache that clones share.
#[derive(Debug, Parser)]
#[command(name = "stack", version)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) setup: Setup,
    #[command(subcommand)]
    pub(crate) action: Action,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(crate) enum Action {
    /// Download what is missing, start every part, and wait until all parts answer.
    Up,
    /// Stop every part. The data stays.
    Down,
    /// Show the state of the parts. The exit code is 0 if all parts answer.
    Status,
    /// Print the variables with the addresses of the parts, for `eval`.
    Env,
    /// Print the log of a part.
    Logs {
        /// kafka (kafka-2, kafka-3), registry, clickhouse, alertmanager or prometheus.
        part: Part,
    },
    /// Kill the process of a part with SIGKILL, as a crash would.
    Kill {
        /// kafka (kafka-2, kafka-3), registry, clickhouse, alertmanager or prometheus.
        part: Part,
    },
    /// Stop a part and start it again. This also starts a part that was killed.
    Restart {
        /// kafka (kafka-2, kafka-3), registry, clickhouse, alertmanager or prometheus.
        part: Part,
    },
    /// Pause a part with SIGSTOP. Its connections stay open.
    Pause {
        /// kafka (kafka-2, kafka-3), registry, clickhouse, alertmanager or prometheus.
        part: Part,
    },
    /// Resume a paused part.
    Resume {
        /// kafka (kafka-2, kafka-3), registry, clickhouse, alertmanager or prometheus.
        part: Part,
    },
    /// Inject a fault into requests to ClickHouse, and wait until that is done. The exit code is
    /// 75 if too few requests come.
    Fault {
        /// lose-answers (ClickHouse applies an insert and does not send the answer), refuse, or
        /// delay=MILLISECONDS.
        fault: ClickHouseFault,
        /// The number of requests to inject the fault into.
        #[arg(long, default_value_t = 1)]
        count: u32,
        /// The number of seconds to wait for these requests.
        #[arg(long, default_value_t = 30, value_name = "SECONDS")]
        wait: u64,
    },
    /// Change the small disk of a part (`up --small-disk`), and check the effect.
    Disk {
        /// kafka (kafka-2, kafka-3) or clickhouse.
        part: Part,
        #[command(subcommand)]
        what: DiskAction,
    },
    /// Start a fault proxy for the schema registry, print its URL, and run it until an interrupt.
    /// The exit code is 75 if no request had the fault.
    RegistryFault {
        /// status=CODE, hang, no-ids, empty or schema=TEXT.
        fault: RegistryFault,
    },
    /// Kill the process of the ClickHouse engine. The front starts it again.
    CrashEngine,
    /// Download what is missing, build the page of the preview, and start nothing.
    Fetch,
    /// Start the parts, run a command with the variables of `stack env`, and stop the parts.
    ///
    /// The exit code is that of the command. Parts that ran before keep running.
    Run {
        /// The command and its arguments.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// Draw the dashboards of Grafana without Grafana: serve a page on loopback over the ClickHouse, and the
    /// Prometheus if there is one, of a running stack, and print its address.
    Preview {
        /// Its port [default: 3001, or any if that is taken].
        #[arg(long)]
        port: Option<u16>,
    },
    /// Check what a stack needs to run, and print the fix of each problem. The exit code is 0 if
    /// there is no problem.
    Doctor,
    /// Remove the data, logs and ports of the parts. The parts must be stopped.
    Clean {
        /// Also remove the downloads, which other clones share.
        #[arg(long)]
        cache: bool,
    },
    /// Wait for the end of a `stack run`, and clean up after it if it was killed.
    #[command(hide = true)]
    Watch {
        /// The cookie in the environment of all processes that it has started.
        #[arg(long)]
        cookie: String,
        /// Parts that ran before.
        #[arg(long)]
        keep: Vec<Part>,
    },
    /// Supervise the ClickHouse engine and its HTTP server. `up` starts this.
    #[command(hide = true)]
    Front {
        /// Address to listen on.
        #[arg(long)]
        listen: SocketAddr,
        #[command(flatten)]
        engine: EngineArgs,
    },
    /// Run the engine and its HTTP server on the socket that is standard input. `front` starts this.
    #[command(hide = true)]
    Engine {
        /// The id of the process that starts it; the engine ends with that process.
        #[arg(long)]
        parent: i32,
        #[command(flatten)]
        engine: EngineArgs,
    },
}

/// The changes of a small disk.
#[derive(Debug, Clone, Copy, Subcommand)]
pub(crate) enum DiskAction {
    /// Set the bytes that it can hold.
    Limit {
        /// Such as 512M; at least 1M, and not less than is used.
        #[arg(value_parser = stack::parse_bytes)]
        bytes: u64,
    },
    /// Fill it: writes then fail.
    Fill,
    /// Restore its limit: writes then succeed.
    Free,
}

/// A server that a stack has on request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Server {
    Postgres,
    Prometheus,
    Alertmanager,
}

/// The stack and its settings.
#[derive(Debug, Args)]
pub(crate) struct Setup {
    /// The stack's folder [default: .stack at the top of the clone].
    #[arg(long, global = true, env = "STACK_DIR", value_name = "FOLDER")]
    dir: Option<PathBuf>,
    /// The folder of downloads [default: clicktrail in the user's cache folder].
    #[arg(long, global = true, env = "CLICKTRAIL_CACHE", value_name = "FOLDER")]
    cache_dir: Option<PathBuf>,
    /// Also start this server, or name it in the output of `env`. `down` and the end of `run` stop it.
    /// prometheus and alertmanager are Debian's, read the files of deploy/prometheus, and stay in the
    /// stack until `clean`.
    #[arg(long, global = true, value_name = "SERVER")]
    pub(crate) with: Vec<Server>,
    /// Put the data of a part on a small disk of its own, in memory, such as clickhouse=512M. The
    /// disk stays until `clean`. This needs the right to mount.
    #[arg(long, global = true, value_name = "PART=BYTES")]
    small_disk: Vec<SmallDisk>,
    /// `auto` takes free ports and records them in the folder.
    #[arg(long, global = true, value_name = "HOW", value_parser = ["auto", "default"])]
    ports: Option<String>,
    /// The number of brokers: 1, or 3 with three copies of each partition [default: as before, or 1].
    #[arg(long, global = true, value_name = "NUMBER")]
    brokers: Option<Brokers>,
    /// The first of four ports: kafka, its controller, registry, clickhouse. Two more brokers take
    /// the next four, alertmanager and prometheus the next two.
    #[arg(long, global = true, env = "STACK_PORT_BASE", value_name = "PORT")]
    port_base: Option<u16>,
    /// Kafka's port; its controller takes the next one, more brokers the next four.
    #[arg(long, global = true, env = "STACK_KAFKA_PORT", value_name = "PORT")]
    kafka_port: Option<u16>,
    /// The registry's port.
    #[arg(long, global = true, env = "STACK_REGISTRY_PORT", value_name = "PORT")]
    registry_port: Option<u16>,
    /// ClickHouse's HTTP port.
    #[arg(long, global = true, env = "STACK_CLICKHOUSE_PORT", value_name = "PORT")]
    clickhouse_port: Option<u16>,
}

/// The flags of the hidden subcommands.
#[derive(Debug, Args)]
pub(crate) struct EngineArgs {
    /// The engine's data folder.
    #[arg(long)]
    pub(crate) data: PathBuf,
    /// Folder for results that are not sent yet.
    #[arg(long)]
    pub(crate) spill: PathBuf,
    /// The engine's library.
    #[arg(long)]
    pub(crate) library: PathBuf,
    /// Identifies the stack in the command line of the process.
    #[arg(long)]
    pub(crate) mark: String,
}

impl Setup {
    /// The PostgreSQL of a stack, with or without `--with postgres`.
    pub(crate) fn postgres(&self, stack: &Stack) -> Result<Postgres, StackError> {
        Postgres::open(&stack.folder().join("postgres"), self.cache()?, stack.interrupt())
    }

    fn cache(&self) -> Result<Cache, StackError> {
        self.cache_dir.clone().map_or_else(Cache::shared, |root| Ok(Cache::at(root)))
    }

    /// Opens the stack that the flags name.
    pub(crate) fn open(&self) -> Result<Stack, StackError> {
        let io = |what: &str, source| StackError::Io { what: what.to_owned(), source };
        let here =
            std::env::current_dir().map_err(|source| io("reading the current folder", source))?;
        let folder = self.dir.clone().unwrap_or_else(|| {
            let top = here.ancestors().find(|folder| folder.join(".git").exists());
            top.unwrap_or(&here).join(".stack")
        });
        let cache = self.cache()?;
        let ports = self.ports.as_deref();
        let default = (ports == Some("default")).then_some(stack::Ports::default());
        let choice = PortChoice {
            auto: ports == Some("auto"),
            base: self.port_base,
            brokers: self.brokers,
            kafka: self.kafka_port.or(default.map(|ports| ports.kafka)),
            registry: self.registry_port.or(default.map(|ports| ports.registry)),
            clickhouse: self.clickhouse_port.or(default.map(|ports| ports.clickhouse)),
            alertmanager: self.with.contains(&Server::Alertmanager),
            prometheus: self.with.contains(&Server::Prometheus),
        };
        let own =
            std::env::current_exe().map_err(|source| io("finding the running program", source))?;
        let stack = Stack::open(&folder, cache, choice)?.with_program(own);
        Ok(stack.with_small_disks(&self.small_disk))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_parsed() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
        let cli = Cli::try_parse_from(["stack", "clean", "--cache"]).unwrap();
        assert!(matches!(cli.action, Action::Clean { cache: true }));
        let cli =
            Cli::try_parse_from(["stack", "up", "--with", "postgres", "--with", "prometheus"]);
        assert_eq!(cli.unwrap().setup.with, [Server::Postgres, Server::Prometheus]);
    }
}
