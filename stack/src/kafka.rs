//! Kafka in KRaft mode, one node: its settings, its start, and the question whether
//! it serves. Topics are the product's to create; the broker makes none by itself.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::error::{StackError, Trying as _};
use crate::fetch::need_java;
use crate::java;
use crate::part::Part;
use crate::ports::Ports;
use crate::process::{Interrupt, Launch, Slot, run_to_end, tail};

const LOG4J: &str = include_str!("../kafka/log4j2.properties");
/// Any 16 bytes in base64 will do, as long as they stay the same: these read `clicktrail-stack`.
const CLUSTER: &str = "Y2xpY2t0cmFpbC1zdGFjaw";

fn properties(ports: &Ports, data: &Path) -> String {
    let (clients, controller) = (ports.kafka, ports.controller);
    let mut text = String::new();
    for (name, value) in [
        ("process.roles", "broker,controller".to_owned()),
        ("node.id", "1".to_owned()),
        ("controller.quorum.voters", format!("1@127.0.0.1:{controller}")),
        ("controller.listener.names", "CONTROLLER".to_owned()),
        (
            "listeners",
            format!("PLAINTEXT://127.0.0.1:{clients},CONTROLLER://127.0.0.1:{controller}"),
        ),
        ("advertised.listeners", format!("PLAINTEXT://127.0.0.1:{clients}")),
        ("listener.security.protocol.map", "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT".to_owned()),
        ("log.dirs", data.display().to_string()),
        ("auto.create.topics.enable", "false".to_owned()),
        // A lone consumer should not wait for others that never come.
        ("group.initial.rebalance.delay.ms", "0".to_owned()),
        ("offsets.topic.replication.factor", "1".to_owned()),
        ("offsets.topic.num.partitions", "3".to_owned()),
        ("transaction.state.log.replication.factor", "1".to_owned()),
        ("transaction.state.log.min.isr", "1".to_owned()),
        ("transaction.state.log.num.partitions", "2".to_owned()),
        ("share.coordinator.state.topic.replication.factor", "1".to_owned()),
        ("share.coordinator.state.topic.min.isr", "1".to_owned()),
        ("share.coordinator.state.topic.num.partitions", "1".to_owned()),
        ("num.recovery.threads.per.data.dir", "2".to_owned()),
    ] {
        // Writing to a string does not fail.
        writeln!(text, "{name}={value}").ok();
    }
    text
}

/// Writes the settings, formats the storage the first time, and says how to start the broker.
pub(crate) fn prepare(
    slot: &Slot,
    folder: &Path,
    libs: &Path,
    ports: &Ports,
    interrupt: &Interrupt,
) -> Result<Launch, StackError> {
    need_java()?;
    let what = || format!("preparing Kafka in {}", folder.display());
    let data = folder.join("data");
    std::fs::create_dir_all(&data).trying(what)?;
    let (settings, log4j) = (folder.join("server.properties"), folder.join("log4j2.properties"));
    std::fs::write(&settings, properties(ports, &data)).trying(what)?;
    std::fs::write(&log4j, LOG4J).trying(what)?;
    let mut arguments = java::flags(&slot.mark, folder, "512m")?;
    arguments.push(format!("-Dlog4j2.configurationFile={}", log4j.display()));
    arguments.extend(["-cp".to_owned(), format!("{}/*", libs.display())]);
    if !data.join("meta.properties").exists() {
        format_storage(slot, &arguments, &settings, interrupt)?;
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
    slot: &Slot,
    java: &[String],
    settings: &Path,
    interrupt: &Interrupt,
) -> Result<(), StackError> {
    let log = slot.log.with_extension("format.log");
    let mut command = Command::new("java");
    command
        .args(java)
        .args(["kafka.tools.StorageTool", "format", "--ignore-formatted", "-t", CLUSTER, "-c"])
        .arg(settings);
    if run_to_end(&mut command, &log, interrupt)?.success() {
        return Ok(());
    }
    let how = "cannot format its storage".to_owned();
    let tail = tail(&log, 20);
    Err(StackError::NotReady { part: Part::Kafka, how, log, tail })
}

/// Asks for the cluster's metadata (version 0, all topics) and wants to hear of one broker:
/// a broker that still is fenced listens, but is not in it.
pub(crate) fn serves(address: SocketAddr) -> bool {
    let ask = || -> std::io::Result<u32> {
        let wait = Duration::from_secs(2);
        let mut stream = TcpStream::connect_timeout(&address, wait)?;
        stream.set_read_timeout(Some(wait))?;
        // Length, Metadata (3) version 0, correlation 1, no client id, no topic named.
        stream.write_all(&[0, 0, 0, 14, 0, 3, 0, 0, 0, 0, 0, 1, 0xff, 0xff, 0, 0, 0, 0])?;
        let mut head = [0; 12];
        stream.read_exact(&mut head)?;
        Ok(u32::from_be_bytes([head[8], head[9], head[10], head[11]]))
    };
    ask().is_ok_and(|brokers| brokers >= 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_hold_the_ports_and_the_folder() {
        let ports = Ports { kafka: 7, controller: 8, ..Ports::default() };
        let text = properties(&ports, Path::new("/d"));
        assert!(text.contains("advertised.listeners=PLAINTEXT://127.0.0.1:7\n"));
        assert!(text.contains("controller.quorum.voters=1@127.0.0.1:8\n"));
        assert!(text.contains("log.dirs=/d\n"));
    }
}
