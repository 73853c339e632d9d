//! Apicurio Registry on Kafka's own storage: its start, and whether it answers the
//! Confluent protocol. Its schemas are stored in a topic of the stack's brokers.

use std::path::{Path, PathBuf};

use crate::error::StackError;
use crate::http_probe;
use crate::java;
use crate::part::Part;
use crate::ports::Ports;
use crate::process::{Launch, PartProcess};

/// The path of the Confluent protocol.
pub(crate) const CONFLUENT_PATH: &str = "/apis/ccompat/v7";

/// How to start the registry.
pub(crate) fn prepare(
    process: &PartProcess,
    folder: &Path,
    jar: &Path,
    ports: &Ports,
) -> Result<Launch, StackError> {
    let mut arguments = java::flags(&process.mark, folder, "384m")?;
    arguments.extend([
        // Halves the start; the registry gets a few requests a minute.
        "-XX:TieredStopAtLevel=1".to_owned(),
        "-Dquarkus.http.host=127.0.0.1".to_owned(),
        format!("-Dquarkus.http.port={}", ports.registry),
        "-Dapicurio.storage.kind=kafkasql".to_owned(),
        format!("-Dapicurio.kafkasql.bootstrap.servers={}", ports.bootstrap()),
        "-jar".to_owned(),
        jar.display().to_string(),
    ]);
    let arguments = arguments.into_iter().map(Into::into).collect();
    Ok(Launch {
        program: PathBuf::from("java"),
        arguments,
        variables: Vec::new(),
        folder: folder.to_owned(),
    })
}

/// Whether the registry lists its subjects.
pub(crate) fn serves(ports: &Ports) -> bool {
    http_probe::http_status(ports.address(Part::Registry), &format!("{CONFLUENT_PATH}/subjects"))
        == Some(200)
}
