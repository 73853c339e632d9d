//! Alertmanager, with `--with alertmanager`: Debian's, with the shipped configuration.

use std::path::{Path, PathBuf};

use crate::error::StackError;
use crate::http_probe;
use crate::part::Part;
use crate::ports::Ports;
use crate::prerequisites::need;
use crate::process::{Launch, PartProcess};
use crate::prometheus::write;

const PROGRAM: &str = "prometheus-alertmanager";
const CONFIGURATION: &str = include_str!("../../deploy/prometheus/alertmanager.yml");

/// Its version.
///
/// # Errors
/// [`StackError::Prerequisite`] if it is not installed.
pub(crate) fn program() -> Result<String, StackError> {
    need(PROGRAM, &["--version"], "Alertmanager", "prometheus-alertmanager")
}

/// How to start it. A configuration that is there already is kept, so that it can be edited.
pub(crate) fn prepare(
    process: &PartProcess,
    folder: &Path,
    ports: &Ports,
) -> Result<Launch, StackError> {
    program()?;
    let configuration = folder.join("alertmanager.yml");
    if !configuration.exists() {
        write(&configuration, CONFIGURATION)?;
    }
    let arguments = vec![
        "--config.file".into(),
        configuration.into(),
        "--storage.path".into(),
        folder.join("data").into(),
        "--web.listen-address".into(),
        ports.address(Part::Alertmanager).to_string().into(),
        // No cluster; so it does not read the address that it would announce.
        "--cluster.listen-address=".into(),
        "--cluster.advertise-address".into(),
        process.mark.clone().into(),
    ];
    Ok(Launch {
        program: PathBuf::from(PROGRAM),
        arguments,
        variables: Vec::new(),
        folder: folder.to_owned(),
    })
}

/// Whether it accepts alerts.
pub(crate) fn serves(ports: &Ports) -> bool {
    http_probe::http_status(ports.address(Part::Alertmanager), "/-/ready") == Some(200)
}
