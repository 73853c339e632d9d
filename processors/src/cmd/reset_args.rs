//! What `offsets reset` and `replay skip` have in common: arguments, and how a reset is printed.

use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use crate::cmd::dlq::actor::ActorArgs;
use crate::cmd::dlq::table::Table;
use crate::config::Servers;
use crate::resets::equivalent_commands::{EquivalentCommands, ResetNames};
use crate::resets::group_reset::{GroupReset, Members, default_wait};
use crate::resets::reset_target::ResetTarget;

/// Arguments of a reset.
#[derive(Debug, Args)]
pub(in crate::cmd) struct ResetArgs {
    /// Name of the consumer group.
    #[arg(long, env = "CLICKTRAIL_GROUP", default_value = "clicktrail-processors")]
    pub(in crate::cmd) group: String,
    /// Seconds that the members may take to leave the group; by default the session timeout and five seconds.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=3600))]
    wait_seconds: Option<u64>,
    /// Print what would be committed, and change nothing.
    #[arg(long)]
    pub(in crate::cmd) dry_run: bool,
    /// Print one JSON object.
    #[arg(long)]
    pub(in crate::cmd) json: bool,
    #[command(flatten)]
    actor: ActorArgs,
}

impl ResetArgs {
    /// Members that leave the group.
    pub(in crate::cmd) fn leave(&self, servers: &Servers) -> Members {
        let wait = self.wait_seconds.map(Duration::from_secs);
        Members::Leave(wait.unwrap_or_else(|| default_wait(servers)))
    }

    /// Who runs the command.
    pub(in crate::cmd) fn actor(&self) -> &str {
        self.actor.name()
    }
}

/// A reset that can be printed.
#[derive(Debug)]
pub(in crate::cmd) struct ShownReset<'a> {
    reset: &'a GroupReset<'a>,
    equivalent: EquivalentCommands,
    topic: String,
}

impl<'a> ShownReset<'a> {
    /// The reset to `target`.
    pub(in crate::cmd) fn of(
        servers: &Servers,
        reset: &'a GroupReset<'_>,
        target: &ResetTarget,
    ) -> Self {
        let topic = servers.kafka.topic.to_string();
        let brokers = servers.kafka.brokers().servers;
        let names = ResetNames { brokers: &brokers, group: &reset.group, topic: &topic };
        let equivalent = EquivalentCommands::of(names, target, &reset.targets);
        Self { reset, equivalent, topic }
    }

    /// The positions as a table, and the commands of other tools.
    pub(in crate::cmd) fn lines(&self) -> Vec<String> {
        let headings = ["PARTITION", "FIRST", "END", "COMMITTED", "TARGET", "CHANGE"];
        let row = |(own, target): (&i32, &i64)| {
            let facts = self.reset.facts.get(own)?;
            let committed = facts.committed.map_or("-".to_owned(), |at| at.to_string());
            let change = facts.committed.map_or("-".to_owned(), |at| format!("{:+}", target - at));
            let [low, high, target] = [facts.low, facts.high, *target].map(|it| it.to_string());
            Some(vec![own.to_string(), low, high, committed, target, change])
        };
        let rows = self.reset.targets.iter().filter_map(row).collect();
        let mut lines = Table::new(&headings).lines(rows);
        lines.push(format!("group: {}, topic: {}", self.reset.group, self.topic));
        let EquivalentCommands { kafka, rpk } = &self.equivalent;
        let names = &self.reset.static_names;
        if !names.is_empty() {
            lines.push(format!(
                "static members, which leave the group only when their sessions time out: {}; give \
                 --wait-seconds more than their session.timeout.ms, or stop them first",
                names.join(", ")
            ));
        }
        lines.push("the same by other tools, once the group has no members:".to_owned());
        lines.extend(kafka.iter().chain([rpk]).map(|command| format!("  {command}")));
        lines
    }

    /// The same as JSON, without what happens to it.
    pub(in crate::cmd) fn object(&self) -> Value {
        let row = |(own, target): (&i32, &i64)| {
            let facts = self.reset.facts.get(own)?;
            Some(json!({
                "partition": own,
                "first": facts.low,
                "end": facts.high,
                "committed": facts.committed,
                "target": target,
            }))
        };
        let EquivalentCommands { kafka, rpk } = &self.equivalent;
        json!({
            "group": self.reset.group,
            "topic": self.topic,
            "static_members": self.reset.static_names,
            "positions": self.reset.targets.iter().filter_map(row).collect::<Vec<_>>(),
            "kafka": kafka,
            "rpk": rpk,
        })
    }
}
