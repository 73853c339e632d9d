//! The command line: its words, their help, and the folder and cache they mean.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use stack::{
    Brokers, Cache, Fault, Part, PortChoice, Postgres, RegistryFault, SmallDisk, Stack, StackError,
};

/// The real parts of the stack without Docker: Kafka, a schema registry, ClickHouse.
///
/// Everything listens on loopback only. Data lives in `.stack/` of the clone and stays
/// when the parts stop; downloads live in a cache that clones share.
#[derive(Debug, Parser)]
#[command(name = "stack", version)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) setup: Setup,
    #[command(subcommand)]
    pub(crate) action: Action,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Action {
    /// Fetch what is missing, start every part, wait until all answer.
    Up,
    /// Stop every part; the data stays.
    Down,
    /// Show the parts; the exit code is 0 if all answer.
    Status,
    /// Print the variables by which programs find the parts, for `eval`.
    Env,
    /// Print a part's log.
    Logs {
        /// kafka (kafka-2, kafka-3), registry or clickhouse.
        part: Part,
    },
    /// End a part's process at once, as a crash would.
    Kill {
        /// kafka (kafka-2, kafka-3), registry or clickhouse.
        part: Part,
    },
    /// Stop a part and start it again; also starts one that was killed.
    Restart {
        /// kafka (kafka-2, kafka-3), registry or clickhouse.
        part: Part,
    },
    /// Make a part stand still with its connections open.
    Pause {
        /// kafka (kafka-2, kafka-3), registry or clickhouse.
        part: Part,
    },
    /// Let a paused part go on.
    Resume {
        /// kafka (kafka-2, kafka-3), registry or clickhouse.
        part: Part,
    },
    /// Let requests to ClickHouse meet a fault, and wait until they have; 75 if they do not.
    Fault {
        /// lose-answers (an insert is applied, its answer is not sent), refuse, or
        /// delay=MILLISECONDS.
        fault: Fault,
        /// How many requests.
        #[arg(long, default_value_t = 1)]
        count: u32,
        /// How many seconds to wait for them.
        #[arg(long, default_value_t = 30, value_name = "SECONDS")]
        wait: u64,
    },
    /// Work on the small disk under a part (`up --small-disk`), and see that it took effect.
    Disk {
        /// kafka (kafka-2, kafka-3) or clickhouse.
        part: Part,
        #[command(subcommand)]
        what: DiskAction,
    },
    /// Start a proxy before the registry that injects a fault, and
    /// print its address; 75 if no request met the fault before it was interrupted.
    RegistryFault {
        /// status=CODE, hang, no-ids, empty or schema=TEXT.
        fault: RegistryFault,
    },
    /// End the engine's process behind ClickHouse's front, which starts it again.
    CrashEngine,
    /// Download what is missing, start nothing.
    Fetch,
    /// Start the parts, run a command with `stack env`'s variables, stop them again.
    ///
    /// The exit code is the command's. Parts that ran before keep running.
    Run {
        /// The command and its arguments.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// Look for what keeps a stack from running, and say how to mend it; 0 if nothing is found.
    Doctor,
    /// Take away the parts' data, logs and ports. They must be down.
    Clean {
        /// The downloads, too, which other clones share.
        #[arg(long)]
        cache: bool,
    },
    /// Waits for the end of a `stack run` and cleans up after it if it was killed.
    #[command(hide = true)]
    Watch {
        /// What everything bears that it has started.
        #[arg(long)]
        cookie: String,
        /// Parts that ran before.
        #[arg(long)]
        keep: Vec<Part>,
    },
    /// Keeps an engine alive before whom ClickHouse's HTTP protocol is spoken; `up` starts it.
    #[command(hide = true)]
    Front {
        /// Address to listen on.
        #[arg(long)]
        listen: SocketAddr,
        #[command(flatten)]
        engine: EngineArgs,
    },
    /// The engine and its HTTP protocol on the socket that is standard input; `front` starts it.
    #[command(hide = true)]
    Engine {
        /// The process that it must not outlive.
        #[arg(long)]
        keeper: i32,
        #[command(flatten)]
        engine: EngineArgs,
    },
}

/// What to do to a small disk.
#[derive(Debug, Clone, Copy, Subcommand)]
pub(crate) enum DiskAction {
    /// Let it hold so many bytes.
    Limit {
        /// Such as 512M; 1M at least, and no fewer than are taken.
        #[arg(value_parser = stack::bytes_of)]
        bytes: u64,
    },
    /// Make it full: nothing can be written.
    Fill,
    /// Give it its room back.
    Free,
}

/// Where the stack is.
#[derive(Debug, Args)]
pub(crate) struct Setup {
    /// The stack's folder [default: .stack at the top of the clone].
    #[arg(long, global = true, env = "STACK_DIR", value_name = "FOLDER")]
    dir: Option<PathBuf>,
    /// Where downloads are kept [default: clicktrail in the user's cache folder].
    #[arg(long, global = true, env = "CLICKTRAIL_CACHE", value_name = "FOLDER")]
    cache_dir: Option<PathBuf>,
    /// Also start this, or with `env` name it; `down` and the end of `run` stop it.
    #[arg(long, global = true, value_name = "WHAT", value_parser = ["postgres"])]
    pub(crate) with: Option<String>,
    /// Let a part's data stand on a small disk of its own, in memory, as clickhouse=512M; it stays
    /// until `clean`. Takes the right to mount.
    #[arg(long, global = true, value_name = "PART=BYTES")]
    small_disk: Vec<SmallDisk>,
    /// `auto` takes free ports and remembers them in the folder.
    #[arg(long, global = true, value_name = "HOW", value_parser = ["auto", "default"])]
    ports: Option<String>,
    /// 1, or 3 with three copies of each partition [default: as before, or 1].
    #[arg(long, global = true, value_name = "NUMBER")]
    brokers: Option<Brokers>,
    /// Four ports in a row: kafka, its controller, registry, clickhouse. Two more brokers take
    /// the next four.
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

/// The hidden subcommands'.
#[derive(Debug, Args)]
pub(crate) struct EngineArgs {
    /// The engine's data folder.
    #[arg(long)]
    pub(crate) data: PathBuf,
    /// Folder for results on their way.
    #[arg(long)]
    pub(crate) spill: PathBuf,
    /// The engine's library.
    #[arg(long)]
    pub(crate) library: PathBuf,
    /// Says whose process this is.
    #[arg(long)]
    pub(crate) mark: String,
}

impl Setup {
    /// The PostgreSQL of a stack, whether it was asked for or not.
    pub(crate) fn postgres(&self, stack: &Stack) -> Result<Postgres, StackError> {
        Postgres::open(&stack.folder().join("postgres"), self.cache()?, stack.interrupt())
    }

    fn cache(&self) -> Result<Cache, StackError> {
        self.cache_dir.clone().map_or_else(Cache::shared, |root| Ok(Cache::at(root)))
    }

    /// Opens the stack that the flags mean.
    pub(crate) fn open(&self) -> Result<Stack, StackError> {
        let io = |what: &str, source| StackError::Io { what: what.to_owned(), source };
        let here = std::env::current_dir()
            .map_err(|source| io("looking for the current folder", source))?;
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
        };
        let own =
            std::env::current_exe().map_err(|source| io("looking for our own program", source))?;
        let stack = Stack::open(&folder, cache, choice)?.with_program(own);
        Ok(stack.with_small_disks(&self.small_disk))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_can_be_said() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
        let cli = Cli::try_parse_from(["stack", "clean", "--cache"]).unwrap();
        assert!(matches!(cli.action, Action::Clean { cache: true }));
    }
}
