//! Which ports the parts listen on: defaults, the user's choice, free ones, and the
//! file that remembers them. Loopback only.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;

use crate::error::{StackError, Trying as _};
use crate::part::Part;

/// The ports of one stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    /// Kafka's, for clients.
    pub kafka: u16,
    /// Kafka's, for its own controller.
    pub controller: u16,
    /// The registry's.
    pub registry: u16,
    /// ClickHouse's HTTP.
    pub clickhouse: u16,
}

impl Default for Ports {
    fn default() -> Self {
        Self { kafka: 19092, controller: 19093, registry: 18081, clickhouse: 18123 }
    }
}

/// What the user said about ports. What is not said stays as it was, or at its default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PortChoice {
    /// Take free ports, unless some are remembered already.
    pub auto: bool,
    /// Four ports in a row: kafka, its controller, registry, clickhouse.
    pub base: Option<u16>,
    /// Kafka's.
    pub kafka: Option<u16>,
    /// The registry's.
    pub registry: Option<u16>,
    /// ClickHouse's.
    pub clickhouse: Option<u16>,
}

impl Ports {
    /// The ports to use, given those remembered from before.
    ///
    /// # Errors
    /// Only for `auto`, if the machine has no free port.
    pub(crate) fn choose(
        choice: &PortChoice,
        remembered: Option<Self>,
    ) -> Result<Self, StackError> {
        let mut ports = match (choice.base, remembered) {
            (Some(base), _) => Self::from_base(base),
            (None, Some(ports)) => ports,
            (None, None) if choice.auto => Self::free()?,
            (None, None) => Self::default(),
        };
        if let Some(port) = choice.kafka {
            ports.kafka = port;
            ports.controller = port.wrapping_add(1).max(1024);
        }
        ports.registry = choice.registry.unwrap_or(ports.registry);
        ports.clickhouse = choice.clickhouse.unwrap_or(ports.clickhouse);
        Ok(ports)
    }

    fn from_base(base: u16) -> Self {
        let port = |n: u16| base.saturating_add(n);
        Self { kafka: port(0), controller: port(1), registry: port(2), clickhouse: port(3) }
    }

    fn free() -> Result<Self, StackError> {
        let bind = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
        let ports = || -> std::io::Result<Self> {
            // All four are held at once so that they differ.
            let held = [bind()?, bind()?, bind()?, bind()?];
            let port = |n: usize| held[n].local_addr().map(|address| address.port());
            Ok(Self {
                kafka: port(0)?,
                controller: port(1)?,
                registry: port(2)?,
                clickhouse: port(3)?,
            })
        };
        ports().trying(|| "looking for free ports".to_owned())
    }

    /// The ports a part listens on, that of its clients first.
    pub(crate) fn of(&self, part: Part) -> Vec<u16> {
        match part {
            Part::Kafka => vec![self.kafka, self.controller],
            Part::Registry => vec![self.registry],
            Part::ClickHouse => vec![self.clickhouse],
        }
    }

    /// Address of a part for its clients.
    pub fn address(&self, part: Part) -> SocketAddr {
        let port = match part {
            Part::Kafka => self.kafka,
            Part::Registry => self.registry,
            Part::ClickHouse => self.clickhouse,
        };
        SocketAddr::from((Ipv4Addr::LOCALHOST, port))
    }

    /// # Errors
    /// [`StackError::PortBusy`] for the first port of `part` that someone else holds.
    pub(crate) fn check_free(&self, part: Part) -> Result<(), StackError> {
        for port in self.of(part) {
            TcpListener::bind((Ipv4Addr::LOCALHOST, port))
                .map_err(|_| StackError::PortBusy { part, port })?;
        }
        Ok(())
    }

    /// Reads what [`Ports::remember`] wrote; `None` if nothing usable is there.
    pub(crate) fn remembered(file: &Path) -> Option<Self> {
        Self::parse(&std::fs::read_to_string(file).ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        let port = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            line?.trim().parse().ok()
        };
        Some(Self {
            kafka: port("kafka")?,
            controller: port("controller")?,
            registry: port("registry")?,
            clickhouse: port("clickhouse")?,
        })
    }

    fn render(&self) -> String {
        let mut text = String::new();
        let lines = [
            ("kafka", self.kafka),
            ("controller", self.controller),
            ("registry", self.registry),
            ("clickhouse", self.clickhouse),
        ];
        for (name, port) in lines {
            // Writing to a string does not fail.
            writeln!(text, "{name}={port}").ok();
        }
        text
    }

    pub(crate) fn remember(&self, file: &Path) -> Result<(), StackError> {
        std::fs::write(file, self.render()).trying(|| format!("writing {}", file.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembered_ports_come_back() {
        let ports = Ports::from_base(4000);
        assert_eq!(Ports::parse(&ports.render()), Some(ports));
        assert_eq!(Ports::parse("kafka=1\n"), None);
    }

    #[test]
    fn a_choice_wins_over_memory_and_memory_over_chance() {
        let before = Ports::from_base(4000);
        let memory = Some(before);
        let auto = PortChoice { auto: true, ..PortChoice::default() };
        assert_eq!(Ports::choose(&auto, memory).unwrap(), before);
        let one = PortChoice { kafka: Some(5000), ..auto };
        let ports = Ports::choose(&one, memory).unwrap();
        assert_eq!((ports.kafka, ports.controller, ports.registry), (5000, 5001, 4002));
        let base = PortChoice { base: Some(6000), ..auto };
        assert_eq!(Ports::choose(&base, memory).unwrap(), Ports::from_base(6000));
        assert_eq!(Ports::choose(&PortChoice::default(), None).unwrap(), Ports::default());
    }

    #[test]
    fn a_taken_port_is_named() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        let ports = Ports { clickhouse: port, ..Ports::default() };
        let error = ports.check_free(Part::ClickHouse).unwrap_err().to_string();
        assert!(
            error.contains(&port.to_string()) && error.contains("--clickhouse-port"),
            "{error}"
        );
    }
}
