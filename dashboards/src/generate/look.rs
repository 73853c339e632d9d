//! The one look of all dashboards: units, colours, and thresholds.

use serde_json::{Value, json};

/// The unit of a value, by Grafana's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// A text as it is. Without it, Grafana would show the text `1000` as a number.
    Text,
    /// A number with all its digits.
    Count,
    /// A number in short form, such as 12.3 K.
    Short,
    /// A share of 1, shown as a percentage.
    Share,
    /// Seconds.
    Seconds,
    /// Events a second.
    PerSecond,
    /// Requests a second.
    RequestsPerSecond,
    /// A moment, with its date.
    Moment,
    /// A moment, by its distance from now.
    Ago,
}

impl Unit {
    /// Grafana's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Text => "string",
            Self::Count => "locale",
            Self::Short => "short",
            Self::Share => "percentunit",
            Self::Seconds => "s",
            Self::PerSecond => "cps",
            Self::RequestsPerSecond => "reqps",
            Self::Moment => "dateTimeAsIso",
            Self::Ago => "dateTimeFromNow",
        }
    }
}

/// A colour, by what it means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Colour {
    /// People, and values of no other meaning.
    People,
    /// Machines.
    Bots,
    /// The range that is compared with.
    Before,
    /// As it should be, or grown.
    Good,
    /// Needs attention soon.
    Warning,
    /// Not as it should be, or shrunk.
    Bad,
    /// Not known.
    Unknown,
}

impl Colour {
    /// Grafana's name, which has a light and a dark variant.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::People => "blue",
            Self::Bots => "orange",
            Self::Before => "#8e8e8e",
            Self::Good => "green",
            Self::Warning => "yellow",
            Self::Bad => "red",
            Self::Unknown => "text",
        }
    }
}

/// One colour for all values.
pub(crate) fn fixed(colour: Colour) -> Value {
    json!({ "mode": "fixed", "fixedColor": colour.name() })
}

/// Thresholds: the colour of the lowest values, then that of the values from each limit on.
pub(crate) fn thresholds(lowest: Colour, steps: &[(f64, Colour)]) -> Value {
    let mut list = vec![json!({ "value": null, "color": lowest.name() })];
    list.extend(
        steps.iter().map(|(value, colour)| json!({ "value": value, "color": colour.name() })),
    );
    json!({ "mode": "absolute", "steps": list })
}
