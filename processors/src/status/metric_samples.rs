//! The samples of a `/metrics` page. Pure.

use serde_json::{Value, json};

/// One sample.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricSample {
    /// Name of the metric, with its suffix.
    pub name: String,
    /// Its labels, such as `code="x",stage="y"`; empty where it has none.
    pub labels: String,
    /// Its value.
    pub value: f64,
}

impl MetricSample {
    fn read(line: &str) -> Option<Self> {
        let (name, rest) = line.split_at(line.find(['{', ' '])?);
        // A value of a label may hold spaces and braces; what follows the labels holds none.
        let (labels, rest) = match rest.strip_prefix('{') {
            Some(rest) => rest.rsplit_once('}')?,
            None => ("", rest),
        };
        let value = rest.split_whitespace().next()?.parse().ok()?;
        Some(Self { name: name.to_owned(), labels: labels.to_owned(), value })
    }

    /// The value of a label; empty where it has no such label.
    pub fn label(&self, name: &str) -> &str {
        let mut labels = self.labels.split("\",");
        let value = labels.find_map(|label| label.strip_prefix(name)?.strip_prefix("=\""));
        value.map_or("", |value| value.trim_end_matches('"'))
    }
}

/// All samples of a page.
#[derive(Debug, Clone, Default)]
pub struct MetricSamples(Vec<MetricSample>);

impl MetricSamples {
    /// Reads a page; a line that is no sample is ignored.
    pub fn read(page: &str) -> Self {
        let lines = page.lines().filter(|line| !line.starts_with('#'));
        Self(lines.filter_map(MetricSample::read).collect())
    }

    /// The samples of a metric.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a MetricSample> {
        self.0.iter().filter(move |sample| sample.name == name)
    }

    /// The value of a metric without labels; `None`: the page does not have it.
    pub fn value(&self, name: &str) -> Option<f64> {
        self.all(name).map(|sample| sample.value).next()
    }

    /// The sum over all labels; `None`: the page does not have the metric.
    pub fn sum(&self, name: &str) -> Option<f64> {
        self.all(name).map(|sample| sample.value).reduce(|sum, value| sum + value)
    }

    /// The samples as one object, without the buckets of histograms.
    pub fn object(&self) -> Value {
        let own = self.0.iter().filter(|sample| !sample.name.ends_with("_bucket"));
        let field = |sample: &MetricSample| {
            let labels = match sample.labels.as_str() {
                "" => String::new(),
                labels => format!("{{{labels}}}"),
            };
            (format!("{}{labels}", sample.name), json!(sample.value))
        };
        Value::Object(own.map(field).collect())
    }

    /// Whether the page has a metric whose name begins so.
    pub fn has_prefix(&self, prefix: &str) -> bool {
        self.0.iter().any(|sample| sample.name.starts_with(prefix))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_have_their_labels_and_other_lines_are_ignored() {
        let page = "# HELP x X\nx_total{code=\"a b}\",stage=\"s\"} 3\nx_total{code=\"c\"} 4\ny 1.5\n\n# EOF\n";
        let samples = MetricSamples::read(page);
        let first = samples.all("x_total").next().unwrap();
        assert_eq!(
            (first.label("code"), first.label("stage"), first.label("z")),
            ("a b}", "s", "")
        );
        assert_eq!(samples.sum("x_total"), Some(7.0));
        assert_eq!(
            (samples.value("y"), samples.value("z"), samples.sum("z")),
            (Some(1.5), None, None)
        );
        let expected = json!({ "x_total{code=\"a b}\",stage=\"s\"}": 3.0, "x_total{code=\"c\"}": 4.0, "y": 1.5 });
        assert_eq!(samples.object(), expected);
        assert!(samples.has_prefix("x_") && !samples.has_prefix("z_"));
    }
}
