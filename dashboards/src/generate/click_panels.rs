//! The panels of clicks that *Overview* and *Link* share. Each takes the name of its dashboard, to which its links lead
//! back with a filter more.

use serde_json::json;

use crate::generate::bar_list::{BarList, Part};
use crate::generate::click_query::{self as query, TRAFFIC, filters, with_ranges};
use crate::generate::click_source::ClickRange;
use crate::generate::clock;
use crate::generate::column::Column;
use crate::generate::comparison::{DURING_BEFORE, DURING_RANGE, SECONDS_FORWARD, calendar_forward};
use crate::generate::data_link::DataLink;
use crate::generate::filter::Filter;
use crate::generate::geomap;
use crate::generate::heat_map::heat_map;
use crate::generate::look::{Colour, Unit};
use crate::generate::page::Page;
use crate::generate::panel::Panel;
use crate::generate::stat::compared_stat;
use crate::generate::table::{bar_list, neutral_bar_list, table};
use crate::generate::time_series::time_series;

/// The column of a filter's values, each with a link that sets the filter.
pub(crate) fn values(dashboard: &str, filter: Filter) -> Column {
    let link = DataLink::filter(
        &format!("Filter by this {}", filter.title().to_lowercase()),
        dashboard,
        &[(filter, filter.variable())],
    );
    Column::text(filter.variable(), filter.title()).link(&link)
}

/// The list of a filter's values.
fn list(dashboard: &str, title: &str, description: &str, filter: Filter) -> Panel {
    let description = format!(
        "{description} Share is of all clicks of the chosen traffic that match the filters; Change is against the range of \"Compare with\"."
    );
    bar_list(title, &description, &[values(dashboard, filter)])
        .sql(&BarList::of(&[filter], 10).sql())
}

/// Clicks, visitors and shares with their changes: one query for all of them.
pub(crate) fn totals(dashboard: &str) -> Panel {
    let description = "Of the time range and the filters, each with its change against the range chosen in \"Compare with\", in percent \
        of the earlier figure: a share that grew from 10 % to 11 % changed by 10 %. \
        Clicks: requests of short links. Visitors: distinct visitors of each day (UTC), summed over the days, because an id \
        is of one day; clicks without an id are not in it. Links clicked: distinct links. Unknown slugs: share of clicks on \
        paths that are no link. QR: share of clicks by a QR code. Bots: share of all traffic that machines sent, with any \
        choice of \"Traffic\". A figure without an earlier one has no change.";
    let figures = [
        ("clicks", "countIf(wanted)"),
        ("visitors", "uniqIf(c.visitor_id, wanted AND c.visitor_id != 0)"),
        ("links", "uniqIf(cityHash64(c.link_id), wanted AND c.link_id != '')"),
        ("unknown", "countIf(wanted AND c.outcome = 'not_found') / countIf(wanted)"),
        ("qr", "countIf(wanted AND c.trigger = 'qr') / countIf(wanted)"),
        ("bots", "countIf(c.is_bot) / count()"),
    ];
    let share = |name: &str, title: &str| {
        Column::new(name, title, Unit::Share).property("decimals", json!(1))
    };
    let unknown = "Filter by unknown slugs";
    let unknown = DataLink::fixed(unknown, dashboard, Filter::Outcome, "not_found");
    let qr = DataLink::fixed("Filter by QR codes", dashboard, Filter::Trigger, "qr");
    compared_stat("Totals", description)
        .column(&Column::new("clicks", "Clicks", Unit::Short))
        .column(&Column::new("visitors", "Visitors (by day, summed)", Unit::Short))
        .column(&Column::new("links", "Links clicked", Unit::Short))
        .column(&share("unknown", "Unknown slugs").link(&unknown))
        .column(&share("qr", "QR").link(&qr))
        .column(&share("bots", "Bots").colour(Colour::Bots))
        .sql(&query::totals(&figures))
        .size(24, 4)
}

/// People against bots, and the earlier range moved onto this one.
pub(crate) fn clicks_over_time() -> Panel {
    let description = "Clicks of people and of bots, with any choice of \"Traffic\". The dashed line is the traffic chosen \
        above in the range chosen in \"Compare with\", moved onto this one. Days begin at midnight of your time zone; the \
        first and the last step may be cut by the time range.";
    let seconds = clock::slot("toUnixTimestamp(c.occurred_at)");
    let earlier = clock::slot(SECONDS_FORWARD);
    let moved = calendar_forward("toDateTime(slot, zone)");
    let moment = clock::bucket("moment");
    let every = clock::EVERY_BUCKET;
    let step = clock::STEP;
    let filters = filters();
    let sql = format!(
        "{with},\n  {step}\n\
        SELECT {moment} AS time,\n  sum(of_people) AS people,\n  sum(of_bots) AS bots,\n  \
        if(compared, sum(of_before), NULL) AS before\nFROM\n(\n  \
        SELECT toDateTime(slot, zone) AS moment, of_people, of_bots, 0 AS of_before\n  FROM\n  (\n    \
        SELECT {seconds} AS slot, count() - of_bots AS of_people, sum(c.is_bot) AS of_bots\n    \
        FROM clicks AS c\n    WHERE {DURING_RANGE}{filters}\n    GROUP BY slot\n  )\n  UNION ALL\n  \
        SELECT {moved}, 0, 0, clicks\n  FROM\n  (\n    \
        SELECT {earlier} AS slot, sum({TRAFFIC}) AS clicks\n    \
        FROM clicks AS c\n    WHERE {DURING_BEFORE}{filters}\n    GROUP BY slot\n  )\n  UNION ALL\n  \
        SELECT toDateTime({every}, zone), 0, 0, 0\n)\nGROUP BY time\nORDER BY time",
        with = with_ranges().trim_end(),
    );
    time_series("Clicks over time", description)
        .column(&Column::new("people", "People", Unit::Short).colour(Colour::People))
        .column(&Column::new("bots", "Bots", Unit::Short).colour(Colour::Bots))
        .column(
            &Column::new("before", "Chosen traffic, compared period", Unit::Short)
                .colour(Colour::Before)
                .property("custom.lineStyle", json!({ "fill": "dash", "dash": [6, 6] }))
                .property("custom.fillOpacity", json!(0)),
        )
        .custom("lineWidth", json!(2))
        .custom("fillOpacity", json!(12))
        // Seven days have a point each hour.
        .property("maxDataPoints", json!(170))
        .series(&sql)
        .size(24, 9)
}

/// Clicks by hour and day of the week.
pub(crate) fn hour_of_week() -> Panel {
    let description = "Clicks by hour and weekday of your time zone. The number below a cell is its hour. \
        Choose full weeks to compare weekdays.";
    let days = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
    let numbered = (1..).zip(days);
    let columns: Vec<_> = numbered
        .map(|(number, day)| format!("  sumIf(clicks, weekday = {number}) AS {day}"))
        .collect();
    let sql = format!(
        "WITH\n{range},\n  900 AS step\nSELECT hour,\n{columns}\nFROM\n(\n  \
        SELECT toHour(toDateTime(slot, zone)) AS hour, toDayOfWeek(toDateTime(slot, zone)) AS weekday, clicks\n  FROM\n  (\n    \
        SELECT {slot} AS slot, sum({TRAFFIC}) AS clicks\n    \
        FROM clicks AS c\n    WHERE {DURING_RANGE}{filters}\n    GROUP BY slot\n  )\n  UNION ALL\n  \
        SELECT number, 1, 0 FROM numbers(24)\n)\nGROUP BY hour\nORDER BY hour",
        range = clock::RANGE,
        columns = columns.join(",\n"),
        slot = clock::slot("toUnixTimestamp(c.occurred_at)"),
        filters = filters(),
    );
    heat_map("Hours of the week", description).sql(&sql).size(24, 8)
}

/// The links with the most clicks; each leads to its own dashboard.
pub(crate) fn top_links(dashboard: &str) -> Panel {
    let description = "The links with the most clicks. Click a link to see its own dashboard. Visitors: distinct visitors of \
        each day, summed; clicks without a visitor id are not in it. Share is of the clicks on known links only.";
    let filter = DataLink::filter("Filter by this link", dashboard, &LINK);
    let link = Column::text("link", "Link").link(&open_link()).link(&filter);
    let sql = links(20).with_visitors().sql();
    bar_list("Top links", description, &[values(dashboard, Filter::Domain), link])
        .column(&Column::count("visitors", "Visitors"))
        .sql(&sql)
        .size(14, 10)
}

/// The links with the most clicks, to choose one, also while another one is chosen.
pub(crate) fn choice_of_link() -> Panel {
    let description = "The links with the most clicks, with any choice of Domain and Link. Click one to choose it. Share is of \
        the clicks on known links only.";
    let columns = [("domain", "Domain"), ("link", "Link")];
    let columns = columns.map(|(name, title)| Column::text(name, title).link(&open_link()));
    bar_list("Choose a link", description, &columns)
        .sql(&links(50).ignoring(&[Filter::Domain, Filter::Link]).sql())
        .size(12, 8)
}

/// The filters that a link is.
const LINK: [(Filter, &str); 2] = [(Filter::Domain, "domain"), (Filter::Link, "link")];

fn open_link() -> DataLink {
    DataLink::filter("Show this link", "link", &LINK)
}

fn links(limit: u32) -> BarList {
    BarList::of(&[Filter::Domain, Filter::Link], limit).only("c.link_id != ''", Part::Most)
}

/// Paths that are no link.
pub(crate) fn unknown_slugs(dashboard: &str) -> Panel {
    let description = "Paths that visitors requested and that are no link: mistyped, deleted, or never made. Share is of the \
        clicks on such paths only.";
    let sql = BarList::of(&[Filter::Domain, Filter::Link], 20)
        .only("c.outcome = 'not_found'", Part::Few)
        .sql();
    let path = values(dashboard, Filter::Link).property("displayName", json!("Path"));
    neutral_bar_list("Unknown slugs", description, &[values(dashboard, Filter::Domain), path])
        .no_value("No visitor requested an unknown path in this time range")
        .sql(&sql)
        .size(10, 10)
}

/// The names of origins.
pub(crate) fn sources(dashboard: &str) -> Panel {
    let description = "Where visitors came from, by name: what the link's author declares, else the referring page, a click \
        id, or the app.";
    list(dashboard, "Sources", description, Filter::Source)
}

/// The channels.
pub(crate) fn channels(dashboard: &str) -> Panel {
    let description =
        "How visitors were won, in the terms of marketing, such as paid_search or organic_social.";
    list(dashboard, "Channels", description, Filter::Channel)
}

/// The hosts of referring pages.
pub(crate) fn referrers(dashboard: &str) -> Panel {
    let description =
        "The hosts of the pages that held the link. Many browsers and apps state none.";
    list(dashboard, "Referrers", description, Filter::Referrer)
}

/// The countries on a map.
pub(crate) fn country_map(dashboard: &str) -> Panel {
    let link =
        DataLink::filter("Filter by this country", dashboard, &[(Filter::Country, "country")]);
    let description = "Clicks by country; clicks of unknown countries are in the table beside. Click a circle to filter.";
    let sql = format!(
        "WITH\n{range}\nSELECT c.country AS country, sum({TRAFFIC}) AS clicks\n{from}\n\
        GROUP BY country\nHAVING clicks > 0 AND country != ''\nORDER BY clicks DESC, country\nLIMIT 250",
        range = clock::RANGE,
        from = query::matching(ClickRange::Chosen),
    );
    geomap::country_map("Map", description)
        .column(&Column::text("country", "Country"))
        .column(&Column::count("clicks", "Clicks"))
        .link(&link)
        .sql(&sql)
        .size(10, 9)
}

/// The countries as a list.
pub(crate) fn countries(dashboard: &str) -> Panel {
    let description =
        "By the visitor's address, else by what a CDN in front states. Codes of ISO 3166-1.";
    list(dashboard, "Countries", description, Filter::Country).size(7, 9)
}

/// The cities.
pub(crate) fn cities(dashboard: &str) -> Panel {
    let fields = [(Filter::City, "city"), (Filter::Country, "country")];
    let link = DataLink::filter("Filter by this city", dashboard, &fields);
    let description = "Approximate: the city of the visitor's network, not of the visitor. Privacy: few clicks of a small \
        place may be of one person; do not publish such rows. Share is of all clicks of the chosen traffic that match the filters.";
    let columns =
        [Column::text("city", "City").link(&link), values(dashboard, Filter::Country).width(80)];
    bar_list("Cities", description, &columns)
        .sql(&BarList::of(&[Filter::City, Filter::Country], 10).sql())
        .size(7, 9)
}

/// The kinds of device.
pub(crate) fn devices(dashboard: &str) -> Panel {
    list(dashboard, "Devices", "Kinds of device, by the user agent.", Filter::Device).size(6, 8)
}

/// The browsers.
pub(crate) fn browsers(dashboard: &str) -> Panel {
    list(dashboard, "Browsers", "Browsers and other clients, by the user agent.", Filter::Browser)
        .size(6, 8)
}

/// The operating systems.
pub(crate) fn systems(dashboard: &str) -> Panel {
    list(dashboard, "Systems", "Operating systems, by the user agent.", Filter::Os).size(6, 8)
}

/// The languages.
pub(crate) fn languages(dashboard: &str) -> Panel {
    let description = "The language that the visitor's browser prefers.";
    list(dashboard, "Languages", description, Filter::Language).size(6, 8)
}

/// The campaigns that links declare.
pub(crate) fn campaigns(dashboard: &str) -> Panel {
    let description = "What the link's author declares by utm_source, utm_medium and utm_campaign, in the visited address or \
        in its destination. Share is of all clicks of the chosen traffic that match the filters, also those of no campaign.";
    let by = [Filter::UtmSource, Filter::UtmMedium, Filter::Campaign];
    let columns = by.map(|filter| values(dashboard, filter));
    let sql = BarList::of(&by, 20)
        .only("(c.utm_source != '' OR c.utm_medium != '' OR c.utm_campaign != '')", Part::Several)
        .share_of_all()
        .sql();
    bar_list("Campaigns", description, &columns)
        .no_value("No click of this time range has UTM parameters")
        .sql(&sql)
        .size(24, 8)
}

/// The newest clicks.
pub(crate) fn newest_clicks(dashboard: &str) -> Panel {
    let shown = [
        Filter::Domain,
        Filter::Link,
        Filter::Outcome,
        Filter::Trigger,
        Filter::Country,
        Filter::Source,
        Filter::Referrer,
        Filter::Device,
        Filter::Browser,
        Filter::Os,
        Filter::BotClass,
    ];
    let columns = shown.map(|filter| format!("  {} AS {}", filter.label(), filter.variable()));
    let sql = query::newest(TRAFFIC, &columns.join(",\n"));
    table("Newest clicks", "The last 50 clicks that match the filters, newest first.")
        .column(&Column::new("time", "Time", Unit::Moment).width(180))
        .columns(&shown.map(|filter| values(dashboard, filter)))
        .sql(&sql)
        .size(24, 10)
}

/// The sections about the visitors of all dashboards of clicks: where they came from, where they are, with which devices.
pub(crate) fn visitor_sections(page: Page, dashboard: &str) -> Page {
    page.section("Sources")
        .panel(&sources(dashboard))
        .panel(&channels(dashboard))
        .panel(&referrers(dashboard))
        .section("Locations")
        .panel(&country_map(dashboard))
        .panel(&countries(dashboard))
        .panel(&cities(dashboard))
        .section("Devices")
        .panel(&devices(dashboard))
        .panel(&browsers(dashboard))
        .panel(&systems(dashboard))
        .panel(&languages(dashboard))
}
