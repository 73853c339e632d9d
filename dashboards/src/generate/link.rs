//! The dashboard *Link*: one link.

use serde_json::json;

use crate::generate::annotations::annotations_of_link;
use crate::generate::badge::badge;
use crate::generate::bar_list::BarList;
use crate::generate::click_panels::{self as panels, values};
use crate::generate::click_query::{TRAFFIC, filters};
use crate::generate::click_series::click_series;
use crate::generate::clock;
use crate::generate::column::Column;
use crate::generate::comparison::DURING_RANGE;
use crate::generate::filter::Filter;
use crate::generate::filter_bar::filter_bar;
use crate::generate::look::{Colour, Unit};
use crate::generate::page::Page;
use crate::generate::panel::Panel;
use crate::generate::table::{bar_list, table};
use crate::generate::time_series::time_series;
use crate::generate::variable_list;

const NAME: &str = "link";

/// The dashboard.
pub(crate) fn link() -> Page {
    Page::new(
        NAME,
        "Link",
        "One short link: its clicks, where they came from, and where it led. Click one in the list, or type its \
        path into Link. Without one, the panels show all links.",
    )
    .time("now-7d", "1m")
    .variables([variable_list::traffic("people"), variable_list::compare()])
    .variables(variable_list::filters())
    .annotations(annotations_of_link())
    .panels(&badge(6))
    .panel(&filter_bar(NAME))
    .panel(&chosen_link())
    .panel(&panels::choice_of_link())
    .panel(&panels::totals(NAME))
    .panel(&panels::clicks_over_time())
    .section("Destinations")
    .panel(&target_history())
    .panel(&destinations())
    .section("QR codes and links")
    .panel(&triggers_over_time())
    .panel(&triggers())
    .extended(|page| panels::visitor_sections(page, NAME))
    .section("Campaigns and hours")
    .panel(&panels::campaigns(NAME))
    .panel(&panels::hour_of_week())
    .section("One by one")
    .panel(&panels::newest_clicks(NAME))
}

/// The condition that a link is chosen, and that rows with a domain and a slug are of it.
fn chosen(domain: &str, slug: &str) -> String {
    format!(
        "'${{link:percentencode}}' != ''\n  \
        AND if({slug} = '', '(no path)', {slug}) = decodeURLComponent('${{link:percentencode}}')\n  \
        AND ('${{domain:percentencode}}' = '' OR {domain} IN ('', decodeURLComponent('${{domain:percentencode}}')))"
    )
}

/// The link itself, as the processors read it from the topic of links; else as its clicks show it.
fn chosen_link() -> Panel {
    let description = "The link that is chosen by the fields Domain and Link, as it is now. State: whether it redirects. A \
        link without a domain is for all domains. Where the table of links does not hold it, the row is of its newest click.";
    let chosen_links = chosen("l.domain", "l.slug");
    let sql = format!(
        "WITH\n{range}\n\
        SELECT\n  l.domain AS domain,\n  l.slug AS link,\n  l.target_url AS target,\n  \
        multiIf(l.deleted, 'deleted', l.disabled, 'disabled', l.expires_at < now(), 'expired', 'active') AS state,\n  \
        l.changed_at AS changed\n\
        FROM links AS l\nWHERE {chosen_links}\nORDER BY l.changed_at DESC\nLIMIT 20\n\
        UNION ALL\n\
        SELECT\n  toString(c.domain) AS domain,\n  toString(c.slug) AS link,\n  \
        toString(argMax(c.target_url, c.occurred_at)) AS target,\n  'as clicked' AS state,\n  NULL AS changed\n\
        FROM clicks AS c\nWHERE {DURING_RANGE} AND c.link_id != ''\n  AND {chosen_clicks}\n  \
        AND (SELECT count() FROM links AS l WHERE {chosen_links}) = 0\n\
        GROUP BY c.domain, c.slug\nLIMIT 20",
        range = clock::RANGE,
        chosen_clicks = chosen("c.domain", "c.slug"),
    );
    table("Link", description)
        .column(&Column::text("domain", "Domain").width(120))
        .column(&Column::text("link", "Path").width(120))
        .column(&Column::text("target", "Destination"))
        .column(&Column::text("state", "State").width(80))
        .column(&Column::new("changed", "Changed", Unit::Ago).width(130))
        .no_value(
            "No link is chosen, or none of this name is known or was clicked in this time range. Click one in the list \
            beside, or type its path into the field Link",
        )
        .sql(&sql)
        .size(12, 8)
}

/// Where the link led: each version with its destination, and the clicks that it got. Links of two domains may have the same
/// path: they differ in their id.
fn target_history() -> Panel {
    let description = "Where the link led, newest version first; of each link with this path, where several domains have one. Clicks, first and last click: of the time range, with \
        the destination that the visitor was sent to. Clicks without a recorded destination, such as those imported from access logs, \
        are not in it. Changed: known for the \
        newest version, and for older ones until the table of links merges them.";
    let sql = format!(
        "WITH\n{range}\n\
        SELECT arrayStringConcat(arraySort(groupUniqArrayIf(domain, domain != '')), ', ') AS domains, \
        version, target, sum(count) AS clicks, \
        min(first) AS first_click, max(last) AS last_click, max(made) AS changed\nFROM\n(\n  \
        SELECT toString(c.link_id) AS id, toString(c.domain) AS domain, toUInt64(c.link_version) AS version, \
        toString(c.target_url) AS target, sum({TRAFFIC}) AS count, \
        minIf(c.occurred_at, {TRAFFIC}) AS first, maxIf(c.occurred_at, {TRAFFIC}) AS last, NULL AS made\n  \
        FROM clicks AS c\n  WHERE '${{link:percentencode}}' != '' AND {DURING_RANGE}{filters}\n  \
        GROUP BY id, domain, version, target\n  HAVING count > 0 AND target != ''\n  UNION ALL\n  \
        SELECT l.link_id, toString(l.domain), l.version, l.target_url, 0, NULL, NULL, l.changed_at\n  FROM link_versions AS l\n  WHERE {chosen}\n)\n\
        GROUP BY id, version, target\nORDER BY domains, version DESC, clicks DESC, target\nLIMIT 50",
        range = clock::RANGE,
        filters = filters(),
        chosen = chosen("l.domain", "l.slug"),
    );
    table("Destination history", description)
        .column(&Column::text("domains", "Domain").width(130).property("noValue", json!("all")))
        .column(&Column::count("version", "Version").width(80))
        .column(&Column::text("target", "Destination"))
        .column(&Column::bar("clicks", "Clicks").width(140))
        .column(&Column::new("first_click", "First click", Unit::Moment).width(170))
        .column(&Column::new("last_click", "Last click", Unit::Moment).width(170))
        .column(&Column::new("changed", "Changed", Unit::Moment).width(170))
        .no_value("Choose a link to see where it led")
        .sql(&sql)
        .size(16, 8)
}

/// The hosts of destinations.
fn destinations() -> Panel {
    let description = "The hosts that visitors were sent to. Share is of all clicks of the chosen traffic that match the filters. \
        Not recorded: access logs hold no destination, so imported clicks have none; clicks that were not redirected have none, too.";
    bar_list("Destinations", description, &[values(NAME, Filter::Target)])
        .sql(&BarList::of(&[Filter::Target], 10).sql())
        .size(8, 8)
}

/// QR codes against links over time.
fn triggers_over_time() -> Panel {
    let description = "Clicks by QR codes and by links, of the traffic that is chosen. A QR code is recognized by its mark in \
        the visited address.";
    let wanted = |trigger: &str| format!("{TRAFFIC} AND c.trigger = '{trigger}'");
    let (link, qr) = (wanted("link"), wanted("qr"));
    let sql = click_series(&[("link", &link), ("qr", &qr)]);
    time_series("QR codes and links over time", description)
        .column(&Column::new("link", "Link", Unit::Short).colour(Colour::People))
        .column(&Column::new("qr", "QR code", Unit::Short).colour(Colour::Good))
        .custom("lineWidth", json!(2))
        .property("maxDataPoints", json!(170))
        .series(&sql)
        .size(16, 8)
}

/// QR codes against links, as a list.
fn triggers() -> Panel {
    let description = "What visitors used: a link, a QR code, or a page that loaded the address. Share is of all clicks \
        of the chosen traffic that match the filters.";
    bar_list("QR codes and links", description, &[values(NAME, Filter::Trigger)])
        .sql(&BarList::of(&[Filter::Trigger], 10).sql())
        .size(8, 8)
}
