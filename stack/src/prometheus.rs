//! Prometheus, with `--with prometheus`: Debian's, with the files of `deploy/prometheus`, for services that
//! run on this machine.

use std::path::{Path, PathBuf};

use crate::error::{IoContext as _, StackError};
use crate::http_probe;
use crate::part::Part;
use crate::ports::Ports;
use crate::prerequisites::need;
use crate::process::{Launch, PartProcess};

const PROGRAM: &str = "prometheus";
const CONFIGURATION: &str = include_str!("../../deploy/prometheus/prometheus.yml");
/// Each file of rules, by its name in the folder of rules.
const RULES: [(&str, &str); 6] = [
    ("audit.yml", include_str!("../../deploy/prometheus/rules/audit.yml")),
    ("dead_letters.yml", include_str!("../../deploy/prometheus/rules/dead_letters.yml")),
    ("links.yml", include_str!("../../deploy/prometheus/rules/links.yml")),
    ("processors.yml", include_str!("../../deploy/prometheus/rules/processors.yml")),
    ("producer.yml", include_str!("../../deploy/prometheus/rules/producer.yml")),
    ("servers.yml", include_str!("../../deploy/prometheus/rules/servers.yml")),
];

/// Its version.
///
/// # Errors
/// [`StackError::Prerequisite`] if it is not installed.
pub(crate) fn program() -> Result<String, StackError> {
    need(PROGRAM, &["--version"], "Prometheus", "prometheus")
}

/// Whether it is installed.
pub fn has_prometheus() -> bool {
    program().is_ok()
}

/// How to start it. A configuration that is there already is kept, so that it can be edited; the rules
/// are written at each start.
pub(crate) fn prepare(
    process: &PartProcess,
    folder: &Path,
    ports: &Ports,
) -> Result<Launch, StackError> {
    program()?;
    let configuration = folder.join("prometheus.yml");
    if !configuration.exists() {
        write(&configuration, &on_loopback(CONFIGURATION))?;
    }
    for (name, text) in RULES {
        write(&folder.join("rules").join(name), text)?;
    }
    let arguments = vec![
        "--config.file".into(),
        configuration.into(),
        "--storage.tsdb.path".into(),
        folder.join("data").into(),
        "--web.listen-address".into(),
        ports.address(Part::Prometheus).to_string().into(),
        // An argument that changes nothing but a title.
        "--web.page-title".into(),
        process.mark.clone().into(),
    ];
    Ok(Launch {
        program: PathBuf::from(PROGRAM),
        arguments,
        variables: Vec::new(),
        folder: folder.to_owned(),
    })
}

/// Whether it answers queries.
pub(crate) fn serves(ports: &Ports) -> bool {
    http_probe::http_status(ports.address(Part::Prometheus), "/-/ready") == Some(200)
}

/// Lists the stack's Alertmanager, if it has one, in the file that Prometheus watches.
pub(crate) fn list_alertmanagers(stack: &Path, ports: &Ports) -> Result<(), StackError> {
    let address = ports.has(Part::Alertmanager).then(|| ports.address(Part::Alertmanager));
    let list = address
        .map_or_else(|| "[]\n".to_owned(), |address| format!("[{{targets: [\"{address}\"]}}]\n"));
    write(&stack.join(Part::Prometheus.name()).join("alertmanagers.yml"), &list)
}

/// Writes a file and creates its folder.
pub(crate) fn write(file: &Path, text: &str) -> Result<(), StackError> {
    let folder = file.parent().map_or(Ok(()), std::fs::create_dir_all);
    folder
        .and_then(|()| std::fs::write(file, text))
        .io_context(|| format!("writing {}", file.display()))
}

/// A job without a target here: the stack's engine has no endpoint for Prometheus.
const WITHOUT_TARGET: &str = "names: [clickhouse]";

/// The configuration with this machine in place of the names of containers, at the same ports.
fn on_loopback(configuration: &str) -> String {
    let rewrite = |line: &str| match line.split_once("dns_sd_configs:") {
        Some((indent, found)) if found.contains(WITHOUT_TARGET) => {
            format!("{indent}static_configs: []\n")
        }
        Some((indent, found)) => {
            let port = found.split_once("port: ").map_or("", |(_, port)| port);
            let port = port.trim_end_matches(['}', ']']);
            format!("{indent}static_configs: [{{targets: [\"127.0.0.1:{port}\"]}}]\n")
        }
        None => format!("{line}\n"),
    };
    configuration.lines().map(rewrite).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_configuration_reads_this_machine() {
        let text = on_loopback(CONFIGURATION);
        for port in [9180, 9181, 9182] {
            let line = format!("    static_configs: [{{targets: [\"127.0.0.1:{port}\"]}}]\n");
            assert!(text.contains(&line), "{text}");
        }
        assert!(text.contains("job_name: clickhouse\n    static_configs: []\n"), "{text}");
        assert!(!text.contains("dns_sd"));
        assert_eq!(text.lines().count(), CONFIGURATION.lines().count());
    }

    #[test]
    fn every_shipped_file_of_rules_is_loaded() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/prometheus/rules");
        let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
        let names: Vec<_> = names.collect();
        assert!(RULES.iter().all(|(name, _)| names.iter().any(|own| own == *name)));
        assert_eq!(names.len(), RULES.len(), "{names:?}");
    }
}
