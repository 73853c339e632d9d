//! The commands that start and stop parts, fetch what they need and remove what they leave.

use std::time::Duration;

use crate::cache::{remove, size};
use crate::disk::{PartDisk, SmallDisk};
use crate::error::{IoContext as _, StackError};
use crate::fetch::Downloads;
use crate::part::Part;
use crate::ports::Ports;
use crate::preview::page;
use crate::stack::Stack;
use crate::{alertmanager, clickhouse, kafka, prometheus, registry};

/// How long a part may take until it answers; ten times what it takes on two idle cores.
const READY_WAIT: Duration = Duration::from_secs(120);

impl Stack {
    /// Downloads what is missing, and starts nothing.
    ///
    /// # Errors
    /// A missing program, a failed download, a wrong checksum.
    pub fn fetch(&self) -> Result<Downloads, StackError> {
        Downloads::fetch(self.cache(), self.reporter(), &self.interrupt())
    }

    /// As [`Stack::fetch`], and builds the page of the preview meanwhile. Without it everything else works: its
    /// failure is a line of the report.
    ///
    /// # Errors
    /// As [`Stack::fetch`].
    pub fn fetch_with_preview(&self) -> Result<Downloads, StackError> {
        std::thread::scope(|scope| {
            let page = scope.spawn(|| self.build_preview());
            let fetched = self.fetch();
            if let Ok(Err(error)) = page.join() {
                self.report(&format!("preview: not built, all else works: {}", error.cause()));
            }
            fetched
        })
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
        let recorded = Ports::recorded(&self.port_file());
        let ports = Ports::choose(self.choice(), recorded)?;
        if !running.is_empty() && recorded.is_some_and(|recorded| !ports.keeps(&recorded)) {
            return Err(StackError::PortsInUse);
        }
        if recorded.is_some_and(|recorded| recorded.brokers() != ports.brokers())
            && self.folder().join(Part::Kafka.name()).join("data").exists()
        {
            return Err(StackError::BrokersDiffer);
        }
        let missing = parts.iter().copied().filter(|part| ports.has(*part));
        let missing: Vec<Part> = missing.filter(|part| !running.contains(part)).collect();
        for &part in &missing {
            ports.check_free(part)?;
        }
        ports.record(&self.port_file())?;
        let downloads = self.fetch()?;
        let mut mounted = Vec::new();
        let disks = self.small_disks().iter().filter(|disk| parts.contains(&disk.part));
        let disks = disks.copied().try_for_each(|disk| {
            mounted.extend(self.mount_disk(disk)?.then_some(disk.part));
            Ok(())
        });
        let started = disks.and_then(|()| self.start_all(&missing, &downloads, &ports));
        if started.is_err() {
            for part in missing.iter().rev() {
                // The first error is the one to report.
                self.process(*part).stop(Duration::from_secs(3)).ok();
            }
            mounted.into_iter().for_each(|part| drop(self.unmount_disk(part)));
        }
        started.map(|()| missing)
    }

    /// The registry is started before the broker answers: it retries for a minute, and its own
    /// start takes longest.
    fn start_all(
        &self,
        parts: &[Part],
        downloads: &Downloads,
        ports: &Ports,
    ) -> Result<(), StackError> {
        for &part in parts {
            self.check_interrupt()?;
            self.start(part, downloads, ports)?;
        }
        parts.iter().try_for_each(|&part| self.wait(part, ports))
    }

    fn start(&self, part: Part, downloads: &Downloads, ports: &Ports) -> Result<(), StackError> {
        let process = self.process(part);
        let folder = self.folder().join(part.name());
        let launch = match part {
            Part::Kafka | Part::Kafka2 | Part::Kafka3 => {
                kafka::prepare(&process, &folder, &downloads.kafka_libs, ports, &self.interrupt())?
            }
            Part::ClickHouse => {
                clickhouse::prepare(&process, &folder, &downloads.engine, self.program()?, ports)?
            }
            Part::Registry => registry::prepare(&process, &folder, &downloads.registry_jar, ports)?,
            Part::Alertmanager => {
                prometheus::list_alertmanagers(self.folder(), ports)?;
                alertmanager::prepare(&process, &folder, ports)?
            }
            Part::Prometheus => {
                prometheus::list_alertmanagers(self.folder(), ports)?;
                prometheus::prepare(&process, &folder, ports)?
            }
        };
        process.start(&launch)?;
        self.report(&format!("{part}: starting on {}", ports.address(part)));
        Ok(())
    }

    fn wait(&self, part: Part, ports: &Ports) -> Result<(), StackError> {
        self.process(part).wait(READY_WAIT, &self.interrupt(), || serves(part, ports))?;
        self.report(&format!("{part}: ready"));
        Ok(())
    }

    /// Stops every part that runs, in the reverse order of their start. Data stays.
    ///
    /// # Errors
    /// [`StackError::Unkillable`], [`StackError::Locked`].
    pub fn down(&self) -> Result<Vec<Part>, StackError> {
        let _lock = self.lock()?;
        // A part whose pid file is missing is stopped, too.
        let runs = |part: &Part| self.process(*part).is_present();
        let running: Vec<Part> = Part::ALL.into_iter().filter(runs).collect();
        self.stop_parts(&running)?;
        Ok(running)
    }

    /// Stops some parts, also after an interrupt.
    ///
    /// # Errors
    /// As [`Stack::down`].
    pub fn stop_parts(&self, parts: &[Part]) -> Result<(), StackError> {
        let stop = |part: Part| {
            self.process(part).stop(grace(part))?;
            self.report(&format!("{part}: stopped"));
            Ok(())
        };
        let of_these = |part: &Part| parts.contains(part);
        let (brokers, others): (Vec<_>, Vec<_>) =
            Part::ALL.into_iter().rev().filter(of_these).partition(|part| part.is_broker());
        let stopped: Vec<_> = others.into_iter().map(stop).collect();
        // In parallel: the last of three would wait in vain for others to take over its partitions.
        let brokers = std::thread::scope(|scope| {
            let threads: Vec<_> =
                brokers.into_iter().map(|part| scope.spawn(move || stop(part))).collect();
            threads.into_iter().filter_map(|thread| thread.join().ok()).collect::<Vec<_>>()
        });
        stopped.into_iter().chain(brokers).collect()
    }

    /// Mounts a disk if it is not mounted, and returns whether it did. One that is mounted gets its
    /// new limit.
    fn mount_disk(&self, SmallDisk { part, bytes }: SmallDisk) -> Result<bool, StackError> {
        let disk = PartDisk::new(self.folder(), part);
        if disk.is_mounted() {
            let usage = disk.set_limit(bytes)?;
            self.report(&format!("{part}: its disk: {usage}"));
            return Ok(false);
        }
        if self.running().contains(&part) {
            return Err(StackError::InUse(part));
        }
        disk.mount(bytes)?;
        self.report(&format!("{part}: its data is on a disk of {bytes} bytes, in memory"));
        Ok(true)
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
        self.process(part).stop(grace(part))?;
        ports.check_free(part)?;
        let downloads = self.fetch()?;
        let started = self.start(part, &downloads, &ports).and_then(|()| self.wait(part, &ports));
        if started.is_err() {
            self.process(part).stop(Duration::ZERO).ok();
        }
        started
    }

    /// Removes the parts' data, logs and ports, and with `cache` the downloads, which other
    /// clones share. Returns the bytes that are freed.
    ///
    /// # Errors
    /// [`StackError::InUse`] while a part runs; [`StackError::Io`].
    pub fn clean(&self, cache: bool) -> Result<u64, StackError> {
        let _lock = self.lock()?;
        if let Some(&part) = self.running().first() {
            return Err(StackError::InUse(part));
        }
        Part::ALL.into_iter().try_for_each(|part| self.unmount_disk(part))?;
        let parts = Part::ALL.map(Part::name);
        let own =
            parts.iter().copied().chain(["logs", "ports"]).map(|name| self.folder().join(name));
        let mut freed = 0;
        for path in own {
            freed += size(&path);
            remove(&path).io_context(|| format!("removing {}", path.display()))?;
        }
        if cache {
            let before = size(self.cache().root());
            Downloads::remove(self.cache(), &self.interrupt())?;
            page::remove(self.cache(), &self.interrupt())?;
            freed += before - size(self.cache().root()).min(before);
        }
        Ok(freed)
    }
}

/// Whether a part answers.
pub(crate) fn serves(part: Part, ports: &Ports) -> bool {
    match part {
        Part::Kafka | Part::Kafka2 | Part::Kafka3 => kafka::serves(ports.address(part)),
        Part::ClickHouse => clickhouse::serves(ports),
        Part::Registry => registry::serves(ports),
        Part::Alertmanager => alertmanager::serves(ports),
        Part::Prometheus => prometheus::serves(ports),
    }
}

/// How long a part gets between SIGTERM and SIGKILL.
fn grace(part: Part) -> Duration {
    match part {
        Part::Kafka | Part::Kafka2 | Part::Kafka3 | Part::ClickHouse => Duration::from_secs(15),
        Part::Registry | Part::Alertmanager | Part::Prometheus => Duration::from_secs(5),
    }
}
