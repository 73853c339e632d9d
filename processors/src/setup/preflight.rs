//! Checks whether tables, registry and topic allow the delivery guarantee. Pure: it judges facts that
//! `server_facts` has read.
//!
//! A processor that inserted into a table of another form would lose or duplicate clicks without an
//! error. Therefore a finding stops it, and names the statement or setting that fixes it.

/// Facts of the table and the view.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TableFacts {
    /// Such as `ReplacingMergeTree`; empty if there is no table.
    pub engine: String,
    /// The engine with its arguments, keys and settings.
    pub engine_full: String,
    /// In the form in which the server shows it.
    pub partition_key: String,
    /// In the form in which the server shows it.
    pub sorting_key: String,
    /// Name, type and default of each column, in order.
    pub columns: Vec<(String, String, String)>,
    /// The same for two addresses of one table, another one for two tables.
    pub uuid: String,
    /// The view of the clicks that this server holds: `clicks`, or `shard_clicks` where there are several shards.
    pub view_name: &'static str,
    /// Columns of the view, in order.
    pub view_columns: Vec<String>,
    /// What the view selects; empty if there is no view.
    pub view_select: String,
    /// Whether a recent row has an insertion time after the server's current time.
    pub ahead_of_the_clock: bool,
    /// Settings in effect for the inserts of this program.
    pub settings: Vec<(String, String)>,
}

/// Facts of the topic.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TopicFacts {
    /// Whether it exists.
    pub exists: bool,
    /// Name and value of `message.timestamp.type`.
    pub timestamp_type: String,
    /// `compression.type`.
    pub compression: String,
    /// `retention.ms`; -1 is without limit; `None`: the broker does not name it.
    pub retention_ms: Option<i64>,
    /// `max.message.bytes`; `None`: the broker does not name it.
    pub message_bytes_max: Option<i64>,
}

/// A difference from what the delivery guarantee needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What is wrong.
    pub wrong: String,
    /// The statement, command or setting that fixes it.
    pub fix: String,
    /// Whether processing may continue in spite of it.
    pub tolerable: bool,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}; fix it with: {}", self.wrong, self.fix)
    }
}

const SETUP: &str = "processors setup";
const REMAKE: &str = "RENAME TABLE click_versions TO click_versions_old, then `processors setup`, \
                      then a replay";
/// A replicated table keeps its path in Keeper when it is renamed.
pub(super) const NEW_DATABASE: &str = "set CLICKHOUSE_DATABASE and CLICKTRAIL_GROUP to new names, then `processors setup`; \
                            `processors run` reads the log into them";

fn finding(wrong: impl Into<String>, fix: impl Into<String>) -> Finding {
    Finding { wrong: wrong.into(), fix: fix.into(), tolerable: false }
}

/// Judges the table, the view and the settings of inserts.
pub fn table(facts: &TableFacts, pinned: &[(&str, &str)]) -> Vec<Finding> {
    if facts.engine.is_empty() {
        return vec![finding("there is no table click_versions", SETUP)];
    }
    let mut findings = Vec::new();
    let remake = if is_replicated(facts) { NEW_DATABASE } else { REMAKE };
    let replaces = facts.engine.ends_with("ReplacingMergeTree");
    if !replaces || !facts.engine_full.contains("ingested_at)") {
        let wrong = format!(
            "click_versions is {}, not a ReplacingMergeTree whose version is ingested_at",
            facts.engine
        );
        findings.push(finding(wrong, remake));
    }
    for (what, is, should) in [
        ("partition", &facts.partition_key, "toDate(occurred_at)"),
        ("sort", &facts.sorting_key, "occurred_at, event_id"),
    ] {
        if is != should {
            let wrong = format!("the {what} key of click_versions is ({is}), not ({should})");
            findings.push(finding(wrong, remake));
        }
    }
    findings.extend(columns(facts, remake));
    for (name, value) in pinned {
        let held = facts.settings.iter().find(|(held, _)| held == name);
        let held = held.map_or("unknown to the server", |(_, held)| held);
        if held != *value {
            let fix = format!("remove the constraint on {name} from the user's profile");
            findings.push(finding(
                format!("{name} is {held} for inserts of this program, not {value}"),
                fix,
            ));
        }
    }
    if facts.ahead_of_the_clock {
        findings.push(Finding {
            wrong: "click_versions has rows with an insertion time after the server's current \
                    time: until the clock passes that time, they replace newer versions"
                .to_owned(),
            fix: "correct the server's clock (NTP), then replay those days".to_owned(),
            tolerable: true,
        });
    }
    findings
}

/// Whether ClickHouse copies the table to other servers.
pub(super) fn is_replicated(facts: &TableFacts) -> bool {
    ["Replicated", "Shared"].iter().any(|start| facts.engine.starts_with(start))
}

fn columns(facts: &TableFacts, remake: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let column = |name: &str| facts.columns.iter().find(|(own, ..)| own == name);
    for (name, kind) in [
        ("occurred_at", "DateTime64(6, 'UTC')"),
        ("event_id", "FixedString(16)"),
        ("ingested_at", "DateTime64(6, 'UTC')"),
    ] {
        match column(name) {
            Some((_, own, _)) if own == kind => {}
            Some((_, own, _)) => {
                findings.push(finding(format!("column {name} is {own}, not {kind}"), remake));
            }
            None => findings.push(finding(format!("column {name} is missing"), remake)),
        }
    }
    if let Some((_, _, default)) = column("ingested_at")
        && default != "now64(6)"
    {
        let wrong = format!("the default of ingested_at is {default:?}, not the server's clock");
        let fix = "ALTER TABLE click_versions MODIFY COLUMN ingested_at DEFAULT now64(6)";
        findings.push(finding(wrong, fix));
    }
    for (name, kind, _) in &facts.columns {
        if kind.contains("DateTime") && !kind.contains("'UTC'") {
            let wrong = format!("the type of column {name}, {kind}, does not name the zone UTC");
            findings.push(finding(wrong, remake));
        }
    }
    findings.extend(view(facts));
    findings
}

/// What the view of the newest migration selects.
const VIEW: &str = "SELECT * REPLACE(if(trace_id = toFixedString('', 16) AND NOT identifiers_stripped, event_id, trace_id) AS \
                    trace_id) FROM click_versions FINAL";

fn view(facts: &TableFacts) -> Option<Finding> {
    let name = facts.view_name;
    let statement = format!("CREATE OR REPLACE VIEW {name} AS {VIEW}");
    if !facts.view_select.ends_with("click_versions FINAL") {
        let wrong =
            format!("the view {name} does not select FINAL, so it may show a click more than once");
        return Some(finding(wrong, statement));
    }
    let names: Vec<&String> = facts.columns.iter().map(|(name, ..)| name).collect();
    let wrong = if names != facts.view_columns.iter().collect::<Vec<_>>() {
        "shows other columns than click_versions has"
    } else if !facts.view_select.contains("AS trace_id") {
        "shows no trace id of a click whose trace started at its redirect"
    } else {
        return None;
    };
    let wrong = format!("the view {name} {wrong}");
    Some(Finding { tolerable: true, ..finding(wrong, statement) })
}

/// Judges the compression of a topic that a service reads. The library bounds the decompressed size of
/// zstd only: a batch of 1 MiB in another codec may take 1 GiB of a consumer's memory.
pub fn compression(name: &str, facts: &TopicFacts) -> Option<Finding> {
    if !facts.exists || facts.compression == "zstd" {
        return None;
    }
    let wrong = format!(
        "topic {name} has compression.type {}: brokers would keep batches in codecs whose \
         decompressed size no consumer bounds",
        facts.compression
    );
    let fix = format!(
        "{SETUP}, or kafka-configs.sh --alter --entity-type topics --entity-name {name} \
         --add-config compression.type=zstd"
    );
    Some(finding(wrong, fix))
}

/// Judges the topic.
pub fn topic(name: &str, facts: &TopicFacts) -> Vec<Finding> {
    if !facts.exists {
        return vec![finding(format!("there is no topic {name}"), SETUP)];
    }
    match facts.timestamp_type.as_str() {
        "LogAppendTime" => Vec::new(),
        other => {
            let wrong = format!(
                "topic {name} has message.timestamp.type {other}: senders, not the broker, would choose \
                 the times by which retention and the bounds of occurred_at are judged"
            );
            vec![finding(wrong, SETUP)]
        }
    }
}

/// Bytes of a batch that holds one record with the largest value that a dead letter keeps.
const BATCH_BYTES_MAX: i64 = (1 << 20) + 12;
/// Bytes that a dead letter adds: key, headers and the reason.
const DEAD_LETTER_ADDS: i64 = 64 << 10;

/// A log and the topic of its dead letters.
#[derive(Debug, Clone, Copy)]
pub struct DeadLetterTopics<'a> {
    /// Name of the log.
    pub source_name: &'a str,
    /// Facts of the log.
    pub source: &'a TopicFacts,
    /// Name of the dead-letter topic.
    pub name: &'a str,
    /// Its facts.
    pub facts: &'a TopicFacts,
}

/// Judges the dead-letter topic by its source: it must keep a dead letter at least as long as the record,
/// which a redrive of a stub reads, and take any dead letter that is not cut. Of a value beyond 1 MiB it
/// takes a stub only, however large the records of the source may be.
pub fn dead_letters(topics: DeadLetterTopics<'_>) -> Vec<Finding> {
    let DeadLetterTopics { source_name, source, name, facts } = topics;
    if !source.exists || !facts.exists {
        return Vec::new();
    }
    let mut findings = Vec::new();
    let mut refuse = |setting: &str, is: i64, needed: i64, why: &str| {
        let at_least = if needed < 0 { "-1, no limit".to_owned() } else { needed.to_string() };
        let wrong = format!("{setting} of topic {name} is {is}; it needs {at_least}: {why}");
        let fix = format!(
            "kafka-configs.sh --alter --entity-type topics --entity-name {name} --add-config \
             {setting}={needed}, or {SETUP}, which sets {source_name}, too, to its description"
        );
        findings.push(finding(wrong, fix));
    };
    if let (Some(kept), Some(is)) = (source.retention_ms, facts.retention_ms)
        && is >= 0
        && (kept < 0 || is < kept)
    {
        let why = format!(
            "dead letters would expire before their records, which {source_name} keeps {}",
            if kept < 0 { "without limit".to_owned() } else { format!("{kept} ms") }
        );
        refuse("retention.ms", is, kept.max(-1), &why);
    }
    if let (Some(limit), Some(is)) = (source.message_bytes_max, facts.message_bytes_max) {
        let needed = limit.min(BATCH_BYTES_MAX) + DEAD_LETTER_ADDS;
        if is < needed {
            let why = format!(
                "it could not take every record of {source_name} with its reason (the limit of \
                 {source_name}, at most 1 MiB, beyond which a dead letter is a stub, and 64 KiB)"
            );
            refuse("max.message.bytes", is, needed, &why);
        }
    }
    findings
}

/// Judges the order of timeouts: an insert must time out before the group removes this member.
pub fn timeouts(insert_ms: u128, max_poll_interval_ms: u128) -> Vec<Finding> {
    if insert_ms < max_poll_interval_ms {
        return Vec::new();
    }
    let wrong = format!(
        "max.poll.interval.ms is {max_poll_interval_ms}, but an insert may take {insert_ms} ms"
    );
    vec![finding(wrong, format!("--kafka max.poll.interval.ms={}", 2 * insert_ms))]
}

#[cfg(test)]
mod tests {
    use schemas::TopicSpec;

    use super::*;

    const PINNED: &[(&str, &str)] = &[("async_insert", "0")];

    fn good() -> TableFacts {
        let column = |name: &str, kind: &str, default: &str| {
            (name.to_owned(), kind.to_owned(), default.to_owned())
        };
        TableFacts {
            engine: "ReplacingMergeTree".to_owned(),
            engine_full: "ReplacingMergeTree(ingested_at) PARTITION BY …".to_owned(),
            partition_key: "toDate(occurred_at)".to_owned(),
            sorting_key: "occurred_at, event_id".to_owned(),
            columns: vec![
                column("occurred_at", "DateTime64(6, 'UTC')", ""),
                column("event_id", "FixedString(16)", ""),
                column("ingested_at", "DateTime64(6, 'UTC')", "now64(6)"),
            ],
            uuid: "1".to_owned(),
            view_name: "clicks",
            view_columns: ["occurred_at", "event_id", "ingested_at"].map(str::to_owned).to_vec(),
            view_select: VIEW.to_owned(),
            ahead_of_the_clock: false,
            settings: vec![("async_insert".to_owned(), "0".to_owned())],
        }
    }

    #[test]
    fn the_table_of_the_migrations_has_no_finding() {
        assert_eq!(table(&good(), PINNED), []);
        let replicated = TableFacts {
            engine: "ReplicatedReplacingMergeTree".to_owned(),
            engine_full: "ReplicatedReplacingMergeTree('/a', 'b', ingested_at) …".to_owned(),
            ..good()
        };
        assert_eq!(table(&replicated, PINNED), []);
    }

    #[test]
    fn a_replicated_table_is_not_renamed() {
        let engine = "SharedReplacingMergeTree".to_owned();
        let wide = TableFacts { partition_key: "a".to_owned(), engine, ..good() };
        let findings = table(&wide, PINNED);
        assert!(!findings.is_empty());
        assert!(findings.iter().all(|found| !found.fix.contains("RENAME")), "{findings:?}");
    }

    #[test]
    fn a_table_that_would_lose_or_duplicate_clicks_is_refused_with_a_fix() {
        let changed = |change: &dyn Fn(&mut TableFacts)| {
            let mut facts = good();
            change(&mut facts);
            facts
        };
        let cases: &[(&str, TableFacts)] = &[
            ("no table", TableFacts::default()),
            ("MergeTree", changed(&|facts| facts.engine = "MergeTree".into())),
            (
                "version",
                changed(&|facts| facts.engine_full = "ReplacingMergeTree PARTITION".into()),
            ),
            (
                "partition key",
                changed(&|facts| facts.partition_key = "toYYYYMM(occurred_at)".into()),
            ),
            (
                "sort key",
                changed(&|facts| facts.sorting_key = "occurred_at, slug, event_id".into()),
            ),
            ("zone", changed(&|facts| facts.columns[0].1 = "DateTime64(6)".into())),
            (
                "another zone",
                changed(&|facts| facts.columns[0].1 = "DateTime64(6, 'Asia/Tokyo')".into()),
            ),
            ("id", changed(&|facts| facts.columns[1].1 = "String".into())),
            ("default", changed(&|facts| facts.columns[2].2 = "now()".into())),
            ("column gone", changed(&|facts| drop(facts.columns.remove(2)))),
            ("no view", changed(&|facts| facts.view_select.clear())),
            (
                "view of all versions",
                changed(&|facts| facts.view_select = "SELECT * FROM click_versions".into()),
            ),
            ("async", changed(&|facts| facts.settings[0].1 = "1".into())),
            ("setting unknown", changed(&|facts| facts.settings.clear())),
        ];
        for (what, facts) in cases {
            let findings = table(facts, PINNED);
            assert!(findings.iter().any(|finding| !finding.tolerable), "{what}: {findings:?}");
            assert!(findings.iter().all(|finding| !finding.fix.is_empty()), "{what}");
        }
    }

    #[test]
    fn a_clock_that_was_ahead_and_a_view_without_a_column_are_tolerated() {
        let mut narrow = good();
        narrow.view_columns.pop();
        let view_select = "SELECT * FROM clicktrail.click_versions FINAL".to_owned();
        let without_trace_ids = TableFacts { view_select, ..good() };
        let ahead = TableFacts { ahead_of_the_clock: true, ..good() };
        for facts in [ahead, narrow, without_trace_ids] {
            let findings = table(&facts, PINNED);
            assert!(
                matches!(findings.as_slice(), [Finding { tolerable: true, .. }]),
                "{findings:?}"
            );
        }
    }

    #[test]
    fn the_view_of_the_fix_is_that_of_the_newest_migration() {
        let all = crate::clickhouse::migrations::sql("clicktrail");
        let views = all.split(";\n").filter(|statement| statement.contains("VIEW clicks AS"));
        assert!(views.last().unwrap().ends_with(&format!("VIEW clicks AS {VIEW}")));
    }

    #[test]
    fn create_time_and_timeouts_in_the_wrong_order_are_refused() {
        let facts = |kind: &str| TopicFacts {
            exists: true,
            timestamp_type: kind.to_owned(),
            compression: "zstd".to_owned(),
            ..TopicFacts::default()
        };
        assert_eq!(topic("t", &facts("LogAppendTime")), []);
        assert_eq!(topic("t", &facts("CreateTime")).len(), 1);
        assert_eq!(topic("t", &TopicFacts::default()).len(), 1);
        assert_eq!(timeouts(150_000, 300_000), []);
        assert_eq!(timeouts(150_000, 150_000).len(), 1);
    }

    #[test]
    fn a_dead_letter_topic_that_keeps_less_than_its_source_is_refused() {
        let facts = |retention: i64, bytes: i64| TopicFacts {
            exists: true,
            retention_ms: Some(retention),
            message_bytes_max: Some(bytes),
            ..TopicFacts::default()
        };
        let described = |spec: &TopicSpec| {
            let number = |key: &str| spec.config[key].parse().unwrap();
            facts(number("retention.ms"), number("max.message.bytes"))
        };
        let (log, dead) = (described(&TopicSpec::clicks()), described(&TopicSpec::dead_letters()));
        let wrong = |log: &TopicFacts, dead: &TopicFacts| {
            let (source_name, name) = ("t", "t.dlq");
            let topics = DeadLetterTopics { source_name, source: log, name, facts: dead };
            let findings = dead_letters(topics);
            assert!(findings.iter().all(|found| !found.tolerable), "{findings:?}");
            let texts = findings.iter().map(Finding::to_string).collect::<Vec<_>>().join("\n");
            ["retention.ms", "max.message.bytes"].map(|key| texts.contains(&format!("{key}=")))
        };
        assert_eq!(wrong(&log, &dead), [false, false], "setup fixes what is refused");
        let raised = facts(log.retention_ms.unwrap(), 10 << 20);
        assert_eq!(wrong(&raised, &dead), [false, false], "larger records become stubs");
        for (source, own, expected) in [
            ((1000, 5000), (1000, 5000 + 65_536), [false, false]),
            ((1000, 5000), (999, 5000 + 65_535), [true, true]),
            ((1000, 5000), (-1, 1 << 20), [false, false]),
            ((-1, 5000), (i64::MAX, 1 << 20), [true, false]),
            ((-1, 5000), (-1, 1 << 20), [false, false]),
            ((1000, 10 << 20), (1000, 1_114_124), [false, false]),
            ((1000, 10 << 20), (1000, 1_114_123), [false, true]),
        ] {
            let (source, own) = (facts(source.0, source.1), facts(own.0, own.1));
            assert_eq!(wrong(&source, &own), expected, "{source:?} {own:?}");
        }
        let missing = TopicFacts::default();
        assert_eq!(wrong(&log, &missing), [false, false], "another finding names it");
        let unnamed = TopicFacts { exists: true, ..TopicFacts::default() };
        assert_eq!(wrong(&log, &unnamed), [false, false], "the broker does not name them");
    }

    #[test]
    fn h2_a_topic_that_keeps_the_codec_of_its_senders_is_refused_with_a_fix() {
        let facts = |compression: &str| TopicFacts {
            exists: true,
            timestamp_type: "LogAppendTime".to_owned(),
            compression: compression.to_owned(),
            ..TopicFacts::default()
        };
        assert_eq!(compression("t", &facts("zstd")), None);
        for kept in ["producer", "gzip", "snappy", "lz4", "uncompressed", ""] {
            let finding = compression("t", &facts(kept)).unwrap();
            assert!(!finding.tolerable && finding.fix.contains("compression.type=zstd"), "{kept}");
        }
        assert_eq!(compression("t", &TopicFacts::default()), None, "another finding names it");
    }
}
