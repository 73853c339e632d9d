//! The state of the parts, and the variables with their addresses.

use std::net::SocketAddr;

use crate::clickhouse;
use crate::error::StackError;
use crate::fetch::Downloads;
use crate::lifecycle::serves;
use crate::part::Part;
use crate::registry;
use crate::stack::Stack;

/// The state of one part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartStatus {
    /// The part.
    pub part: Part,
    /// Its process, if one runs.
    pub pid: Option<i32>,
    /// Whether it answers.
    pub serves: bool,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Stack {
    /// The state of each part.
    ///
    /// # Errors
    /// As [`Stack::ports`].
    pub fn status(&self) -> Result<Vec<PartStatus>, StackError> {
        let ports = self.ports()?;
        let status = |part| {
            let pid = self.process(part).worker().map(|pid| pid.as_raw_nonzero().get());
            let serves = pid.is_some() && serves(part, &ports);
            PartStatus { part, pid, serves, address: ports.address(part) }
        };
        Ok(Part::ALL.into_iter().filter(|part| ports.has(*part)).map(status).collect())
    }

    /// The variables with the addresses of the parts, in the order to print them.
    ///
    /// # Errors
    /// As [`Stack::ports`].
    pub fn env(&self) -> Result<Vec<(&'static str, String)>, StackError> {
        let ports = self.ports()?;
        let registry =
            format!("http://{}{}", ports.address(Part::Registry), registry::CONFLUENT_PATH);
        let libs = Downloads::in_cache(self.cache()).kafka_libs;
        let mut variables = vec![
            ("KAFKA_BROKERS", ports.bootstrap()),
            ("SCHEMA_REGISTRY_URL", registry),
            ("CLICKHOUSE_URL", format!("http://{}", ports.address(Part::ClickHouse))),
            ("CLICKHOUSE_USER", clickhouse::USER.0.to_owned()),
            ("CLICKHOUSE_PASSWORD", clickhouse::USER.1.to_owned()),
            ("CLICKHOUSE_DATABASE", clickhouse::DATABASE.to_owned()),
            ("CLICKHOUSE_READONLY_USER", clickhouse::READER.0.to_owned()),
            ("CLICKHOUSE_READONLY_PASSWORD", clickhouse::READER.1.to_owned()),
            ("KAFKA_LIBS", libs.display().to_string()),
        ];
        let monitors =
            [("ALERTMANAGER_URL", Part::Alertmanager), ("PROMETHEUS_URL", Part::Prometheus)];
        let monitors = monitors.into_iter().filter(|(_, part)| ports.has(*part));
        variables
            .extend(monitors.map(|(name, part)| (name, format!("http://{}", ports.address(part)))));
        Ok(variables)
    }
}
