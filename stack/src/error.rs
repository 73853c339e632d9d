//! Everything that can go wrong with the stack, each with its way out in the text,
//! so that the command line can print one line and be done.

use std::path::PathBuf;
use std::time::Duration;

use crate::part::Part;

/// Why a command of the stack failed.
#[derive(Debug, thiserror::Error)]
pub enum StackError {
    /// A program the stack needs is not installed, or too old.
    #[error("{what} is missing: install it with `apt-get install {package}`")]
    Prerequisite {
        /// What is needed.
        what: &'static str,
        /// Debian's package with it.
        package: &'static str,
    },
    /// Nothing is pinned for this machine.
    #[error(
        "the engine's library is pinned for Linux on x86-64 only, and this is {0}; use docker-compose.yml here"
    )]
    Platform(String),
    /// Someone else listens on a port.
    #[error(
        "port {port} for {part} is taken by another program; choose others with --port-base N, --{part}-port N or --ports auto"
    )]
    PortBusy {
        /// Whose port.
        part: Part,
        /// The port.
        port: u16,
    },
    /// Other ports were asked for than the running parts have.
    #[error("parts of this stack run on other ports already; run `stack down` first")]
    PortsInUse,
    /// Kafka's data is that of another number of brokers.
    #[error(
        "Kafka's data in this folder is of another number of brokers; `stack clean` takes it away"
    )]
    BrokersDiffer,
    /// This stack has no such part.
    #[error(
        "{0} is no part of this stack, which has one broker; `stack up --brokers 3` makes three"
    )]
    NotInStack(Part),
    /// A part goes on although it was told to stand still.
    #[error("{0} does not stand still; it may hang in the kernel")]
    Restless(Part),
    /// This process may not mount.
    #[error(
        "a small disk under {0} takes the right to mount and to unmount, which root has; run this as root"
    )]
    MountDenied(Part),
    /// A part's data is on the same disk as everything else.
    #[error(
        "{0} stands on no disk of its own; `stack down`, `stack clean`, then `stack up --small-disk {0}=512M`"
    )]
    NoSmallDisk(Part),
    /// A part has data that a small disk would hide.
    #[error("{0} has data already, which a small disk would hide; `stack clean` takes it away")]
    DataInTheWay(Part),
    /// A disk does not become full.
    #[error(
        "the disk under {0} does not become full: its part removes as much as is taken away; try again"
    )]
    RoomLeft(Part),
    /// A disk does not get room.
    #[error(
        "the disk under {0} is full all the same; give it more with `stack disk {0} limit BYTES`"
    )]
    NoRoom(Part),
    /// A download failed; the text is the package client's own.
    #[error("fetching {what} failed; `{command}` says:\n{output}")]
    Fetch {
        /// What was fetched.
        what: &'static str,
        /// The command that failed.
        command: String,
        /// The end of its output.
        output: String,
    },
    /// A file is not the one that was pinned.
    #[error(
        "{file} is not the pinned file: its SHA-256 is {found}, not {pinned}; nothing was installed"
    )]
    Checksum {
        /// The file.
        file: String,
        /// Its checksum.
        found: String,
        /// The checksum it should have.
        pinned: String,
    },
    /// A part ended or kept silent while it was started.
    #[error("{part} {how}; the end of {log}:\n{tail}", log = log.display())]
    NotReady {
        /// The part.
        part: Part,
        /// What it did instead.
        how: String,
        /// Its log.
        log: PathBuf,
        /// The last lines of the log.
        tail: String,
    },
    /// A process did not end even after SIGKILL.
    #[error("{part} (process {pid}) does not end; it may hang in the kernel")]
    Unkillable {
        /// The part.
        part: Part,
        /// Its process.
        pid: i32,
    },
    /// The part is not running.
    #[error("{0} is not running; start it with `stack up`")]
    NotRunning(Part),
    /// A part runs whose data was to go.
    #[error("{0} is running; stop it with `stack down`")]
    InUse(Part),
    /// Nobody met a fault.
    #[error("{fault}: {met} of {count} requests met it within {waited:?}; send some meanwhile")]
    NoEffect {
        /// The fault.
        fault: &'static str,
        /// Requests that met it.
        met: u32,
        /// Requests that should have.
        count: u32,
        /// How long it waited for them.
        waited: Duration,
    },
    /// Another command holds the folder or the cache for too long.
    #[error("another `stack` command has held {path} for {waited:?}; wait for it to end", path = path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// How long this command waited.
        waited: Duration,
    },
    /// SIGINT or SIGTERM came.
    #[error("interrupted; what this command had started is stopped")]
    Interrupted,
    /// The `stack` program cannot be found by a test or another program.
    #[error(
        "the `stack` program is not beside {0}; build it with `cargo build --workspace --bin stack`"
    )]
    NoProgram(PathBuf),
    /// A file or process operation failed.
    #[error("{what}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: std::io::Error,
    },
}

impl StackError {
    /// Exit code of the command line: 69 for what is unavailable, 75 for what may work later, 77 for
    /// what takes rights.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Prerequisite { .. } | Self::Platform(_) | Self::NoProgram(_) => 69,
            Self::Checksum { .. } | Self::NotRunning(_) | Self::Unkillable { .. } => 69,
            Self::NotInStack(_) | Self::Restless(_) => 69,
            Self::NoSmallDisk(_) => 69,
            Self::MountDenied(_) => 77,
            Self::PortBusy { .. } | Self::PortsInUse | Self::InUse(_) | Self::Locked { .. } => 75,
            Self::BrokersDiffer | Self::DataInTheWay(_) => 75,
            Self::RoomLeft(_) | Self::NoRoom(_) => 75,
            Self::Fetch { .. } | Self::NotReady { .. } | Self::NoEffect { .. } => 75,
            Self::Interrupted => 130,
            Self::Io { .. } => 74,
        }
    }
}

/// Adds what was tried to an I/O error.
pub(crate) trait Trying<T> {
    /// `what` names the operation and its object.
    fn trying(self, what: impl FnOnce() -> String) -> Result<T, StackError>;
}

impl<T> Trying<T> for std::io::Result<T> {
    fn trying(self, what: impl FnOnce() -> String) -> Result<T, StackError> {
        self.map_err(|source| StackError::Io { what: what(), source })
    }
}
