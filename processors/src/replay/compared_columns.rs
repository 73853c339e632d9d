//! Which columns of a click a dry run compares. Pure.

use std::sync::LazyLock;

use records::encode::columns::{COLUMNS, ClickRow};

/// What a column of `click_versions` is to a dry run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ColumnRole {
    /// The key by which the row is found, or a fact about the record: it is not compared.
    Skipped,
    /// The version of a rule, which is compared and reported apart.
    Rule,
    /// Compared.
    Value,
}

impl ColumnRole {
    /// The role of a column. A new column is compared.
    fn of(column: &str) -> Self {
        match column {
            "occurred_at" | "event_id" | "kafka_topic" | "kafka_partition" | "kafka_offset"
            | "logged_at" | "trace_id" => Self::Skipped,
            "enrich_version"
            | "geo_db_build"
            | "ua_rules_version"
            | "bot_rules_version"
            | "referrer_rules_version" => Self::Rule,
            _ => Self::Value,
        }
    }
}

/// A column that is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ComparedColumn {
    pub(crate) name: &'static str,
    pub(crate) is_rule: bool,
}

static ROLES: LazyLock<Vec<ColumnRole>> =
    LazyLock::new(|| COLUMNS.iter().map(|column| ColumnRole::of(column)).collect());

static COMPARED: LazyLock<Vec<ComparedColumn>> = LazyLock::new(|| {
    let all = COLUMNS.iter().zip(ROLES.iter());
    let compared = all.filter(|(_, role)| **role != ColumnRole::Skipped);
    compared
        .map(|(name, role)| ComparedColumn { name, is_rule: *role == ColumnRole::Rule })
        .collect()
});

/// The columns that are compared, in the order of the table.
pub(crate) fn compared_columns() -> &'static [ComparedColumn] {
    &COMPARED
}

/// The texts of these columns of a row, in their order, as ClickHouse's `toString` writes them.
pub(crate) fn compared_texts(row: &ClickRow<'_>) -> Vec<String> {
    let mut texts = Vec::with_capacity(COMPARED.len());
    let mut roles = ROLES.iter();
    row.each_text(&mut |text| {
        if roles.next().is_some_and(|role| *role != ColumnRole::Skipped) {
            texts.push(text.to_owned());
        }
    });
    texts
}

#[cfg(test)]
mod tests {
    use super::*;
    use records::encode::record_location::RecordLocation;
    use records::enrich::Enricher;
    use schemas::RawClick;
    use uuid::Uuid;

    #[test]
    fn all_columns_but_the_key_and_the_record_are_compared() {
        let compared = compared_columns();
        assert_eq!(compared.len(), COLUMNS.len() - 7);
        assert_eq!(compared.iter().filter(|column| column.is_rule).count(), 5);
    }

    #[test]
    fn the_texts_of_a_row_are_those_of_the_compared_columns() {
        let address = [203, 0, 113, 7];
        let click = RawClick {
            client_ip: Some(&address),
            identifiers_stripped: true,
            ..RawClick::new(Uuid::from_u128(1), 5, "a/b")
        };
        let location = RecordLocation {
            topic: "t",
            partition: 3,
            offset: 4,
            logged_at_ms: 6,
            trace_id: [7; 16],
        };
        let mut enricher = Enricher::default();
        let texts = compared_texts(&ClickRow::new(&click, &enricher.enrich(&click), location));
        assert_eq!(texts.len(), compared_columns().len());
        let text = |name: &str| {
            let index = compared_columns().iter().position(|column| column.name == name).unwrap();
            texts[index].as_str()
        };
        assert_eq!((text("slug"), text("client_ip")), ("a/b", "::ffff:203.0.113.7"));
        assert_eq!((text("identifiers_stripped"), text("link_version")), ("true", "0"));
        assert_eq!(text("bot_rules_version"), "");
    }
}
