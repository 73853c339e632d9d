//! Whether a panel can display the columns and rows of a result.

use serde_json::Value;

/// The answer to a query: name and type of each column, and the rows.
#[derive(Debug, Clone, Default)]
pub struct ResultTable {
    /// Name and type of each column.
    pub columns: Vec<(String, String)>,
    /// The rows.
    pub rows: Vec<Vec<Value>>,
}

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Content {
    Time,
    Number,
    Text,
    Other,
}

impl Content {
    fn of(kind: &str) -> Self {
        let kind = unwrapped(kind);
        let starts = |names: &[&str]| names.iter().any(|name| kind.starts_with(name));
        if starts(&["DateTime", "Date"]) {
            Self::Time
        } else if starts(&["UInt", "Int", "Float", "Decimal", "Bool"]) {
            Self::Number
        } else if starts(&["String", "FixedString", "Enum", "UUID", "IPv"]) {
            Self::Text
        } else {
            Self::Other
        }
    }
}

/// The type within `LowCardinality(…)` and `Nullable(…)`.
fn unwrapped(kind: &str) -> &str {
    let inner = |kind: &str, name: &str| {
        kind.strip_prefix(name).and_then(|rest| rest.strip_suffix(')')).map(str::len)
    };
    for name in ["LowCardinality(", "Nullable("] {
        if let Some(length) = inner(kind, name) {
            return unwrapped(&kind[name.len()..name.len() + length]);
        }
    }
    kind
}

/// Why a panel of a type cannot display a result; nothing if it can, or if there are no rows.
#[must_use]
pub fn misfit(kind: &str, table: &ResultTable) -> Option<String> {
    let contents: Vec<_> = table.columns.iter().map(|(_, kind)| Content::of(kind)).collect();
    let numbers = |from: usize| {
        contents.len() > from && contents[from..].iter().all(|it| *it == Content::Number)
    };
    let has = |content: Content| contents.contains(&content);
    let need = match kind {
        "stat" | "gauge" => {
            let one_row = table.rows.len() < 2 || has(Content::Time);
            let shown = has(Content::Number) || has(Content::Text) || has(Content::Time);
            (!one_row || !shown).then_some("a value in one row, or a series")
        }
        "timeseries" | "trend" => {
            let long = matches!(contents[..], [_, Content::Text, Content::Number]);
            let series = contents.first() == Some(&Content::Time) && (long || numbers(1));
            let times = table.rows.iter().map(|row| row.first().map(Value::to_string));
            (!series || !times.is_sorted())
                .then_some("a time first, in order, and numbers, or a text and a number")
        }
        "bargauge" | "piechart" => (!has(Content::Text) || !has(Content::Number))
            .then_some("a column of text and one of numbers"),
        "barchart" => {
            let first = matches!(contents.first(), Some(Content::Text | Content::Time));
            (!first || !has(Content::Number)).then_some("a text or a time first, and numbers")
        }
        "state-timeline" | "status-history" => (contents.first() != Some(&Content::Time)
            || contents.len() < 2)
            .then_some("a time first, and states"),
        "heatmap" => (contents.len() < 2 || !has(Content::Number))
            .then_some("two columns, one of them of numbers"),
        "geomap" => (!has(Content::Text) || !has(Content::Number))
            .then_some("a column of codes and one of numbers"),
        "table" | "logs" => contents.is_empty().then_some("columns"),
        _ => Some("a type of panel that is known"),
    };
    let described = || table.columns.iter().map(|(name, kind)| format!("{name} {kind}"));
    need.map(|need| {
        let columns = described().collect::<Vec<_>>().join(", ");
        format!("{kind} needs {need}; the result has {} rows of ({columns})", table.rows.len())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(kinds: &[&str], rows: Vec<Vec<Value>>) -> ResultTable {
        let columns = kinds.iter().map(|kind| ("c".to_owned(), (*kind).to_owned()));
        ResultTable { columns: columns.collect(), rows }
    }

    #[test]
    fn a_panel_displays_the_columns_that_its_type_needs() {
        let one = || vec![vec![Value::from(1)]];
        let times = |all: &[&str]| all.iter().map(|time| vec![Value::from(*time)]).collect();
        let fitting = [
            ("stat", table(&["UInt64"], one())),
            ("stat", table(&["Nullable(Float64)"], one())),
            ("timeseries", table(&["DateTime('UTC')", "UInt64"], times(&["1", "2"]))),
            ("timeseries", table(&["DateTime64(3)", "LowCardinality(String)", "UInt64"], vec![])),
            ("bargauge", table(&["String", "UInt64", "Float64"], one())),
            ("barchart", table(&["Date", "UInt64"], one())),
            ("table", table(&["Array(String)"], vec![])),
            ("state-timeline", table(&["DateTime", "String"], vec![])),
            ("heatmap", table(&["UInt8", "UInt8", "UInt64"], one())),
            ("geomap", table(&["LowCardinality(Nullable(String))", "UInt64"], one())),
        ];
        for (kind, table) in fitting {
            assert_eq!(misfit(kind, &table), None, "{table:?}");
        }
        let two = || vec![vec![Value::from(1)], vec![Value::from(2)]];
        let others = [
            ("stat", table(&["UInt64"], two())),
            ("timeseries", table(&["UInt64", "UInt64"], one())),
            ("timeseries", table(&["DateTime", "UInt64"], times(&["2", "1"]))),
            ("timeseries", table(&["DateTime"], times(&["1"]))),
            ("bargauge", table(&["UInt64"], one())),
            ("barchart", table(&["UInt64", "UInt64"], one())),
            ("table", table(&[], vec![])),
            ("state-timeline", table(&["String", "String"], one())),
            ("dashlist", table(&["UInt64"], one())),
        ];
        for (kind, table) in others {
            assert!(misfit(kind, &table).is_some(), "{kind} {table:?}");
        }
    }
}
