//! One thing that is wrong with a dashboard, and where.

use std::fmt;

use crate::dashboard::{Dashboard, Panel};

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LintFinding {
    /// The `uid` of the dashboard.
    pub dashboard: String,
    /// The panel, the variable or the annotation; empty for the dashboard.
    pub place: String,
    /// What is wrong, and what is right.
    pub text: String,
}

impl fmt::Display for LintFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place.as_str() {
            "" => write!(f, "{}: {}", self.dashboard, self.text),
            place => write!(f, "{}, {place}: {}", self.dashboard, self.text),
        }
    }
}

/// The findings about one dashboard.
#[derive(Debug)]
pub(crate) struct Findings<'a> {
    uid: &'a str,
    found: Vec<LintFinding>,
}

impl<'a> Findings<'a> {
    /// None yet.
    pub(crate) fn of(dashboard: &'a Dashboard) -> Self {
        Self { uid: &dashboard.uid, found: Vec::new() }
    }

    /// All of them.
    pub(crate) fn all(self) -> Vec<LintFinding> {
        self.found
    }

    /// Adds one.
    pub(crate) fn add(&mut self, place: &str, text: impl Into<String>) {
        let (dashboard, place) = (self.uid.to_owned(), place.to_owned());
        self.found.push(LintFinding { dashboard, place, text: text.into() });
    }
}

/// How findings name a panel.
pub(crate) fn named(panel: &Panel) -> String {
    match panel.title.as_str() {
        "" => format!("panel {}", panel.id),
        title => format!("panel \"{title}\""),
    }
}
