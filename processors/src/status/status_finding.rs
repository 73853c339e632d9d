//! What is wrong with the pipeline, or is not known: one line with its heading in the RUNBOOK. Pure.

use std::fmt;

use broker::ServerError;
use records::dead_letters::shown_text::shown;
use serde_json::{Value, json};

use crate::status::alert_condition::AlertCondition;
use crate::status::finding_level::FindingLevel;

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusFinding {
    /// How urgent it is.
    pub level: FindingLevel,
    /// Name of the alert, code of an error, or a heading.
    pub name: String,
    /// Heading of the RUNBOOK, as a link names it.
    pub heading: String,
    /// The part, and what is wrong with it.
    pub text: String,
    /// The command to run next.
    pub next: String,
}

impl StatusFinding {
    /// A condition that an alert has, too.
    pub(super) fn alert(condition: AlertCondition, text: String, next: String) -> Self {
        let heading = condition.heading().unwrap_or("page-2-symptoms").to_owned();
        let (level, name) = (condition.level(), condition.to_string());
        Self { level, name, heading, text, next }
    }

    /// What a heading describes.
    pub(super) fn of_heading(heading: &str, text: String, next: String) -> Self {
        let name = heading.to_owned();
        Self { level: FindingLevel::Wrong, heading: name.clone(), name, text, next }
    }

    /// A problem of `/readyz`: as urgent as the alerts that have its heading.
    pub(super) fn of_problem(heading: &str, text: String, next: String) -> Self {
        let level = AlertCondition::level_of(heading);
        Self { level, ..Self::of_heading(heading, text, next) }
    }

    /// The same, of a part that did not answer.
    pub(super) fn unknown(self) -> Self {
        Self { level: FindingLevel::Unknown, ..self }
    }

    /// What a part answered in place of its facts. It is wrong if no wait can end it; else the part did not
    /// answer, or not now.
    pub(super) fn of_error(part: &str, error: &ServerError, next: String) -> Self {
        let address = part.rsplit(' ').next().unwrap_or_default();
        let message = error.message.strip_prefix(address).and_then(|rest| rest.strip_prefix(": "));
        let text = format!("{part}: {}", message.unwrap_or(&error.message));
        let finding = Self::of_heading(error.code, text, next);
        let is_refused = matches!(error.code, "registry_access" | "registry_not_found");
        if error.is_retryable() && !is_refused { finding.unknown() } else { finding }
    }

    /// As JSON.
    pub fn object(&self) -> Value {
        json!({
            "level": self.level.name(),
            "name": self.name,
            "text": self.text,
            "runbook": format!("RUNBOOK.md#{}", self.heading),
            "next": self.next,
        })
    }
}

impl fmt::Display for StatusFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { level, name, heading, text, next } = self;
        let (text, next) = (shown(text), shown(next));
        write!(f, "{}: {name}: {text} (RUNBOOK.md#{heading}; next: {next})", level.name())
    }
}
