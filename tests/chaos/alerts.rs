//! `chaos alerts`: breaks one part after another, and waits until the alert of each pages and ends.
//!
//! Prometheus and Alertmanager have the shipped files, in which every duration is divided by 60. The run holds if
//! the webhook is called for each alert twice: when it fires, and when it is resolved.

use std::time::{Duration, Instant};

use anyhow::Result;
use harness::{Backends, DividedAlerts, Processors, Server, Signal, Visitors, World};
use stack::{Part, Stack};

const LINKS: &str = r#"{"slug":"a","url":"https://example.com/"}"#;
const PAUSE: Duration = Duration::from_millis(20);

/// What is broken, and the alert that names it.
#[derive(Debug, Clone, Copy)]
enum Breakage {
    StoppedTable,
    StoppedBroker,
    FrozenProcessor,
    FrozenProducer,
}

/// The parts that a breakage may stop.
struct Parts<'s> {
    stack: &'s Stack,
    server: Server,
    processors: Processors,
}

impl Breakage {
    const ALL: [Self; 4] =
        [Self::StoppedTable, Self::StoppedBroker, Self::FrozenProcessor, Self::FrozenProducer];

    fn alert(self) -> &'static str {
        match self {
            Self::StoppedTable => "NoRowsInserted",
            Self::StoppedBroker => "BrokersDisconnected",
            Self::FrozenProcessor => "ProcessorsDown",
            Self::FrozenProducer => "ProducerDown",
        }
    }

    fn begin(self, parts: &Parts<'_>) -> Result<()> {
        match self {
            Self::StoppedTable => parts.stack.kill(Part::ClickHouse)?,
            Self::StoppedBroker => parts.stack.kill(Part::Kafka)?,
            Self::FrozenProcessor => parts.processors.signal(Signal::STOP),
            Self::FrozenProducer => parts.server.signal(Signal::STOP),
        }
        Ok(())
    }

    fn end(self, parts: &Parts<'_>) -> Result<()> {
        match self {
            Self::StoppedTable => parts.stack.restart(Part::ClickHouse)?,
            Self::StoppedBroker => parts.stack.restart(Part::Kafka)?,
            Self::FrozenProcessor => parts.processors.signal(Signal::CONT),
            Self::FrozenProducer => parts.server.signal(Signal::CONT),
        }
        Ok(())
    }
}

/// Breaks each part once. A page, or its end, that does not come within a minute ends the run with a panic.
pub fn run(stack: &Stack, report_line: &dyn Fn(&str)) -> Result<()> {
    let world = World::on(Backends::on(stack), "alerts");
    world.setup();
    let parts =
        Parts { stack, server: world.serve(LINKS, &[]), processors: world.processors(&[], &[]) };
    let targets =
        [("producer", parts.server.admin.as_str()), ("processors", &parts.processors.admin)];
    let rules = ["producer.yml", "processors.yml"].map(str::to_owned);
    let alerts = DividedAlerts::start(&targets, &rules);
    let visitors = Visitors::default();
    for breakage in Breakage::ALL {
        let broken = || -> Result<()> {
            let (alert, began) = (breakage.alert(), Instant::now());
            breakage.begin(&parts)?;
            alerts.call(alert, "firing");
            let fired = began.elapsed().as_secs_f64();
            breakage.end(&parts)?;
            alerts.call(alert, "resolved");
            let resolved = began.elapsed().as_secs_f64();
            report_line(&format!(
                "{breakage:?}: {alert} after {fired:.1} s, its end after {resolved:.1} s"
            ));
            Ok(())
        };
        let (_, broken) = visitors.during(&parts.server.url, 1, PAUSE, broken);
        broken?;
    }
    Ok(())
}
