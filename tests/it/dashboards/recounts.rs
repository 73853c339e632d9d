//! The figures of the dashboards against the same figures counted in Rust: over changes of the clock, in ranges that
//! begin within a day, compared with each earlier range, with each filter and with texts that try to end a literal.

use std::collections::BTreeMap;

use dashboards::{Dashboard, Panel, Query, View};
use harness::World;
use harness::seeded_random::SeededRandom;
use jiff::tz::TimeZone;
use serde_json::Value;

use crate::dashboards::counted_rows::{
    Compare, CountedRange, CountedRow, FILTERS, counted, insert, visitors,
};

const HOUR: i64 = 3_600;
const DAY: i64 = 24 * HOUR;

/// A database with rows, and a dashboard over it.
pub(crate) struct Counted<'w> {
    world: &'w World,
    dashboard: Dashboard,
    pub(crate) rows: Vec<CountedRow>,
}

impl<'w> Counted<'w> {
    pub(crate) fn new(world: &'w World, name: &str, rows: Vec<CountedRow>) -> Self {
        let file = dashboards::files().into_iter().find(|(file, _)| *file == name);
        let (_, text) = file.unwrap_or_else(|| panic!("no dashboard {name}"));
        let dashboard = Dashboard::parse(text).expect("a dashboard");
        insert(world, &rows);
        Self { world, dashboard, rows }
    }

    /// Two weeks of clicks with texts of all kinds, on tables that it creates; the second week, and its view.
    pub(crate) fn of_filters(world: &'w World) -> (Self, CountedRange, View) {
        world.setup();
        let (range, rows) = rows_of_filters();
        let counted = Self::new(world, "overview", rows);
        let view = counted.view(&range, "utc", Compare::Previous);
        (counted, range, view)
    }

    fn panel(&self, title: &str) -> &Panel {
        let found = self.dashboard.charts().find(|panel| panel.title == title);
        found.unwrap_or_else(|| panic!("no panel {title}"))
    }

    pub(crate) fn view(&self, range: &CountedRange, zone: &str, compare: Compare) -> View {
        let view = View::of(&self.dashboard, range.begin, range.until, zone);
        view.with("compare", compare.name()).with("traffic", "all")
    }

    /// The rows that the first query of a panel returns, as the reader of a dashboard.
    pub(crate) fn ask(&self, title: &str, view: &View) -> Vec<Vec<Value>> {
        let panel = self.panel(title);
        let Some(Query::Sql(raw)) = panel.targets[0].query() else { panic!("{title} has no SQL") };
        let sql = view.at(panel, None).sql(raw).expect("a query");
        let settings =
            [("default_format", "JSONCompact"), ("output_format_json_quote_64bit_integers", "0")];
        let answer =
            self.world.send(&self.world.backends.reader, "POST", &settings, sql.as_str()).unwrap();
        assert_eq!(answer.status, 200, "{title}: {}\n{sql}", answer.body);
        let answer: Value = serde_json::from_str(&answer.body).expect("JSON");
        let rows = answer["data"].as_array().expect("rows").iter();
        rows.map(|row| row.as_array().expect("cells").clone()).collect()
    }
}

/// A count, which is a number, or text if it has 64 bits.
pub(crate) fn integer(cell: &Value) -> i64 {
    let text = cell.as_str().map_or_else(|| cell.to_string(), str::to_owned);
    text.parse::<f64>().map(|number| number.round() as i64).unwrap_or_else(|_| panic!("{cell}"))
}

/// Seconds since 1970 of a time in UTC, as ClickHouse writes it.
pub(crate) fn seconds(cell: &Value) -> i64 {
    let text = cell.as_str().unwrap_or_else(|| panic!("no time: {cell}")).replace(' ', "T") + "Z";
    text.parse::<jiff::Timestamp>().unwrap_or_else(|error| panic!("{cell}: {error}")).as_second()
}

/// Numbers that may differ by the rounding of a division.
pub(crate) fn is_near(cell: &Value, expected: Option<f64>) -> bool {
    match (cell.as_f64(), expected) {
        (Some(cell), Some(expected)) => (cell - expected).abs() < 1e-9,
        (None, None) => cell.is_null(),
        _ => false,
    }
}

pub(crate) fn share(count: usize, of: usize) -> f64 {
    if of == 0 { 0.0 } else { count as f64 / of as f64 }
}

/// Zones, and moments of changes of the clock in them: forward and back by an hour, by half an hour, and back at midnight.
const CHANGES: [(&str, &[&str]); 4] = [
    ("America/New_York", &["2026-03-08T07:00:00Z", "2025-11-02T06:00:00Z"]),
    ("Europe/Berlin", &["2026-03-29T01:00:00Z", "2025-10-26T01:00:00Z"]),
    ("Australia/Lord_Howe", &["2025-10-04T15:30:00Z", "2026-04-04T15:00:00Z"]),
    ("America/Santiago", &["2026-04-05T03:00:00Z"]),
];

/// Begin and end of ranges by days from the midnight before a change, and by hours more: the day itself, several that
/// begin within a day, a part of the day, and more than a week.
const RANGES: [(i64, i64, i64); 4] = [(0, 1, 0), (-1, 2, 5), (0, 0, 9), (-5, 4, 0)];

fn moment(text: &str) -> i64 {
    text.parse::<jiff::Timestamp>().expect("a time").as_second()
}

/// Ranges around a change of the clock: from the midnight of a day to that of another one, or with hours more.
fn ranges(zone: &str, change: &str) -> Vec<CountedRange> {
    let tz = TimeZone::get(zone).expect("a zone");
    let day =
        jiff::Timestamp::from_second(moment(change)).unwrap().to_zoned_datetime(tz.clone()).date();
    let at = |days: i64, hours: i64| {
        let date = day.checked_add(jiff::Span::new().days(days)).expect("a date");
        let midnight = date.to_zoned_datetime(tz.clone()).expect("a day");
        midnight.timestamp().as_second() + hours * HOUR
    };
    let range = |(first, last, hours)| CountedRange {
        begin: at(first, hours),
        // One that ends in the middle of a day begins in the middle of another.
        until: at(last, if first == last { 2 * hours } else { hours }),
        zone: tz.clone(),
    };
    // A week that ends a second late, as the range up to now does.
    let late = CountedRange { begin: at(-7, 0), until: at(0, 0) + 1, zone: tz.clone() };
    RANGES.map(range).into_iter().chain([late]).collect()
}

/// Clicks about every two hours of all ranges and of those with which they are compared, and at their very ends.
fn rows_of_changes() -> Vec<CountedRow> {
    let mut random = SeededRandom::new(23);
    let mut moments = std::collections::BTreeSet::new();
    for (zone, changes) in CHANGES {
        for change in changes {
            for range in ranges(zone, change) {
                let earlier = Compare::ALL.into_iter().filter_map(|compare| range.before(compare));
                for own in earlier.chain([range.clone()]) {
                    for end in [own.begin, own.until] {
                        moments.extend([-1, 0, 1].map(|us| end * 1_000_000 + us));
                    }
                    let mut at = own.begin * 1_000_000;
                    while at < own.until * 1_000_000 {
                        moments.insert(at);
                        at += i64::try_from(random.between(1_000_000, 14_400_000_000)).unwrap();
                    }
                }
            }
            let around = [-1_800, -1, 0, 1, 1_799, 1_800, 3_599, 3_600, 7_200];
            moments.extend(around.map(|seconds| (moment(change) + seconds) * 1_000_000));
        }
    }
    moments.into_iter().map(|at_us| CountedRow::at(at_us, &mut random)).collect()
}

#[test]
fn figures_equal_a_recount_over_changes_of_the_clock_and_with_each_comparison() {
    let world = World::new("recount_clock");
    world.setup();
    let counted = Counted::new(&world, "overview", rows_of_changes());
    views_are_of_the_table(&world);
    let mut wrong = Vec::new();
    let mut compares = Compare::ALL.into_iter().cycle();
    for (zone, changes) in CHANGES {
        for range in changes.iter().flat_map(|change| ranges(zone, change)) {
            let what = format!("{zone} {}..{}", range.begin, range.until);
            // Each range with one of the comparisons, another one in each zone.
            let compare = compares.next().expect("they repeat");
            let checks = [
                totals(&counted, &range, zone, compare),
                over_time(&counted, &range, zone, compare),
                list(&counted, &range, zone, compare),
                hours_of_the_week(&counted, &range, zone),
            ];
            let compare = compare.name();
            wrong.extend(checks.into_iter().flatten().map(|it| format!("{what} {compare}: {it}")));
        }
        compares.next();
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

/// Both views of clicks show each click once, with all columns of the table.
fn views_are_of_the_table(world: &World) {
    let columns = |table: &str| {
        world.query(&format!(
            "SELECT groupArray(name) FROM (SELECT name FROM system.columns WHERE table = '{table}' \
             AND database = currentDatabase() AND name != 'day' ORDER BY position)"
        ))
    };
    let own = columns("click_versions");
    assert_eq!((columns("clicks"), columns("clicks_of_days")), (own.clone(), own));
    world.query(
        "INSERT INTO click_versions SELECT * REPLACE (now64(6) AS ingested_at) FROM click_versions \
         WHERE toDate(occurred_at) = '2026-03-29'",
    );
    let twice = "SELECT count() - uniqExact(event_id) FROM clicks_of_days";
    assert_eq!(world.number(twice), 0);
    let rows = |columns: &str, view: &str| {
        world.query(&format!("SELECT groupBitXor(cityHash64({columns})) FROM {view}"))
    };
    assert_eq!(rows("*", "clicks"), rows("* EXCEPT day", "clicks_of_days"));
    let differ = "SELECT countIf(day != toDate(occurred_at)) FROM clicks_of_days";
    assert_eq!(world.number(differ), 0);
}

/// Clicks, visitors, links, and shares of one range.
fn figures(rows: &[&CountedRow]) -> [f64; 6] {
    let of = |is: &dyn Fn(&CountedRow) -> bool| rows.iter().filter(|row| is(row)).count();
    let links = counted(rows, |row| row.link_id.clone());
    let links = links.keys().filter(|id| !id.is_empty()).count();
    let shares = [
        of(&|row| row.texts["outcome"] == "not_found"),
        of(&|row| row.texts["trigger"] == "qr"),
        of(&|row| row.is_bot),
    ];
    let [unknown, qr, bots] = shares.map(|count| share(count, rows.len()));
    [rows.len() as f64, visitors(rows) as f64, links as f64, unknown, qr, bots]
}

fn totals(all: &Counted<'_>, range: &CountedRange, zone: &str, compare: Compare) -> Option<String> {
    let rows: Vec<_> = all.rows.iter().collect();
    let answer = all.ask("Totals", &all.view(range, zone, compare));
    let [before, now] = &answer[..] else { return Some(format!("Totals has {answer:?}")) };
    let expected = figures(&range.of(&rows));
    let is_right = now[1..].iter().zip(expected).all(|(cell, own)| is_near(cell, Some(own)));
    if !is_right || seconds(&now[0]) != range.begin {
        return Some(format!("Totals {now:?}, counted {expected:?}"));
    }
    let earlier = range.before(compare).map(|before| figures(&before.of(&rows)));
    let earlier = earlier.unwrap_or_default();
    // No change is shown where nothing was before: JSON writes infinity as null.
    let is_right = before[1..]
        .iter()
        .zip(earlier)
        .all(|(cell, own)| is_near(cell, (own > 0.0).then_some(own)));
    (!is_right).then(|| format!("Totals before {before:?}, counted {earlier:?}"))
}

fn over_time(
    all: &Counted<'_>,
    range: &CountedRange,
    zone: &str,
    compare: Compare,
) -> Option<String> {
    let view = all.view(range, zone, compare);
    let title = "Clicks over time";
    let step = view.at(all.panel(title), None).interval;
    let rows: Vec<_> = all.rows.iter().collect();
    let mut expected: BTreeMap<i64, [i64; 3]> = BTreeMap::new();
    let mut between = 0;
    for row in range.of(&rows) {
        let bucket = range.bucket(row.at_us.div_euclid(1_000_000), step);
        expected.entry(bucket).or_default()[usize::from(row.is_bot)] += 1;
    }
    for row in range.before(compare).map_or(Vec::new(), |before| before.of(&rows)) {
        match range.moved_from(row.at_us.div_euclid(1_000_000), compare) {
            Some(moved) => expected.entry(range.bucket(moved, step)).or_default()[2] += 1,
            // Its time of day does not exist in this range, or twice: it is drawn before or after the change.
            None => between += 1,
        }
    }
    let answer = all.ask(title, &view);
    let cell = |cell: &Value| if cell.is_null() { 0 } else { integer(cell) };
    let found: BTreeMap<i64, [i64; 3]> = answer
        .iter()
        .map(|row| (seconds(&row[0]), [cell(&row[1]), cell(&row[2]), cell(&row[3])]))
        .collect();
    if found.len() != answer.len() {
        return Some(format!("{title} has a time twice"));
    }
    // Every step of the range has a point.
    let mut at = range.begin;
    while at < range.until {
        expected.entry(range.bucket(at, step)).or_default();
        at += step.min(900);
    }
    let [own, its] = [&expected, &found].map(|all| all.values().map(|row| row[2]).sum::<i64>());
    if own + between != its {
        return Some(format!("{title} before: {its}, counted {own} and {between}"));
    }
    let differ = |bucket: &i64| {
        let (own, its) = (expected.get(bucket), found.get(bucket));
        let is_right = own.zip(its).is_some_and(|(own, its)| {
            own[..2] == its[..2] && (own[2]..=own[2] + between).contains(&its[2])
        });
        (!is_right).then(|| format!("at {bucket} {its:?}, counted {own:?}"))
    };
    let all: std::collections::BTreeSet<_> = expected.keys().chain(found.keys()).collect();
    let differences: Vec<_> = all.into_iter().filter_map(differ).take(4).collect();
    (!differences.is_empty()).then(|| format!("{title} step {step}: {}", differences.join("; ")))
}

fn list(all: &Counted<'_>, range: &CountedRange, zone: &str, compare: Compare) -> Option<String> {
    let rows: Vec<_> = all.rows.iter().collect();
    let (now, before) =
        (range.of(&rows), range.before(compare).map_or(Vec::new(), |it| it.of(&rows)));
    let [clicks, clicks_before] =
        [&now, &before].map(|rows| counted(rows, |row| row.label("country")));
    let answer = all.ask("Countries", &all.view(range, zone, compare));
    let mut most: Vec<_> = clicks.iter().collect();
    most.sort_by_key(|(country, count)| (std::cmp::Reverse(**count), **country));
    most.truncate(10);
    if answer.len() != most.len() {
        return Some(format!("Countries has {} rows, counted {}", answer.len(), most.len()));
    }
    for (row, (country, count)) in answer.iter().zip(most) {
        let earlier = clicks_before.get(country).copied().unwrap_or(0);
        let change = (earlier > 0).then(|| *count as f64 / earlier as f64 - 1.0);
        let is_right = row[0] == *country
            && integer(&row[1]) == i64::try_from(*count).unwrap()
            && is_near(&row[2], Some(share(*count, now.len())))
            && is_near(&row[3], change);
        if !is_right {
            return Some(format!("Countries {row:?}, counted {country} {count} {change:?}"));
        }
    }
    None
}

fn hours_of_the_week(all: &Counted<'_>, range: &CountedRange, zone: &str) -> Option<String> {
    let rows: Vec<_> = all.rows.iter().collect();
    let expected =
        counted(&range.of(&rows), |row| range.hour_of_week(row.at_us.div_euclid(1_000_000)));
    let answer = all.ask("Hours of the week", &all.view(range, zone, Compare::None));
    if answer.len() != 24 {
        return Some(format!("Hours of the week has {} rows", answer.len()));
    }
    for row in &answer {
        let hour = i8::try_from(integer(&row[0])).unwrap();
        for (day, cell) in (0..).zip(&row[1..]) {
            let own = expected.get(&(hour, day)).copied().unwrap_or(0);
            if integer(cell) != i64::try_from(own).unwrap() {
                return Some(format!("hour {hour} of day {day}: {cell}, counted {own}"));
            }
        }
    }
    None
}

/// A week with clicks every ten minutes and more in its last hour, whose texts are of all kinds.
fn rows_of_filters() -> (CountedRange, Vec<CountedRow>) {
    let (begin, mut random) = (moment("2026-06-01T00:00:00Z"), SeededRandom::new(5));
    let range = CountedRange { begin, until: begin + 7 * DAY, zone: TimeZone::UTC };
    let moments = (begin - 7 * DAY..range.until).step_by(600);
    let moments = moments.chain((range.until - HOUR + 7..range.until).step_by(40));
    let rows = moments.map(|at| CountedRow::at(at * 1_000_000, &mut random)).collect();
    (range, rows)
}

/// Clicks of the range and of the one before, as the dashboard's totals show them.
fn clicks_of_totals(all: &Counted<'_>, view: &View) -> (i64, i64) {
    let answer = all.ask("Totals", view);
    let earlier = &answer[0][1];
    (integer(&answer[1][1]), if earlier.is_null() { 0 } else { integer(earlier) })
}

#[test]
fn each_filter_selects_its_clicks_whatever_text_it_has_and_filters_combine() {
    let world = World::new("recount_filters");
    let (counted, range, view) = Counted::of_filters(&world);
    let rows: Vec<_> = counted.rows.iter().collect();
    let (now, before) = (range.of(&rows), range.before(Compare::Previous).unwrap().of(&rows));
    let clicks = |set: &[(&str, &str)], bots: Option<bool>| {
        let of = |rows: &[&CountedRow]| {
            let matches = |row: &&&CountedRow| {
                bots.is_none_or(|bots| row.is_bot == bots)
                    && set.iter().all(|(name, value)| row.label(name) == *value)
            };
            i64::try_from(rows.iter().filter(matches).count()).unwrap()
        };
        (of(&now), of(&before))
    };
    let mut wrong = Vec::new();
    let mut check = |set: &[(&str, &str)], traffic: &str, bots| {
        let filtered = set.iter().fold(view.clone(), |view, (name, value)| view.with(name, value));
        let found = clicks_of_totals(&counted, &filtered.with("traffic", traffic));
        let expected = clicks(set, bots);
        if found != expected {
            wrong.push(format!("{set:?} {traffic}: {found:?}, counted {expected:?}"));
        }
    };
    // Each filter with its empty value and with two texts; each text with some filters.
    for (number, (name, column, empty)) in (0..).zip(FILTERS) {
        let values: std::collections::BTreeSet<_> =
            rows.iter().map(|row| row.texts[column]).filter(|text| !text.is_empty()).collect();
        let values: Vec<_> = values.into_iter().collect();
        check(&[(name, empty)], "all", None);
        for at in [number, number + 5] {
            check(&[(name, values[at % values.len()])], "all", None);
        }
    }
    check(&[("link", "no such value")], "all", None);
    check(&[("link", r"\' OR 1=1")], "all", None);
    for (first, second) in FILTERS.iter().zip(FILTERS.iter().skip(1)).step_by(3) {
        let set = [first.0, second.0].map(|name| (name, now[7].label(name)));
        check(&set, "people", Some(false));
        check(&set, "bots", Some(true));
    }
    let row = now[3];
    let all: Vec<_> = FILTERS.iter().map(|(name, ..)| (*name, row.label(name))).collect();
    check(&all, "all", None);
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}
