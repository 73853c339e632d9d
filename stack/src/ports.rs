//! The ports of the parts: defaults, the user's choice, free ones, and the file that records them.
//! Loopback only.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::str::FromStr;

use crate::error::{IoContext as _, StackError};
use crate::part::Part;

/// How many brokers a stack has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Brokers {
    /// One, which is enough for most purposes.
    One,
    /// Three, of which one may fail: a partition has three copies, and two must have what is acknowledged.
    Three,
}

/// A number of brokers that a stack cannot have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a stack has 1 broker or 3")]
pub struct InvalidBrokerCount;

impl FromStr for Brokers {
    type Err = InvalidBrokerCount;

    fn from_str(text: &str) -> Result<Self, InvalidBrokerCount> {
        match text {
            "1" => Ok(Self::One),
            "3" => Ok(Self::Three),
            _ => Err(InvalidBrokerCount),
        }
    }
}

/// The ports of one stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    /// Kafka's, for clients.
    pub kafka: u16,
    /// Kafka's, for its own controller.
    pub controller: u16,
    /// The second broker's, the second controller's, and so the third's, where there are three.
    pub others: Option<[u16; 4]>,
    /// The registry's.
    pub registry: u16,
    /// ClickHouse's HTTP.
    pub clickhouse: u16,
    /// Alertmanager's, if the stack has it.
    pub alertmanager: Option<u16>,
    /// Prometheus', if the stack has it.
    pub prometheus: Option<u16>,
}

impl Default for Ports {
    fn default() -> Self {
        Self::of_four([19092, 19093, 18081, 18123])
    }
}

/// The user's choice of ports. What is not chosen stays as it was, or at its default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PortChoice {
    /// Take free ports, unless some are recorded already.
    pub auto: bool,
    /// Four ports in a row: kafka, its controller, registry, clickhouse; then those of two
    /// more brokers and controllers, of alertmanager and of prometheus.
    pub base: Option<u16>,
    /// How many brokers; by default as many as there were, or one.
    pub brokers: Option<Brokers>,
    /// Kafka's; the others of brokers and controllers follow it.
    pub kafka: Option<u16>,
    /// The registry's.
    pub registry: Option<u16>,
    /// ClickHouse's.
    pub clickhouse: Option<u16>,
    /// Whether to add Alertmanager, which then stays in the stack.
    pub alertmanager: bool,
    /// Whether to add Prometheus, which then stays in the stack.
    pub prometheus: bool,
}

impl Ports {
    /// The ports to use, given those recorded before.
    ///
    /// # Errors
    /// Only for `auto`, if the machine has no free port.
    pub(crate) fn choose(choice: &PortChoice, recorded: Option<Self>) -> Result<Self, StackError> {
        let mut ports = match (choice.base, recorded) {
            (Some(base), _) => Self::of_four(row(base)),
            (None, Some(ports)) => ports,
            (None, None) if choice.auto => Self::of_four(free()?),
            (None, None) => Self::default(),
        };
        if let Some(port) = choice.kafka {
            ports.kafka = port;
            ports.controller = port.wrapping_add(1).max(1024);
        }
        ports.others = match choice.brokers.unwrap_or_else(|| ports.brokers()) {
            Brokers::One => None,
            Brokers::Three => Some(match (choice.kafka, choice.base, ports.others) {
                (Some(kafka), _, _) => row(kafka.saturating_add(2)),
                (None, Some(base), _) => row(base.saturating_add(4)),
                (None, None, Some(others)) => others,
                (None, None, None) if choice.auto => free()?,
                (None, None, None) => row(ports.controller.saturating_add(1)),
            }),
        };
        ports.registry = choice.registry.unwrap_or(ports.registry);
        ports.clickhouse = choice.clickhouse.unwrap_or(ports.clickhouse);
        if choice.alertmanager || choice.prometheus {
            let [alertmanager, prometheus] = match choice.base {
                Some(base) => [8, 9].map(|n| base.saturating_add(n)),
                None if choice.auto => free()?,
                None => MONITORS,
            };
            let chosen = |is_chosen: bool, port| is_chosen.then_some(port);
            ports.alertmanager = ports.alertmanager.or(chosen(choice.alertmanager, alertmanager));
            ports.prometheus = ports.prometheus.or(chosen(choice.prometheus, prometheus));
        }
        Ok(ports)
    }

    fn of_four([kafka, controller, registry, clickhouse]: [u16; 4]) -> Self {
        let (others, alertmanager, prometheus) = (None, None, None);
        Self { kafka, controller, others, registry, clickhouse, alertmanager, prometheus }
    }

    /// Whether parts that run with `before` keep their ports; a part that is added changes none.
    pub(crate) fn keeps(&self, before: &Self) -> bool {
        let fixed = |ports: &Self| Self { alertmanager: None, prometheus: None, ..*ports };
        fixed(self) == fixed(before)
    }

    /// How many brokers there are.
    pub fn brokers(&self) -> Brokers {
        if self.others.is_some() { Brokers::Three } else { Brokers::One }
    }

    /// Whether the stack has this part.
    pub fn has(&self, part: Part) -> bool {
        !self.of(part).is_empty()
    }

    /// The ports a part listens on, that of its clients first; none for one that is not there.
    pub(crate) fn of(&self, part: Part) -> Vec<u16> {
        match (part, self.others) {
            (Part::Kafka, _) => vec![self.kafka, self.controller],
            (Part::Kafka2, Some([clients, controller, _, _]))
            | (Part::Kafka3, Some([_, _, clients, controller])) => vec![clients, controller],
            (Part::Kafka2 | Part::Kafka3, None) => Vec::new(),
            (Part::Registry, _) => vec![self.registry],
            (Part::ClickHouse, _) => vec![self.clickhouse],
            (Part::Alertmanager, _) => self.alertmanager.into_iter().collect(),
            (Part::Prometheus, _) => self.prometheus.into_iter().collect(),
        }
    }

    /// Address of a part for its clients; port 0 for one that is not there.
    pub fn address(&self, part: Part) -> SocketAddr {
        let port = self.of(part).first().copied().unwrap_or_default();
        SocketAddr::from((Ipv4Addr::LOCALHOST, port))
    }

    /// Where clients find Kafka: every broker, a comma between two.
    pub fn bootstrap(&self) -> String {
        let brokers = Part::BROKERS.into_iter().filter(|part| self.has(*part));
        brokers.map(|part| self.address(part).to_string()).collect::<Vec<_>>().join(",")
    }

    /// # Errors
    /// [`StackError::PortBusy`] for the first port of `part` that another program has.
    pub(crate) fn check_free(&self, part: Part) -> Result<(), StackError> {
        for port in self.of(part) {
            TcpListener::bind((Ipv4Addr::LOCALHOST, port))
                .map_err(|_| StackError::PortBusy { part, port })?;
        }
        Ok(())
    }

    /// Reads what [`Ports::record`] wrote; `None` if nothing usable is there.
    pub(crate) fn recorded(file: &Path) -> Option<Self> {
        Self::parse(&std::fs::read_to_string(file).ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        let port = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            line?.trim().parse().ok()
        };
        let others =
            || Some([port(OTHERS[0])?, port(OTHERS[1])?, port(OTHERS[2])?, port(OTHERS[3])?]);
        Some(Self {
            kafka: port("kafka")?,
            controller: port("controller")?,
            others: others(),
            registry: port("registry")?,
            clickhouse: port("clickhouse")?,
            alertmanager: port("alertmanager"),
            prometheus: port("prometheus"),
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
        let others = self.others.into_iter().flat_map(|ports| OTHERS.into_iter().zip(ports));
        let monitors = [("alertmanager", self.alertmanager), ("prometheus", self.prometheus)];
        let monitors = monitors.into_iter().filter_map(|(name, port)| Some((name, port?)));
        for (name, port) in lines.into_iter().chain(others).chain(monitors) {
            // Writing to a string does not fail.
            writeln!(text, "{name}={port}").ok();
        }
        text
    }

    pub(crate) fn record(&self, file: &Path) -> Result<(), StackError> {
        std::fs::write(file, self.render()).io_context(|| format!("writing {}", file.display()))
    }
}

/// The names of the ports of more brokers in the file.
const OTHERS: [&str; 4] = ["kafka-2", "controller-2", "kafka-3", "controller-3"];

/// The ports of Alertmanager and of Prometheus, if none are chosen.
const MONITORS: [u16; 2] = [19098, 19099];

fn row(first: u16) -> [u16; 4] {
    [0, 1, 2, 3].map(|n| first.saturating_add(n))
}

fn free<const N: usize>() -> Result<[u16; N], StackError> {
    let find = || -> std::io::Result<[u16; N]> {
        // All are held at once so that they differ.
        let (mut ports, mut held) = ([0; N], Vec::with_capacity(N));
        for port in &mut ports {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            *port = listener.local_addr()?.port();
            held.push(listener);
        }
        Ok(ports)
    };
    find().io_context(|| "looking for free ports".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_brokers_have_their_own_ports_and_stay_three() {
        let three = PortChoice { brokers: Some(Brokers::Three), ..PortChoice::default() };
        let ports = Ports::choose(&three, None).unwrap();
        assert_eq!(ports.bootstrap(), "127.0.0.1:19092,127.0.0.1:19094,127.0.0.1:19096");
        assert_eq!(ports.of(Part::Kafka3), [19096, 19097]);
        let recorded = Ports::parse(&ports.render());
        assert_eq!(recorded, Some(ports));
        assert_eq!(Ports::choose(&PortChoice::default(), recorded).unwrap(), ports);
        let one = PortChoice { brokers: Some(Brokers::One), ..three };
        assert_eq!(Ports::choose(&one, recorded).unwrap(), Ports::default());
        let base = PortChoice { base: Some(6000), ..three };
        assert_eq!(Ports::choose(&base, recorded).unwrap().others, Some([6004, 6005, 6006, 6007]));
    }

    #[test]
    fn recorded_ports_are_read_back() {
        let ports = Ports { prometheus: Some(4009), ..Ports::of_four(row(4000)) };
        assert_eq!(Ports::parse(&ports.render()), Some(ports));
        assert_eq!(Ports::parse("kafka=1\n"), None);
    }

    #[test]
    fn a_choice_overrides_recorded_ports_and_those_override_free_ones() {
        let before = Ports::of_four(row(4000));
        let recorded = Some(before);
        let auto = PortChoice { auto: true, ..PortChoice::default() };
        assert_eq!(Ports::choose(&auto, recorded).unwrap(), before);
        let one = PortChoice { kafka: Some(5000), ..auto };
        let ports = Ports::choose(&one, recorded).unwrap();
        assert_eq!((ports.kafka, ports.controller, ports.registry), (5000, 5001, 4002));
        let base = PortChoice { base: Some(6000), ..auto };
        assert_eq!(Ports::choose(&base, recorded).unwrap(), Ports::of_four(row(6000)));
        assert_eq!(Ports::choose(&PortChoice::default(), None).unwrap(), Ports::default());
    }

    #[test]
    fn a_part_on_request_is_added_to_the_recorded_ones_and_stays() {
        let plain = Ports::default();
        assert!(!plain.has(Part::Prometheus) && !plain.has(Part::Alertmanager));
        let choice = PortChoice { prometheus: true, ..PortChoice::default() };
        let added = Ports::choose(&choice, Some(plain)).unwrap();
        assert_eq!((added.of(Part::Prometheus), added.alertmanager), (vec![19099], None));
        assert!(added.keeps(&plain), "running parts keep their ports");
        assert!(!added.keeps(&Ports { kafka: 1, ..plain }));
        assert_eq!(Ports::choose(&PortChoice::default(), Some(added)).unwrap(), added);
        let both = PortChoice { alertmanager: true, base: Some(6000), ..choice };
        let both = Ports::choose(&both, None).unwrap();
        assert_eq!((both.alertmanager, both.prometheus), (Some(6008), Some(6009)));
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
