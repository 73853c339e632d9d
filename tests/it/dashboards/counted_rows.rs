//! Rows of clicks with known figures, and the same figures counted in Rust, by another calendar than the server's.

use std::collections::{BTreeMap, BTreeSet};

use harness::World;
use harness::seeded_random::SeededRandom;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, ZonedDateTime};
use serde_json::json;

/// Variables that filter, their columns, and the text for an empty value.
pub(crate) const FILTERS: [(&str, &str, &str); 20] = [
    ("domain", "domain", "(unknown)"),
    ("link", "slug", "(no path)"),
    ("source", "referrer_source", "(direct or unknown)"),
    ("channel", "channel", "(unknown)"),
    ("referrer", "referrer_host", "(none)"),
    ("country", "country", "(unknown)"),
    ("region", "region", "(unknown)"),
    ("city", "city", "(unknown)"),
    ("language", "language", "(unknown)"),
    ("device", "device", "(unknown)"),
    ("browser", "browser", "(unknown)"),
    ("os", "os", "(unknown)"),
    ("utm_source", "utm_source", "(none)"),
    ("utm_medium", "utm_medium", "(none)"),
    ("campaign", "utm_campaign", "(none)"),
    ("target", "target_host", "(not recorded)"),
    ("outcome", "outcome", "(unknown)"),
    ("trigger", "trigger", "(unknown)"),
    ("bot_class", "bot_class", "(not a bot)"),
    ("bot_name", "bot_name", "(no name)"),
];

/// Texts that another language could read as its own, one of which is empty.
pub(crate) const TEXTS: [&str; 12] = [
    "",
    "plain",
    r#"a'b\c%d"<script>"#,
    "100%",
    "%27%20OR%201=1",
    "größe/日本語/🧀",
    "two\nlines\tand a tab ",
    "${link} $__all [[link]] $__timeFilter(x)",
    "') OR 1=1 -- /* x",
    "\\",
    "+a b&var-link=c#d?e;f",
    "{x,y}",
];

/// A click.
#[derive(Debug, Clone)]
pub(crate) struct CountedRow {
    /// Microseconds since 1970.
    pub(crate) at_us: i64,
    /// Id of the visitor; 0 is none.
    pub(crate) visitor: u64,
    pub(crate) is_bot: bool,
    /// That of its domain and path; empty on a path that is no link.
    pub(crate) link_id: String,
    /// Value of each column of [`FILTERS`].
    pub(crate) texts: BTreeMap<&'static str, &'static str>,
}

impl CountedRow {
    /// A click at a moment, whose values follow from the random numbers.
    pub(crate) fn at(at_us: i64, random: &mut SeededRandom) -> Self {
        let mut texts: BTreeMap<_, _> =
            FILTERS.iter().map(|(_, column, _)| (*column, random.one(&TEXTS))).collect();
        let is_bot = random.once_in(4);
        texts.insert("outcome", random.one(&["redirected", "redirected", "not_found", ""]));
        texts.insert("trigger", random.one(&["link", "link", "qr", ""]));
        let link_id = match random.once_in(5) {
            true => String::new(),
            false => format!("{} {}", texts["domain"], texts["slug"]),
        };
        // An id is of one day of UTC; few ids, so that most visitors come again.
        let day = u64::try_from(at_us.div_euclid(86_400_000_000)).expect("after 1970");
        let visitor = if random.once_in(6) { 0 } else { day * 1_000 + random.between(1, 20) };
        Self { at_us, visitor, is_bot, link_id, texts }
    }

    fn json(&self, number: usize) -> String {
        let mut row = json!({
            "event_id": format!("counted-{number:08}"),
            "occurred_at": format!("{}.{:06}", self.at_us.div_euclid(1_000_000), self.at_us.rem_euclid(1_000_000)),
            "visitor_id": self.visitor,
            "is_bot": self.is_bot,
            "link_id": self.link_id,
        });
        for (column, value) in &self.texts {
            row[column] = json!(value);
        }
        row.to_string()
    }

    /// The value that a panel shows in place of a column of [`FILTERS`], by the name of its variable.
    pub(crate) fn label(&self, variable: &str) -> &'static str {
        let (_, column, empty) =
            FILTERS.iter().find(|(name, ..)| *name == variable).expect("a filter");
        let value = self.texts[column];
        if value.is_empty() { empty } else { value }
    }
}

/// Inserts rows into the table, with many days at once.
pub(crate) fn insert(world: &World, rows: &[CountedRow]) {
    // The disk syncs of some hundred parts would take most of the test's time.
    world.query(
        "ALTER TABLE click_versions MODIFY SETTING fsync_after_insert = 0, fsync_part_directory = 0",
    );
    let lines: Vec<_> = rows.iter().enumerate().map(|(number, row)| row.json(number)).collect();
    let sql = format!("INSERT INTO click_versions FORMAT JSONEachRow\n{}", lines.join("\n"));
    let settings =
        [("max_partitions_per_insert_block", "0"), ("date_time_input_format", "best_effort")];
    world.ask(&sql, &settings).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(world.clicks(), rows.len() as u64);
}

/// What a range is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compare {
    None,
    Previous,
    Weekday,
    Year,
}

impl Compare {
    pub(crate) const ALL: [Self; 4] = [Self::None, Self::Previous, Self::Weekday, Self::Year];

    /// The value of the variable.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Previous => "previous",
            Self::Weekday => "weekday",
            Self::Year => "year",
        }
    }
}

/// A half-open range of seconds since 1970, in a time zone.
#[derive(Debug, Clone)]
pub(crate) struct CountedRange {
    pub(crate) begin: i64,
    pub(crate) until: i64,
    pub(crate) zone: TimeZone,
}

impl CountedRange {
    fn zoned(&self, seconds: i64) -> ZonedDateTime {
        Timestamp::from_second(seconds).expect("a time").to_zoned_datetime(self.zone.clone())
    }

    /// The whole weeks of the calendar that hold the range, without its last second.
    fn weeks(&self) -> i64 {
        let civil = |seconds| self.zoned(seconds).datetime();
        let (first, last) = (civil(self.begin), civil(self.until - 1));
        let holds =
            |weeks: &i64| first.checked_add(Span::new().weeks(*weeks)).is_ok_and(|end| end >= last);
        (1..).find(holds).expect("a number of weeks")
    }

    /// The earlier range: by as many seconds, or by days or a year of the viewer's calendar.
    pub(crate) fn before(&self, compare: Compare) -> Option<Self> {
        let length = self.until - self.begin;
        let span = match compare {
            Compare::None => return None,
            Compare::Previous => Span::new().seconds(length),
            Compare::Weekday => Span::new().days(self.weeks() * 7),
            Compare::Year => Span::new().years(1),
        };
        let moved = |seconds| {
            let earlier = self.zoned(seconds).checked_sub(span).expect("a time");
            earlier.timestamp().as_second()
        };
        let (begin, until) = (moved(self.begin), moved(self.until));
        Some(Self { begin, until, zone: self.zone.clone() })
    }

    /// The moment of this range at which a moment of the earlier one is drawn; none if a change of the clock leaves
    /// several.
    pub(crate) fn moved_from(&self, seconds: i64, compare: Compare) -> Option<i64> {
        let length = self.until - self.begin;
        let span = match compare {
            Compare::None | Compare::Previous => return Some(seconds + length),
            Compare::Weekday => Span::new().days(self.weeks() * 7),
            Compare::Year => Span::new().years(1),
        };
        let later = self.zoned(seconds).datetime().checked_add(span).expect("a time");
        let later = self.zone.to_ambiguous_timestamp(later);
        later.unambiguous().ok().map(|moment| moment.as_second())
    }

    /// The rows in the range.
    pub(crate) fn of<'r>(&self, rows: &[&'r CountedRow]) -> Vec<&'r CountedRow> {
        let holds = |row: &&CountedRow| {
            row.at_us >= self.begin * 1_000_000 && row.at_us < self.until * 1_000_000
        };
        rows.iter().copied().filter(holds).collect()
    }

    /// The start of the bucket of `step` seconds that holds a moment: counted from the viewer's midnight, or from the
    /// Monday where it is a week.
    pub(crate) fn bucket(&self, seconds: i64, step: i64) -> i64 {
        let moment = self.zoned(seconds);
        let midnight = moment.start_of_day().expect("a day");
        if step < 86_400 {
            let begin = midnight.timestamp().as_second();
            return begin + (seconds - begin) / step * step;
        }
        let days = match step / 86_400 {
            1 => 0,
            7 => i64::from(moment.date().weekday().to_monday_zero_offset()),
            days => panic!("no bucket of {days} days is counted here"),
        };
        let first = moment.date().checked_sub(Span::new().days(days)).expect("a date");
        first.to_zoned_datetime(self.zone.clone()).expect("a day").timestamp().as_second()
    }

    /// Hour and day of the week, Monday first, of a moment.
    pub(crate) fn hour_of_week(&self, seconds: i64) -> (i8, i8) {
        let moment = self.zoned(seconds);
        (moment.hour(), moment.date().weekday().to_monday_zero_offset())
    }
}

/// Distinct visitors, without those that have no id.
pub(crate) fn visitors(rows: &[&CountedRow]) -> usize {
    let ids: BTreeSet<_> = rows.iter().map(|row| row.visitor).filter(|id| *id != 0).collect();
    ids.len()
}

/// How many rows each value of `key` has.
pub(crate) fn counted<K: Ord>(
    rows: &[&CountedRow],
    key: impl Fn(&CountedRow) -> K,
) -> BTreeMap<K, usize> {
    let mut counts = BTreeMap::new();
    for row in rows {
        *counts.entry(key(row)).or_default() += 1;
    }
    counts
}
