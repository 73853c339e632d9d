//! A whole stack in one folder: up, down, kill, and what the outside needs to know to
//! use it. Everything blocks; an async caller gives it a thread.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;

use crate::cache::{Cache, lock, remove};
use crate::disk::SmallDisk;
use crate::error::{StackError, Trying as _};
use crate::fetch::{Kit, size};
use crate::part::Part;
use crate::ports::{PortChoice, Ports};
use crate::process::{Interrupt, Slot};
use crate::{clickhouse, kafka, registry};

/// How long a part may take until it answers; ten times what it takes on two idle cores.
const READY_WAIT: Duration = Duration::from_secs(120);
/// How long a command waits for another one on the same folder.
const LOCK_WAIT: Duration = Duration::from_secs(300);

/// A stack: its folder, its downloads, its choice of ports.
#[derive(Clone)]
pub struct Stack {
    folder: PathBuf,
    cache: Cache,
    choice: PortChoice,
    interrupt: Interrupt,
    report: Arc<dyn Fn(&str) + Send + Sync>,
    program: Option<PathBuf>,
    disks: Vec<SmallDisk>,
}

impl std::fmt::Debug for Stack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stack")
            .field("folder", &self.folder)
            .field("choice", &self.choice)
            .finish_non_exhaustive()
    }
}

/// One part's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The part.
    pub part: Part,
    /// Its process, if it runs.
    pub pid: Option<i32>,
    /// Whether it answers.
    pub serves: bool,
    /// Where it listens.
    pub address: std::net::SocketAddr,
}

impl Stack {
    /// A stack in `folder`, made if need be, with downloads from `cache`. Starts nothing.
    ///
    /// # Errors
    /// [`StackError::Io`] if the folder cannot be made.
    pub fn open(folder: &Path, cache: Cache, choice: PortChoice) -> Result<Self, StackError> {
        let what = || format!("making the folder {}", folder.display());
        std::fs::create_dir_all(folder).trying(what)?;
        let folder = folder.canonicalize().trying(what)?;
        for inner in ["run", "logs"] {
            std::fs::create_dir_all(folder.join(inner)).trying(what)?;
        }
        std::fs::write(folder.join(".gitignore"), "*\n").trying(what)?;
        let report = Arc::new(|_: &str| {});
        let interrupt = Interrupt::default();
        Ok(Self { folder, cache, choice, interrupt, report, program: None, disks: Vec::new() })
    }

    /// Says what it does, line by line, to `report`.
    #[must_use]
    pub fn reporting(mut self, report: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.report = Arc::new(report);
        self
    }

    /// Uses `program` as the `stack` program, whose `front` subcommand stands for ClickHouse.
    /// Without it, the program is looked for beside the one that runs.
    #[must_use]
    pub fn with_program(mut self, program: PathBuf) -> Self {
        self.program = Some(program);
        self
    }

    /// Lets the data of parts stand on small disks of their own when they are started next.
    #[must_use]
    pub fn with_small_disks(mut self, disks: &[SmallDisk]) -> Self {
        self.disks = disks.to_vec();
        self
    }

    /// Raising it makes a running [`Stack::up`] clean up and return.
    pub fn interrupt(&self) -> Interrupt {
        self.interrupt.clone()
    }

    pub(crate) fn say(&self, line: &str) {
        (self.report)(line);
    }

    pub(crate) fn interrupt_check(&self) -> Result<(), StackError> {
        self.interrupt.check()
    }

    /// The stack's folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Its downloads.
    pub(crate) fn cache(&self) -> &Cache {
        &self.cache
    }

    /// The processes that belong to parts that run.
    pub(crate) fn pids(&self) -> Vec<i32> {
        let slots = Part::ALL.map(|part| self.slot(part));
        let pids = slots.iter().flat_map(|slot| [slot.running(), slot.worker()]);
        pids.flatten().map(|pid| pid.as_raw_nonzero().get()).collect()
    }

    /// Ends a part whatever holds its lock: who holds it has been killed.
    pub(crate) fn end(&self, part: Part, grace: Duration) -> Result<(), StackError> {
        self.slot(part).stop(grace)
    }

    /// Takes away the parts' data, logs and ports, and with `cache` the downloads, which
    /// other clones share. Returns the bytes that are free again.
    ///
    /// # Errors
    /// [`StackError::InUse`] while a part runs; [`StackError::Io`].
    pub fn clean(&self, cache: bool) -> Result<u64, StackError> {
        let _lock = self.lock()?;
        if let Some(&part) = self.running().first() {
            return Err(StackError::InUse(part));
        }
        self.drop_disks()?;
        let parts = Part::ALL.map(Part::name);
        let own = parts.iter().copied().chain(["logs", "ports"]).map(|name| self.folder.join(name));
        let mut freed = 0;
        for path in own {
            freed += size(&path);
            remove(&path).trying(|| format!("removing {}", path.display()))?;
        }
        if cache {
            let before = size(self.cache.root());
            Kit::forget(&self.cache, &self.interrupt)?;
            freed += before - size(self.cache.root()).min(before);
        }
        Ok(freed)
    }

    /// A part's log.
    pub fn log(&self, part: Part) -> PathBuf {
        self.folder.join("logs").join(format!("{part}.log"))
    }

    fn slot(&self, part: Part) -> Slot {
        let pid_file = self.folder.join("run").join(format!("{part}.pid"));
        let mark = format!("clicktrail.stack={part}@{}", self.folder.display());
        Slot { part, pid_file, log: self.log(part), mark }
    }

    fn lock(&self) -> Result<File, StackError> {
        lock(&self.folder.join("run").join("lock"), LOCK_WAIT, &self.interrupt)
    }

    fn port_file(&self) -> PathBuf {
        self.folder.join("ports")
    }

    /// The ports in use, or those that would be.
    ///
    /// # Errors
    /// As for choosing free ports, if that was asked for and none are remembered.
    pub fn ports(&self) -> Result<Ports, StackError> {
        let remembered = Ports::remembered(&self.port_file());
        if self.running().is_empty() {
            return Ports::choose(&self.choice, remembered);
        }
        remembered.map_or_else(|| Ports::choose(&self.choice, None), Ok)
    }

    /// Parts whose process lives.
    pub fn running(&self) -> Vec<Part> {
        Part::ALL.into_iter().filter(|&part| self.slot(part).running().is_some()).collect()
    }

    /// Downloads what is missing, and starts nothing.
    ///
    /// # Errors
    /// A missing program, a failed download, a wrong checksum.
    pub fn fetch(&self) -> Result<Kit, StackError> {
        Kit::fetch(&self.cache, &*self.report, &self.interrupt)
    }

    /// Starts every part that does not run and waits until all answer. Returns those that
    /// it started. If anything fails, or on an interrupt, it stops them again.
    ///
    /// # Errors
    /// Any of [`StackError`]; the stack is then as it was before.
    pub fn up(&self) -> Result<Vec<Part>, StackError> {
        self.up_parts(&Part::ALL)
    }

    /// As [`Stack::up`], of some parts only; one that this stack does not have is left out.
    ///
    /// # Errors
    /// As [`Stack::up`].
    pub fn up_parts(&self, parts: &[Part]) -> Result<Vec<Part>, StackError> {
        let _lock = self.lock()?;
        let running = self.running();
        let remembered = Ports::remembered(&self.port_file());
        let ports = Ports::choose(&self.choice, remembered)?;
        if !running.is_empty() && remembered.is_some_and(|remembered| remembered != ports) {
            return Err(StackError::PortsInUse);
        }
        if remembered.is_some_and(|remembered| remembered.brokers() != ports.brokers())
            && self.folder.join(Part::Kafka.name()).join("data").exists()
        {
            return Err(StackError::BrokersDiffer);
        }
        let missing = parts.iter().copied().filter(|part| ports.has(*part));
        let missing: Vec<Part> = missing.filter(|part| !running.contains(part)).collect();
        for &part in &missing {
            ports.check_free(part)?;
        }
        ports.remember(&self.port_file())?;
        let kit = self.fetch()?;
        let mut made = Vec::new();
        let wanted = self.disks.iter().filter(|disk| parts.contains(&disk.part));
        let disks = wanted.copied().try_for_each(|disk| {
            made.extend(self.make_disk(disk)?.then_some(disk.part));
            Ok(())
        });
        let started = disks.and_then(|()| self.start_all(&missing, &kit, &ports));
        if started.is_err() {
            for part in missing.iter().rev() {
                // The first error is the one to report.
                self.slot(*part).stop(Duration::from_secs(3)).ok();
            }
            made.into_iter().for_each(|part| drop(self.drop_disk(part)));
        }
        started.map(|()| missing)
    }

    /// The registry is started before the broker answers: it keeps asking for a minute, and
    /// its own start takes longest.
    fn start_all(&self, parts: &[Part], kit: &Kit, ports: &Ports) -> Result<(), StackError> {
        for &part in parts {
            self.interrupt.check()?;
            self.start(part, kit, ports)?;
        }
        parts.iter().try_for_each(|&part| self.wait(part, ports))
    }

    fn start(&self, part: Part, kit: &Kit, ports: &Ports) -> Result<(), StackError> {
        let slot = self.slot(part);
        let folder = self.folder.join(part.name());
        let launch = match part {
            Part::Kafka | Part::Kafka2 | Part::Kafka3 => {
                kafka::prepare(&slot, &folder, &kit.kafka_libs, ports, &self.interrupt)?
            }
            Part::ClickHouse => {
                clickhouse::prepare(&slot, &folder, &kit.engine, self.program()?, ports)?
            }
            Part::Registry => registry::prepare(&slot, &folder, &kit.registry_jar, ports)?,
        };
        slot.start(&launch)?;
        (self.report)(&format!("{part}: starting on {}", ports.address(part)));
        Ok(())
    }

    fn wait(&self, part: Part, ports: &Ports) -> Result<(), StackError> {
        self.slot(part).wait(READY_WAIT, &self.interrupt, || serves(part, ports))?;
        (self.report)(&format!("{part}: ready"));
        Ok(())
    }

    /// Stops every part that runs, in the reverse order of their start. Data stays.
    ///
    /// # Errors
    /// [`StackError::Unkillable`], [`StackError::Locked`].
    pub fn down(&self) -> Result<Vec<Part>, StackError> {
        let _lock = self.lock()?;
        // One whose pid file is gone is stopped, too.
        let runs = |part: &Part| self.slot(*part).runs();
        let running: Vec<Part> = Part::ALL.into_iter().filter(runs).collect();
        self.stop_parts(&running)?;
        Ok(running)
    }

    /// Stops some parts; what an interrupt asked for before does not keep it from that.
    ///
    /// # Errors
    /// As [`Stack::down`].
    pub fn stop_parts(&self, parts: &[Part]) -> Result<(), StackError> {
        let stop = |part: Part| {
            self.slot(part).stop(grace(part))?;
            (self.report)(&format!("{part}: stopped"));
            Ok(())
        };
        let of_these = |part: &Part| parts.contains(part);
        let (brokers, others): (Vec<_>, Vec<_>) =
            Part::ALL.into_iter().rev().filter(of_these).partition(|part| part.is_broker());
        let stopped: Vec<_> = others.into_iter().map(stop).collect();
        // At once: the last of three would wait in vain for others to take over its partitions.
        let brokers = std::thread::scope(|scope| {
            let threads: Vec<_> =
                brokers.into_iter().map(|part| scope.spawn(move || stop(part))).collect();
            threads.into_iter().filter_map(|thread| thread.join().ok()).collect::<Vec<_>>()
        });
        stopped.into_iter().chain(brokers).collect()
    }

    /// A part that this stack has and that runs.
    fn living(&self, part: Part) -> Result<Slot, StackError> {
        if !self.ports()?.has(part) {
            return Err(StackError::NotInStack(part));
        }
        let slot = self.slot(part);
        slot.running().ok_or(StackError::NotRunning(part))?;
        Ok(slot)
    }

    /// Ends a part's process at once, as a crash would, and waits until it is gone.
    ///
    /// # Errors
    /// [`StackError::NotRunning`], [`StackError::NotInStack`], [`StackError::Unkillable`].
    pub fn kill(&self, part: Part) -> Result<(), StackError> {
        self.living(part)?.stop(Duration::ZERO)?;
        (self.report)(&format!("{part}: killed"));
        Ok(())
    }

    /// Ends the process of ClickHouse's engine behind the front, which starts it again.
    ///
    /// # Errors
    /// As [`Stack::kill`].
    pub fn crash_engine(&self) -> Result<(), StackError> {
        self.slot(Part::ClickHouse).crash_worker()?;
        (self.report)("clickhouse: its engine has ended");
        Ok(())
    }

    /// Stops a part if it runs, starts it again on its ports and waits until it answers.
    ///
    /// # Errors
    /// As [`Stack::up`].
    pub fn restart(&self, part: Part) -> Result<(), StackError> {
        let _lock = self.lock()?;
        let ports = self.ports()?;
        if !ports.has(part) {
            return Err(StackError::NotInStack(part));
        }
        self.slot(part).stop(grace(part))?;
        ports.check_free(part)?;
        let kit = self.fetch()?;
        let started = self.start(part, &kit, &ports).and_then(|()| self.wait(part, &ports));
        if started.is_err() {
            self.slot(part).stop(Duration::ZERO).ok();
        }
        started
    }

    /// Makes a part stand still, connections open: the fault of a machine that hangs. Waits
    /// until it does.
    ///
    /// # Errors
    /// [`StackError::NotRunning`], [`StackError::NotInStack`], [`StackError::Restless`].
    pub fn pause(&self, part: Part) -> Result<(), StackError> {
        let slot = self.living(part)?;
        slot.signal(Signal::STOP)?;
        if !slot.stands() {
            return Err(StackError::Restless(part));
        }
        (self.report)(&format!("{part}: stands still"));
        Ok(())
    }

    /// Lets a paused part go on.
    ///
    /// # Errors
    /// [`StackError::NotRunning`], [`StackError::NotInStack`].
    pub fn resume(&self, part: Part) -> Result<(), StackError> {
        self.living(part)?.signal(Signal::CONT)?;
        (self.report)(&format!("{part}: goes on"));
        Ok(())
    }

    /// What each part does.
    ///
    /// # Errors
    /// As [`Stack::ports`].
    pub fn status(&self) -> Result<Vec<Status>, StackError> {
        let ports = self.ports()?;
        let status = |part| {
            let pid = self.slot(part).worker().map(|pid| pid.as_raw_nonzero().get());
            let serves = pid.is_some() && serves(part, &ports);
            Status { part, pid, serves, address: ports.address(part) }
        };
        Ok(Part::ALL.into_iter().filter(|part| ports.has(*part)).map(status).collect())
    }

    /// The variables by which programs find the parts, in the order to print them.
    ///
    /// # Errors
    /// As [`Stack::ports`].
    pub fn env(&self) -> Result<Vec<(&'static str, String)>, StackError> {
        let ports = self.ports()?;
        let registry =
            format!("http://{}{}", ports.address(Part::Registry), registry::CONFLUENT_PATH);
        let libs = Kit::in_cache(&self.cache).kafka_libs;
        Ok(vec![
            ("KAFKA_BROKERS", ports.bootstrap()),
            ("SCHEMA_REGISTRY_URL", registry),
            ("CLICKHOUSE_URL", format!("http://{}", ports.address(Part::ClickHouse))),
            ("CLICKHOUSE_USER", clickhouse::USER.0.to_owned()),
            ("CLICKHOUSE_PASSWORD", clickhouse::USER.1.to_owned()),
            ("CLICKHOUSE_DATABASE", clickhouse::DATABASE.to_owned()),
            ("CLICKHOUSE_READONLY_USER", clickhouse::READER.0.to_owned()),
            ("CLICKHOUSE_READONLY_PASSWORD", clickhouse::READER.1.to_owned()),
            ("KAFKA_LIBS", libs.display().to_string()),
        ])
    }

    /// Our own program if it is `stack`, else the one that cargo built beside it.
    pub(crate) fn program(&self) -> Result<PathBuf, StackError> {
        if let Some(program) = &self.program {
            return Ok(program.clone());
        }
        let own = std::env::current_exe().trying(|| "looking for our own program".to_owned())?;
        // Tests run from `target/debug/deps`, other programs from `target/debug`.
        let folders = own.ancestors().skip(1).take(2);
        let mut candidates = folders.map(|folder| folder.join("stack"));
        candidates.find(|path| path.is_file()).ok_or(StackError::NoProgram(own.clone()))
    }
}

fn serves(part: Part, ports: &Ports) -> bool {
    match part {
        Part::Kafka | Part::Kafka2 | Part::Kafka3 => kafka::serves(ports.address(part)),
        Part::ClickHouse => clickhouse::serves(ports),
        Part::Registry => registry::serves(ports),
    }
}

/// How long a part gets between SIGTERM and SIGKILL.
fn grace(part: Part) -> Duration {
    match part {
        Part::Kafka | Part::Kafka2 | Part::Kafka3 | Part::ClickHouse => Duration::from_secs(15),
        Part::Registry => Duration::from_secs(5),
    }
}
