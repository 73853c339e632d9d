//! The errors of the stack. Each text says what to do, so that the command line prints one line.

use std::path::PathBuf;
use std::time::Duration;

use crate::part::Part;

/// Why a command of the stack failed.
#[derive(Debug, thiserror::Error)]
pub enum StackError {
    /// A program that the stack needs is not installed, or too old.
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
    /// Another program listens on a port.
    #[error(
        "another program listens on port {port}, which {part} needs; choose others with --port-base N, --ports auto, or --kafka-port, --registry-port, --clickhouse-port N"
    )]
    PortBusy {
        /// Whose port.
        part: Part,
        /// The port.
        port: u16,
    },
    /// Other ports were chosen than the running parts have.
    #[error("parts of this stack run on other ports already; run `stack down` first")]
    PortsInUse,
    /// Kafka's data is that of another number of brokers.
    #[error(
        "Kafka's data in this folder is of another number of brokers; `stack clean` removes it"
    )]
    BrokersDiffer,
    /// This stack has no such part.
    #[error("{0} is not in this stack; `stack up {flag}` adds it", flag = .0.flag())]
    NotInStack(Part),
    /// A part does not stop at SIGSTOP.
    #[error("{0} does not pause; it may hang in the kernel")]
    NotPaused(Part),
    /// This process may not mount.
    #[error(
        "a small disk under {0} needs the right to mount and to unmount, which root has; run this as root"
    )]
    MountDenied(Part),
    /// A part's data is on the same disk as everything else.
    #[error(
        "{0} has no disk of its own; run `stack down`, `stack clean`, then `stack up --small-disk {0}=512M`"
    )]
    NoSmallDisk(Part),
    /// A part has data that a small disk would hide.
    #[error("{0} has data already, which a small disk would hide; `stack clean` removes it")]
    DataExists(Part),
    /// A disk does not become full.
    #[error("the disk under {0} does not become full: its part frees space meanwhile; try again")]
    DiskNotFull(Part),
    /// A disk stays full.
    #[error("the disk under {0} is still full; raise its limit with `stack disk {0} limit BYTES`")]
    DiskStillFull(Part),
    /// A download failed; the text is from the package client.
    #[error("fetching {what} failed; `{command}` reports:\n{output}")]
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
    /// A part ended or did not answer during its start.
    #[error("{part} {how}; the end of {log}:\n{tail}", log = log.display())]
    NotReady {
        /// The part.
        part: Part,
        /// What happened.
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
    /// A part runs whose data was to be removed.
    #[error("{0} is running; stop it with `stack down`")]
    InUse(Part),
    /// Fewer requests came than a fault was set for.
    #[error(
        "{fault}: injected into {injected} of {count} requests within {waited:?}; send requests meanwhile"
    )]
    NoEffect {
        /// The fault.
        fault: &'static str,
        /// Requests that it was injected into.
        injected: u32,
        /// Requests that it was set for.
        count: u32,
        /// How long the command waited.
        waited: Duration,
    },
    /// Another command has the lock of the folder or the cache for too long.
    #[error("another `stack` command has had the lock {path} for {waited:?}; wait for its end", path = path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// How long this command waited.
        waited: Duration,
    },
    /// The program received SIGINT, SIGTERM or SIGHUP.
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
        /// The operation.
        what: String,
        /// Its error.
        source: std::io::Error,
    },
}

impl StackError {
    /// The error in one line: of a package client what it reports as the cause.
    #[must_use]
    pub fn cause(&self) -> String {
        let text = if let Self::Fetch { what, output, .. } = self {
            // npm reports the cause of a failed request, then where in its own code that was.
            let named = output.lines().find(|line| line.contains("reason:"));
            let is_error = |line: &&str| line.starts_with("npm e") || line.starts_with("npm ERR!");
            let cause = named.or_else(|| output.lines().find(is_error)).unwrap_or(output);
            format!(
                "fetching {what} failed: {}",
                cause.trim_start_matches("npm error ").trim_start_matches("npm ERR! ").trim()
            )
        } else if let Self::Io { what, source } = self {
            format!("{what}: {source}")
        } else {
            self.to_string()
        };
        text.lines().next().unwrap_or_default().to_owned()
    }

    /// Exit code of the command line: 69 for what is unavailable, 75 for what may work later, 77 for
    /// what needs rights.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Prerequisite { .. } | Self::Platform(_) | Self::NoProgram(_) => 69,
            Self::Checksum { .. } | Self::NotRunning(_) | Self::Unkillable { .. } => 69,
            Self::NotInStack(_) | Self::NotPaused(_) => 69,
            Self::NoSmallDisk(_) => 69,
            Self::MountDenied(_) => 77,
            Self::PortBusy { .. } | Self::PortsInUse | Self::InUse(_) | Self::Locked { .. } => 75,
            Self::BrokersDiffer | Self::DataExists(_) => 75,
            Self::DiskNotFull(_) | Self::DiskStillFull(_) => 75,
            Self::Fetch { .. } | Self::NotReady { .. } | Self::NoEffect { .. } => 75,
            Self::Interrupted => 130,
            Self::Io { .. } => 74,
        }
    }
}

/// Adds the operation to an I/O error.
pub(crate) trait IoContext<T> {
    /// `what` names the operation and its object.
    fn io_context(self, what: impl FnOnce() -> String) -> Result<T, StackError>;
}

impl<T> IoContext<T> for std::io::Result<T> {
    fn io_context(self, what: impl FnOnce() -> String) -> Result<T, StackError> {
        self.map_err(|source| StackError::Io { what: what(), source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_of_a_failed_fetch_is_one_line() {
        let fetch = |output: &str| StackError::Fetch {
            what: "a package",
            command: "npm ci".to_owned(),
            output: output.to_owned(),
        };
        for (output, cause) in [
            (
                "npm error code E\nnpm error request to x failed, reason: refused\nnpm error     at error.js:1",
                "fetching a package failed: request to x failed, reason: refused",
            ),
            (
                "npm warn a\nnpm ERR! code E404\nnpm ERR!     at b",
                "fetching a package failed: code E404",
            ),
            ("", "fetching a package failed: "),
        ] {
            assert_eq!(fetch(output).cause(), cause);
        }
        assert_eq!(StackError::PortsInUse.cause(), StackError::PortsInUse.to_string());
    }
}
