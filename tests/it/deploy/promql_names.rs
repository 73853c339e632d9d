//! The names in an expression of PromQL: metrics with the labels that select their series, and the labels of
//! `by` and `on`.

/// Words of PromQL that are neither metrics nor followed by a parenthesis.
const WORDS: [&str; 5] = ["and", "or", "unless", "offset", "bool"];
/// Words whose parentheses hold labels.
const GROUPING: [&str; 4] = ["by", "on", "without", "ignoring"];

/// A metric of an expression.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SelectedMetric {
    pub(crate) name: String,
    /// Labels and the values, or patterns, that they are compared with.
    pub(crate) labels: Vec<(String, String)>,
}

/// What an expression names.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct PromqlNames {
    pub(crate) metrics: Vec<SelectedMetric>,
    pub(crate) grouping: Vec<String>,
}

impl PromqlNames {
    pub(crate) fn of(expression: &str) -> Self {
        let (mut names, mut rest) = (Self::default(), expression);
        while let Some(first) = rest.chars().next() {
            let length = first.len_utf8();
            let word_length = rest.find(|letter| !is_of_word(letter)).unwrap_or(rest.len());
            if first == '"' {
                rest = after(&rest[length..], '"').1;
            } else if first == '[' {
                rest = after(rest, ']').1;
            } else if first.is_ascii_digit() {
                rest = &rest[word_length..];
            } else if is_of_word(first) {
                let (word, behind) = rest.split_at(word_length);
                rest = names.add(word, behind.trim_start());
            } else {
                rest = &rest[length..];
            }
        }
        names
    }

    /// Adds a word; returns what follows what belongs to it.
    fn add<'t>(&mut self, word: &str, behind: &'t str) -> &'t str {
        if GROUPING.contains(&word) {
            let (labels, rest) = after(behind, ')');
            let labels = labels.trim_start_matches('(').split(',').map(str::trim);
            self.grouping.extend(labels.filter(|label| !label.is_empty()).map(str::to_owned));
            return rest;
        }
        let is_called = ["(", "by (", "without ("].iter().any(|of| behind.starts_with(of));
        if is_called || WORDS.contains(&word) {
            return behind;
        }
        let (mut labels, mut rest) = (Vec::new(), behind);
        if let Some(mut selector) = behind.strip_prefix('{') {
            while let Some((label, value)) = selector.trim_start_matches([',', ' ']).split_once('"')
            {
                if label.contains('}') {
                    break;
                }
                let label = label.trim_end_matches(['=', '~', '!', ' ']).to_owned();
                let (value, next) = after(value, '"');
                labels.push((label, value.to_owned()));
                selector = next;
            }
            rest = after(selector, '}').1;
        }
        self.metrics.push(SelectedMetric { name: word.to_owned(), labels });
        rest
    }
}

fn is_of_word(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '_' || letter == ':'
}

/// The text before the first `end`, and the text behind it.
fn after(text: &str, end: char) -> (&str, &str) {
    text.split_once(end).unwrap_or((text, ""))
}

#[test]
fn metrics_labels_and_groupings_of_an_expression_are_found() {
    let text = "sum by (code, le) (increase(a_total{code=~\"x|y\", z!=\"}\"}[5m:1m]) > 1e3) or b:c:sum \
        unless a_total offset 5m and on (job) (up{} == 1)";
    let names = PromqlNames::of(text);
    let metric = |name: &str, labels: &[(&str, &str)]| SelectedMetric {
        name: name.to_owned(),
        labels: labels.iter().map(|(name, of)| ((*name).to_owned(), (*of).to_owned())).collect(),
    };
    let expected = [
        metric("a_total", &[("code", "x|y"), ("z", "}")]),
        metric("b:c:sum", &[]),
        metric("a_total", &[]),
        metric("up", &[]),
    ];
    assert_eq!(names.metrics, expected);
    assert_eq!(names.grouping, ["code", "le", "job"]);
}
