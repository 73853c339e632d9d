//! Kafka in KRaft mode, one broker or three, each its own controller: their settings, their start,
//! and whether one serves. The product creates its topics; the broker creates none by itself.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::command::{log_tail, run_to_end};
use crate::error::{IoContext as _, StackError};
use crate::interrupt::Interrupt;
use crate::java;
use crate::part::Part;
use crate::ports::{Brokers, Ports};
use crate::prerequisites::need_java;
use crate::process::{Launch, PartProcess};

const LOG4J: &str = include_str!("../kafka/log4j2.properties");
/// Any 16 bytes in base64 will do, as long as they stay the same: these read `clicktrail-stack`.
const CLUSTER: &str = "Y2xpY2t0cmFpbC1zdGFjaw";

fn properties(ports: &Ports, part: Part, data: &Path) -> String {
    let listens = |part: Part| {
        let ports = ports.of(part);
        (ports.first().copied().unwrap_or_default(), ports.last().copied().unwrap_or_default())
    };
    let (clients, controller) = listens(part);
    let mut voters = Vec::new();
    let mut node = 0;
    for (number, broker) in (1..).zip(Part::BROKERS).filter(|(_, broker)| ports.has(*broker)) {
        voters.push(format!("{number}@127.0.0.1:{}", listens(broker).1));
        if broker == part {
            node = number;
        }
    }
    // An acknowledged record is on `least` brokers.
    let (copies, least) = match ports.brokers() {
        Brokers::One => (1, 1),
        Brokers::Three => (3, 2),
    };
    let mut text = String::new();
    for (name, value) in [
        ("process.roles", "broker,controller".to_owned()),
        ("node.id", node.to_string()),
        ("controller.quorum.voters", voters.join(",")),
        ("controller.listener.names", "CONTROLLER".to_owned()),
        (
            "listeners",
            format!("PLAINTEXT://127.0.0.1:{clients},CONTROLLER://127.0.0.1:{controller}"),
        ),
        ("advertised.listeners", format!("PLAINTEXT://127.0.0.1:{clients}")),
        ("listener.security.protocol.map", "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT".to_owned()),
        ("log.dirs", data.display().to_string()),
        ("auto.create.topics.enable", "false".to_owned()),
        // A single consumer should not wait for others.
        ("group.initial.rebalance.delay.ms", "0".to_owned()),
        ("default.replication.factor", copies.to_string()),
        ("min.insync.replicas", least.to_string()),
        ("offsets.topic.replication.factor", copies.to_string()),
        ("offsets.topic.num.partitions", "3".to_owned()),
        ("transaction.state.log.replication.factor", copies.to_string()),
        ("transaction.state.log.min.isr", least.to_string()),
        ("transaction.state.log.num.partitions", "2".to_owned()),
        ("share.coordinator.state.topic.replication.factor", copies.to_string()),
        ("share.coordinator.state.topic.min.isr", least.to_string()),
        ("share.coordinator.state.topic.num.partitions", "1".to_owned()),
        ("num.recovery.threads.per.data.dir", "2".to_owned()),
    ] {
        // Writing to a string does not fail.
        writeln!(text, "{name}={value}").ok();
    }
    text
}

/// Writes the settings, formats the storage the first time, and returns how to start the broker.
pub(crate) fn prepare(
    process: &PartProcess,
    folder: &Path,
    libs: &Path,
    ports: &Ports,
    interrupt: &Interrupt,
) -> Result<Launch, StackError> {
    need_java()?;
    let what = || format!("preparing Kafka in {}", folder.display());
    let data = folder.join("data");
    std::fs::create_dir_all(&data).io_context(what)?;
    let (settings, log4j) = (folder.join("server.properties"), folder.join("log4j2.properties"));
    std::fs::write(&settings, properties(ports, process.part, &data)).io_context(what)?;
    std::fs::write(&log4j, LOG4J).io_context(what)?;
    // Three brokers must not need three times the memory.
    let heap = if ports.brokers() == Brokers::One { "512m" } else { "256m" };
    let mut arguments = java::flags(&process.mark, folder, heap)?;
    arguments.push(format!("-Dlog4j2.configurationFile={}", log4j.display()));
    arguments.extend(["-cp".to_owned(), format!("{}/*", libs.display())]);
    if !data.join("meta.properties").exists() {
        format_storage(process, &arguments, &settings, interrupt)?;
    }
    arguments.push("kafka.Kafka".to_owned());
    arguments.push(settings.display().to_string());
    let arguments = arguments.into_iter().map(Into::into).collect();
    Ok(Launch {
        program: PathBuf::from("java"),
        arguments,
        variables: Vec::new(),
        folder: folder.to_owned(),
    })
}

fn format_storage(
    process: &PartProcess,
    java: &[String],
    settings: &Path,
    interrupt: &Interrupt,
) -> Result<(), StackError> {
    let log = process.log.with_extension("format.log");
    let mut command = Command::new("java");
    command
        .args(java)
        .args(["kafka.tools.StorageTool", "format", "--ignore-formatted", "-t", CLUSTER, "-c"])
        .arg(settings);
    if run_to_end(&mut command, &log, interrupt)?.success() {
        return Ok(());
    }
    let how = "cannot format its storage".to_owned();
    let tail = log_tail(&log, 20);
    Err(StackError::NotReady { part: process.part, how, log, tail })
}

/// Whether a broker names itself in the cluster's metadata (version 0, all topics): a broker that
/// is still fenced listens, but is not in it.
pub(crate) fn serves(address: SocketAddr) -> bool {
    let is_listed = || -> std::io::Result<bool> {
        let wait = Duration::from_secs(2);
        let mut stream = TcpStream::connect_timeout(&address, wait)?;
        stream.set_read_timeout(Some(wait))?;
        // Length, Metadata (3) version 0, correlation 1, no client id, no topic named.
        stream.write_all(&[0, 0, 0, 14, 0, 3, 0, 0, 0, 0, 0, 1, 0xff, 0xff, 0, 0, 0, 0])?;
        // Length, correlation, how many brokers; of each its number, host and port.
        read::<8>(&mut stream)?;
        for _ in 0..u32::from_be_bytes(read(&mut stream)?) {
            read::<4>(&mut stream)?;
            for _ in 0..u16::from_be_bytes(read(&mut stream)?) {
                read::<1>(&mut stream)?;
            }
            if u32::from_be_bytes(read(&mut stream)?) == u32::from(address.port()) {
                return Ok(true);
            }
        }
        Ok(false)
    };
    is_listed().unwrap_or(false)
}

fn read<const N: usize>(stream: &mut TcpStream) -> std::io::Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_hold_the_ports_and_the_folder() {
        let ports = Ports { kafka: 7, controller: 8, ..Ports::default() };
        let text = properties(&ports, Part::Kafka, Path::new("/d"));
        assert!(text.contains("advertised.listeners=PLAINTEXT://127.0.0.1:7\n"));
        assert!(text.contains("controller.quorum.voters=1@127.0.0.1:8\n"));
        assert!(text.contains("log.dirs=/d\n"));
        assert!(text.contains("\nmin.insync.replicas=1\n"));
    }

    #[test]
    fn each_of_three_brokers_has_a_number_and_knows_the_others() {
        let ports =
            Ports { kafka: 7, controller: 8, others: Some([1, 2, 3, 4]), ..Ports::default() };
        let text = properties(&ports, Part::Kafka3, Path::new("/d"));
        for line in [
            "node.id=3",
            "controller.quorum.voters=1@127.0.0.1:8,2@127.0.0.1:2,3@127.0.0.1:4",
            "listeners=PLAINTEXT://127.0.0.1:3,CONTROLLER://127.0.0.1:4",
            "default.replication.factor=3",
            "min.insync.replicas=2",
            "offsets.topic.replication.factor=3",
        ] {
            assert!(text.contains(&format!("\n{line}\n")), "{line}");
        }
    }
}
