//! A stack in one folder: its settings, its files, and its parts' processes. The commands are in
//! files of their own. Everything blocks; an async caller runs it on a thread.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::cache::{Cache, lock};
use crate::disk::{PartDisk, SmallDisk};
use crate::error::{IoContext as _, StackError};
use crate::interrupt::Interrupt;
use crate::part::Part;
use crate::ports::{PortChoice, Ports};
use crate::process::PartProcess;

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

impl Stack {
    /// A stack in `folder`, created if it does not exist, with downloads from `cache`. Starts nothing.
    ///
    /// # Errors
    /// [`StackError::Io`] if the folder cannot be created.
    pub fn open(folder: &Path, cache: Cache, choice: PortChoice) -> Result<Self, StackError> {
        let what = || format!("creating the folder {}", folder.display());
        std::fs::create_dir_all(folder).io_context(what)?;
        let folder = folder.canonicalize().io_context(what)?;
        for inner in ["run", "logs"] {
            std::fs::create_dir_all(folder.join(inner)).io_context(what)?;
        }
        std::fs::write(folder.join(".gitignore"), "*\n").io_context(what)?;
        let report = Arc::new(|_: &str| {});
        let interrupt = Interrupt::default();
        Ok(Self { folder, cache, choice, interrupt, report, program: None, disks: Vec::new() })
    }

    /// Reports what it does, line by line, to `report`.
    #[must_use]
    pub fn reporting(mut self, report: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.report = Arc::new(report);
        self
    }

    /// Uses `program` as the `stack` program, whose `front` subcommand takes the place of ClickHouse.
    /// Without it, the program is searched for beside the one that runs.
    #[must_use]
    pub fn with_program(mut self, program: PathBuf) -> Self {
        self.program = Some(program);
        self
    }

    /// Puts the data of parts on small disks of their own at their next start.
    #[must_use]
    pub fn with_small_disks(mut self, disks: &[SmallDisk]) -> Self {
        self.disks = disks.to_vec();
        self
    }

    /// When it is raised, a running [`Stack::up`] cleans up and returns.
    pub fn interrupt(&self) -> Interrupt {
        self.interrupt.clone()
    }

    /// Reports one line to the caller.
    pub(crate) fn report(&self, line: &str) {
        (self.report)(line);
    }

    /// How lines are reported.
    pub(crate) fn reporter(&self) -> &(dyn Fn(&str) + Send + Sync) {
        &*self.report
    }

    /// # Errors
    /// [`StackError::Interrupted`] once the interrupt was raised.
    pub(crate) fn check_interrupt(&self) -> Result<(), StackError> {
        self.interrupt.check()
    }

    /// The choice of ports.
    pub(crate) fn choice(&self) -> &PortChoice {
        &self.choice
    }

    /// The small disks that parts are to have.
    pub(crate) fn small_disks(&self) -> &[SmallDisk] {
        &self.disks
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
        let processes = Part::ALL.map(|part| self.process(part));
        let pids = processes.iter().flat_map(|process| [process.running(), process.worker()]);
        pids.flatten().map(|pid| pid.as_raw_nonzero().get()).collect()
    }

    /// Ends a part without the lock, which a killed command may hold.
    pub(crate) fn end(&self, part: Part, grace: Duration) -> Result<(), StackError> {
        self.process(part).stop(grace)
    }

    /// A part's log.
    pub fn log(&self, part: Part) -> PathBuf {
        self.folder.join("logs").join(format!("{part}.log"))
    }

    /// A part's process.
    pub(crate) fn process(&self, part: Part) -> PartProcess {
        let pid_file = self.folder.join("run").join(format!("{part}.pid"));
        let mark = format!("clicktrail.stack={part}@{}", self.folder.display());
        PartProcess { part, pid_file, log: self.log(part), mark }
    }

    /// Waits until no other command uses the folder.
    pub(crate) fn lock(&self) -> Result<File, StackError> {
        lock(&self.folder.join("run").join("lock"), LOCK_WAIT, &self.interrupt)
    }

    /// The file that records the ports.
    pub(crate) fn port_file(&self) -> PathBuf {
        self.folder.join("ports")
    }

    /// The ports in use, or those that would be.
    ///
    /// # Errors
    /// As for choosing free ports, if the choice is `auto` and none are recorded.
    pub fn ports(&self) -> Result<Ports, StackError> {
        let recorded = Ports::recorded(&self.port_file());
        if self.running().is_empty() {
            return Ports::choose(&self.choice, recorded);
        }
        recorded.map_or_else(|| Ports::choose(&self.choice, None), Ok)
    }

    /// Parts whose process runs.
    pub fn running(&self) -> Vec<Part> {
        Part::ALL.into_iter().filter(|&part| self.process(part).running().is_some()).collect()
    }

    /// Unmounts a part's small disk, if it has one.
    pub(crate) fn unmount_disk(&self, part: Part) -> Result<(), StackError> {
        let disk = PartDisk::new(&self.folder, part);
        if !disk.is_mounted() {
            return Ok(());
        }
        if self.running().contains(&part) {
            return Err(StackError::InUse(part));
        }
        disk.unmount()
    }

    /// A part that this stack has and that runs.
    pub(crate) fn running_process(&self, part: Part) -> Result<PartProcess, StackError> {
        if !self.ports()?.has(part) {
            return Err(StackError::NotInStack(part));
        }
        let process = self.process(part);
        process.running().ok_or(StackError::NotRunning(part))?;
        Ok(process)
    }

    /// Our own program if it is `stack`, else the one that cargo built beside it.
    pub(crate) fn program(&self) -> Result<PathBuf, StackError> {
        if let Some(program) = &self.program {
            return Ok(program.clone());
        }
        let own =
            std::env::current_exe().io_context(|| "finding the running program".to_owned())?;
        // Tests run from `target/debug/deps`, other programs from `target/debug`.
        let folders = own.ancestors().skip(1).take(2);
        let mut candidates = folders.map(|folder| folder.join("stack"));
        candidates.find(|path| path.is_file()).ok_or(StackError::NoProgram(own.clone()))
    }
}
