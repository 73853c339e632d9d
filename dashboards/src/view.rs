//! The choices of a viewer, and the text of a query that the server receives for them.

use std::collections::BTreeMap;

use crate::dashboard::{Dashboard, Panel};
use crate::expand_error::ExpandError;
use crate::interval::{in_all_units, in_largest_unit, interval_ms, parsed_ms};
use crate::macros;
use crate::variables::{Format, references};

/// The points of a panel that states no highest number: about its pixels.
const POINTS: u32 = 1_000;
/// The interval at which Prometheus reads metrics, as its data source is provisioned.
const SCRAPE_SECONDS: i64 = 15;

/// The choices of a viewer of a dashboard.
#[derive(Debug, Clone)]
pub struct View {
    /// Begin of the range, in seconds since 1970.
    pub from: i64,
    /// Its end.
    pub to: i64,
    /// Seconds of one step of a line.
    pub interval: i64,
    /// The name of the viewer's time zone.
    pub zone: String,
    /// The values of each variable: one of a variable with a single value, `$__all` for "All".
    pub values: BTreeMap<String, Vec<String>>,
}

impl View {
    /// What a viewer sees who chose a range and nothing else.
    #[must_use]
    pub fn of(dashboard: &Dashboard, from: i64, to: i64, zone: &str) -> Self {
        let variables = dashboard.variables().iter();
        let values = variables.map(|variable| (variable.name.clone(), variable.default_values()));
        let interval = seconds(interval_ms((to - from) * 1_000, POINTS, 1_000));
        Self { from, to, interval, zone: zone.to_owned(), values: values.collect() }
    }

    /// This view with the interval of a panel: at most as many points as it or `points` states, and no step below its
    /// shortest one.
    #[must_use]
    pub fn at(&self, panel: &Panel, points: Option<u32>) -> Self {
        let points = panel.max_data_points.or(points).unwrap_or(POINTS);
        let least = panel.interval.as_deref().and_then(parsed_ms).unwrap_or(1).max(1_000);
        let interval = seconds(interval_ms((self.to - self.from) * 1_000, points, least));
        Self { interval, ..self.clone() }
    }

    /// This view with one other value of a variable.
    #[must_use]
    pub fn with(&self, name: &str, value: &str) -> Self {
        let mut view = self.clone();
        view.values.insert(name.to_owned(), vec![value.to_owned()]);
        view
    }

    /// The SQL that ClickHouse receives.
    ///
    /// # Errors
    /// When the text has a variable, a format or a macro that does not exist.
    pub fn sql(&self, raw: &str) -> Result<String, ExpandError> {
        let conditions = macros::conditions(self, raw)?;
        let replaced = self.replaced(&conditions, Format::Quoted, |name| {
            // What the page does not know is left to the plugin's backend.
            name.starts_with("__").then_some(())
        })?;
        macros::backend(self, &macros::ad_hoc_filters(&replaced)?)
    }

    /// The expression that Prometheus receives.
    ///
    /// # Errors
    /// When the text has a variable, a format or a macro that does not exist.
    pub fn promql(&self, raw: &str) -> Result<String, ExpandError> {
        self.replaced(raw, Format::Promql, |_| None)
    }

    /// The step of an expression of Prometheus, in seconds: no shorter than the interval at which metrics are read.
    #[must_use]
    pub fn step(&self) -> i64 {
        self.interval.max(SCRAPE_SECONDS)
    }

    /// The text with the values of variables; `keep` states the names that it leaves.
    fn replaced(
        &self,
        text: &str,
        default: Format,
        keep: impl Fn(&str) -> Option<()>,
    ) -> Result<String, ExpandError> {
        let (mut replaced, mut at) = (String::new(), 0);
        for found in references(text) {
            replaced += &text[at..found.range.start];
            at = found.range.end;
            let (name, format) = (found.name, found.format);
            if let Some(values) = self.values.get(name) {
                let format = format.map_or(Ok(default), |format| Format::named(format, name))?;
                replaced += &format.write(name, values);
            } else if let Some(value) = self.built_in(name, format)? {
                replaced += &value;
            } else if keep(name).is_some() && text[found.range.clone()].starts_with("$__") {
                replaced += &text[found.range];
            } else if name.starts_with("__") {
                return Err(ExpandError::UnknownMacro(name.trim_start_matches('_').to_owned()));
            } else {
                return Err(ExpandError::UnknownVariable(name.to_owned()));
            }
        }
        Ok(replaced + &text[at..])
    }

    /// The value of a variable that Grafana itself has.
    fn built_in(&self, name: &str, format: Option<&str>) -> Result<Option<String>, ExpandError> {
        let range = self.to - self.from;
        let step = self.step();
        Ok(Some(match name {
            "__from" => moment(self.from, name, format)?,
            "__to" => moment(self.to, name, format)?,
            "__timezone" => {
                let format =
                    format.map_or(Ok(Format::Raw), |format| Format::named(format, name))?;
                format.write(name, std::slice::from_ref(&self.zone))
            }
            "__interval" => in_largest_unit(self.interval.max(1)),
            "__interval_ms" => (self.interval.max(1) * 1_000).to_string(),
            "__range" => format!("{range}s"),
            "__range_s" => range.to_string(),
            "__range_ms" => (range * 1_000).to_string(),
            "__rate_interval" => in_all_units((step + SCRAPE_SECONDS).max(4 * SCRAPE_SECONDS)),
            _ => return Ok(None),
        }))
    }
}

fn seconds(milliseconds: i64) -> i64 {
    (milliseconds / 1_000).max(1)
}

/// A time in milliseconds, or in the form that a format of dates names.
fn moment(seconds: i64, name: &str, format: Option<&str>) -> Result<String, ExpandError> {
    let unknown = |format: &str| ExpandError::UnknownFormat {
        name: name.to_owned(),
        format: format.to_owned(),
    };
    match format {
        None | Some("date:ms") => Ok((seconds * 1_000).to_string()),
        Some("date:seconds") => Ok(seconds.to_string()),
        Some(format @ ("date" | "date:iso")) => {
            let time = jiff::Timestamp::from_second(seconds).map_err(|_| unknown(format))?;
            Ok(time.strftime("%Y-%m-%dT%H:%M:%S.000Z").to_string())
        }
        Some(other) => Err(unknown(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view() -> View {
        let values = [("link", vec!["a'b"]), ("hosts", vec!["x", "y"]), ("none", vec![""])];
        let values = values.map(|(name, values)| {
            (name.to_owned(), values.into_iter().map(str::to_owned).collect())
        });
        View {
            from: 1_000,
            to: 4_600,
            interval: 60,
            zone: "Europe/Berlin".to_owned(),
            values: BTreeMap::from(values),
        }
    }

    #[test]
    fn sql_has_variables_and_macros_expanded() {
        for (raw, expanded) in [
            ("'${link:percentencode}' = ''", "'a%27b' = ''"),
            ("IN (${hosts})", "IN ('x','y')"),
            ("IN ([[hosts:singlequote]])", "IN ('x','y')"),
            ("$link $none.", "a'b ."),
            ("toStartOfDay(t, '${__timezone}')", "toStartOfDay(t, 'Europe/Berlin')"),
            (
                "$__from ${__to:date:seconds} ${__from:date:iso}",
                "1000000 4600 1970-01-01T00:16:40.000Z",
            ),
            (
                "$__timeFilter(t) $__interval $__interval_s",
                "t >= toDateTime(1000) AND t <= toDateTime(4600) 1m 60",
            ),
            ("$__conditionalAll(a = '${link:percentencode}', $link)", "a = 'a%27b'"),
        ] {
            assert_eq!(view().sql(raw).as_deref(), Ok(expanded), "{raw}");
        }
    }

    #[test]
    fn promql_has_intervals_and_ranges() {
        for (raw, expanded) in [
            ("rate(a[$__rate_interval])", "rate(a[1m15s])"),
            ("increase(a[$__range])", "increase(a[3600s])"),
            ("increase(a[$__interval]) {h=~\"${hosts:pipe}\"}", "increase(a[1m]) {h=~\"x|y\"}"),
            ("a{h=~\"${hosts:regex}\", l=\"$link\"}", r#"a{h=~"(x|y)", l="a\\'b"}"#),
        ] {
            assert_eq!(view().promql(raw).as_deref(), Ok(expanded), "{raw}");
        }
    }

    #[test]
    fn what_grafana_does_not_know_is_an_error() {
        let variable = |name: &str| ExpandError::UnknownVariable(name.to_owned());
        assert_eq!(view().sql("$other"), Err(variable("other")));
        assert_eq!(view().promql("a{b=\"$c\"}"), Err(variable("c")));
        let unknown = |name: &str| ExpandError::UnknownMacro(name.to_owned());
        assert_eq!(view().sql("$__timeShift(a)"), Err(unknown("timeShift")));
        assert_eq!(view().sql("${__fields}"), Err(unknown("fields")));
        assert_eq!(view().promql("$__timeFilter(a)"), Err(unknown("timeFilter")));
        let format =
            ExpandError::UnknownFormat { name: "link".to_owned(), format: "sql".to_owned() };
        assert_eq!(view().sql("${link:sql}"), Err(format));
    }
}
