//! Expands a panel's query as Grafana and its ClickHouse plugin do before they send it.
//!
//! First the page expands `$__conditionalAll`, then variables; then the plugin's backend expands the
//! macros of time. Only the macros of our dashboard are known; any other one is an error.

use std::collections::BTreeMap;

/// The choices of a viewer of the dashboard.
#[derive(Debug, Clone)]
pub struct View {
    /// Begin of the range, in seconds since 1970.
    pub from: i64,
    /// Its end.
    pub to: i64,
    /// Seconds of one step of a line.
    pub interval: i64,
    /// Time zone, as Grafana passes it.
    pub zone: &'static str,
    /// The chosen values of each variable; none is "All".
    pub chosen: BTreeMap<String, Vec<String>>,
}

impl View {
    /// The query that the server receives.
    ///
    /// # Panics
    /// When the query holds an unknown macro or variable.
    pub fn expand(&self, sql: &str) -> String {
        let sql = self.variables(&self.conditions(sql));
        let expanded = self.macros(&sql);
        assert!(!expanded.contains('$'), "not all macros are expanded: {expanded}");
        expanded
    }

    /// `$__conditionalAll(condition, $name)`: the condition, or `1=1` when all are chosen.
    fn conditions(&self, sql: &str) -> String {
        const MACRO: &str = "$__conditionalAll";
        let mut sql = sql.to_owned();
        while let Some(at) = sql.rfind(MACRO) {
            let (arguments, length) = arguments(&sql[at + MACRO.len()..]);
            let [condition, name] = arguments.as_slice() else { panic!("{MACRO}: {arguments:?}") };
            let name = name.trim().trim_start_matches('$');
            let chosen =
                self.chosen.get(name).unwrap_or_else(|| panic!("no variable {name}: {sql}"));
            let condition = if chosen.is_empty() { "1=1" } else { condition };
            sql = format!("{}{condition}{}", &sql[..at], &sql[at + MACRO.len() + length..]);
        }
        sql
    }

    fn variables(&self, sql: &str) -> String {
        let mut sql = sql.replace("${__timezone}", self.zone);
        for (name, chosen) in &self.chosen {
            let encoded = match &chosen[..] {
                [one] => percent_encoded(one),
                several => percent_encoded(&format!("{{{}}}", several.join(","))),
            };
            sql = sql.replace(&format!("${{{name}:percentencode}}"), &encoded);
        }
        sql
    }

    fn macros(&self, sql: &str) -> String {
        let mut parts = sql.split("$__");
        let mut expanded = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let end = part.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
            let (name, rest) = part.split_at(end.unwrap_or(part.len()));
            let (from, to) =
                (format!("toDateTime({})", self.from), format!("toDateTime({})", self.to));
            let (text, length) = match name {
                "fromTime" => (from, 0),
                "toTime" => (to, 0),
                "interval_s" => (self.interval.max(1).to_string(), 0),
                "timeFilter" | "timeInterval" => {
                    let (arguments, length) = arguments(rest);
                    let [column] = arguments.as_slice() else { panic!("{name}: {arguments:?}") };
                    let interval = self.interval.max(1);
                    let text = match name {
                        "timeFilter" => format!("{column} >= {from} AND {column} <= {to}"),
                        _ => format!(
                            "toStartOfInterval(toDateTime({column}), INTERVAL {interval} second)"
                        ),
                    };
                    (text, length)
                }
                other => panic!("unknown macro of the plugin: {other}"),
            };
            expanded += &text;
            expanded += &rest[length..];
        }
        expanded
    }
}

/// Grafana's format `percentencode`: encodes all bytes but these.
fn percent_encoded(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
            char::from(byte).to_string()
        }
        other => format!("%{other:02X}"),
    };
    text.bytes().map(encode).collect()
}

/// The arguments in the parentheses at the start of `text`, and the length of both with them.
fn arguments(text: &str) -> (Vec<String>, usize) {
    assert!(text.starts_with('('), "a macro without arguments: {text}");
    let (mut arguments, mut depth) = (vec![String::new()], 0);
    for (at, letter) in text.char_indices() {
        match letter {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        match (letter, depth) {
            (_, 0) => return (arguments, at + 1),
            ('(', 1) => {}
            (',', 1) => arguments.push(String::new()),
            _ => arguments.last_mut().into_iter().for_each(|last| last.push(letter)),
        }
    }
    panic!("a macro without a closing parenthesis: {text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn macros_are_expanded_as_the_plugin_expands_them() {
        let chosen = [("d", vec!["it's", "b"]), ("all", vec![]), ("t", vec!["x"])];
        let chosen = chosen.map(|(name, values)| {
            (name.to_owned(), values.into_iter().map(str::to_owned).collect())
        });
        let view = View { from: 5, to: 9, interval: 0, zone: "utc", chosen: chosen.into() };
        for (sql, expanded) in [
            ("$__timeFilter(a)", "a >= toDateTime(5) AND a <= toDateTime(9)"),
            ("$__timeInterval(a)", "toStartOfInterval(toDateTime(a), INTERVAL 1 second)"),
            ("$__fromTime, $__toTime STEP $__interval_s", "toDateTime(5), toDateTime(9) STEP 1"),
            ("$__conditionalAll(f(g('${all:percentencode}', 'x'), a), $all)", "1=1"),
            ("$__conditionalAll(f('${d:percentencode}'), $d)", "f('%7Bit%27s%2Cb%7D')"),
            ("'${t:percentencode}' ${__timezone}", "'x' utc"),
        ] {
            assert_eq!(view.expand(sql), expanded);
        }
    }

    #[test]
    #[should_panic(expected = "unknown macro of the plugin")]
    fn an_unknown_macro_is_an_error() {
        let view = View { from: 0, to: 0, interval: 1, zone: "UTC", chosen: BTreeMap::new() };
        view.expand("$__timeShift(a)");
    }
}
