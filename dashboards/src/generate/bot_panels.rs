//! The panels of *Bots* that count machines. The choice of "Traffic" has no effect on them.

use serde_json::json;

use crate::generate::bar_list::{BarList, Part};
use crate::generate::click_panels::values;
use crate::generate::click_query as query;
use crate::generate::click_series::click_series;
use crate::generate::column::Column;
use crate::generate::data_link::DataLink;
use crate::generate::filter::Filter;
use crate::generate::look::{Colour, Unit};
use crate::generate::panel::Panel;
use crate::generate::stat::compared_stat;
use crate::generate::table::{neutral_bar_list, table};
use crate::generate::time_series::time_series;

/// The kinds that people distinguish: the name of the column, the title, the condition over `clicks AS c`, the colour by
/// Grafana's name.
const KINDS: [(&str, &str, &str, &str); 6] = [
    ("people", "People", "NOT c.is_bot", "blue"),
    ("previews", "Link previews", "c.bot_class = 'link_preview'", "green"),
    ("crawlers", "Crawlers", "c.bot_class = 'declared_crawler'", "orange"),
    ("ai_crawlers", "AI crawlers", "c.bot_class = 'ai_crawler'", "purple"),
    ("ai_agents", "AI agents", "c.bot_class = 'ai_agent'", "red"),
    (
        "others",
        "Other machines",
        "c.is_bot AND c.bot_class NOT IN ('link_preview', 'declared_crawler', 'ai_crawler', 'ai_agent')",
        "#8e8e8e",
    ),
];

/// What the kinds are.
const EXPLAINED: &str = "Link previews: messengers and social networks that show a link's page. Crawlers: search engines and \
    others that declare themselves. AI crawlers: they read for the training or the index of a language model. AI agents: they \
    read when a person asks a language model. Other machines: all other classes, such as monitors, programs, prefetches and requests \
    without a user agent.";

/// The columns of the kinds.
fn kinds(panel: Panel) -> Panel {
    KINDS.iter().fold(panel, |panel, (name, title, _, colour)| {
        let fixed = json!({ "mode": "fixed", "fixedColor": colour });
        panel.column(&Column::new(name, title, Unit::Short).property("color", fixed))
    })
}

/// Clicks of each kind, with their changes.
pub(crate) fn totals() -> Panel {
    let figures = KINDS.map(|(name, _, condition, _)| (name, format!("countIf({condition})")));
    let description = format!(
        "Clicks of each kind in the time range, each with its change against the range chosen in \"Compare with\". {EXPLAINED}"
    );
    kinds(compared_stat("People and machines", &description))
        .sql(&query::totals(&figures))
        .size(24, 4)
}

/// The query of both time series.
fn series() -> String {
    click_series(&KINDS.map(|(name, _, condition, _)| (name, condition)))
}

/// Clicks of each kind over time.
pub(crate) fn over_time() -> Panel {
    let description = format!("Clicks of each kind, one above the other. {EXPLAINED}");
    kinds(time_series("Clicks over time", &description))
        .custom("stacking", json!({ "mode": "normal", "group": "A" }))
        .custom("fillOpacity", json!(30))
        .property("maxDataPoints", json!(28))
        .series(&series())
        .size(12, 9)
}

/// The share of each kind over time.
pub(crate) fn share_over_time() -> Panel {
    let description =
        "The share of each kind in all clicks of a step. A step without a click has no share.";
    kinds(time_series("Share over time", description))
        .custom("stacking", json!({ "mode": "percent", "group": "A" }))
        .custom("fillOpacity", json!(60))
        .property("maxDataPoints", json!(28))
        .series(&series())
        .size(12, 9)
}

/// Bots by their names.
pub(crate) fn names(dashboard: &str) -> Panel {
    let description = "Machines by the names that they declare, with their class and the time of their last click in the range. \
        Share is of all clicks of machines that match the filters.";
    let sql = BarList::of(&[Filter::BotName, Filter::BotClass], 30)
        .of_everyone()
        .only("c.is_bot", Part::Several)
        .more("last", "max(c.occurred_at)")
        .sql();
    let columns = [values(dashboard, Filter::BotName), values(dashboard, Filter::BotClass)];
    neutral_bar_list("Bots", description, &columns)
        .no_value("No machine came in this time range")
        .column(&Column::new("last", "Last click", Unit::Ago).width(130))
        .sql(&sql)
        .size(14, 10)
}

/// The classes.
pub(crate) fn classes(dashboard: &str) -> Panel {
    let description = "Why a click counts as one of a machine. Share is of all clicks that match the filters, those of people too. \
        declared_crawler: search engines and others that declare themselves. monitor: checks that a site answers. http_library: \
        programs. prefetch, subresource, head: requests that no person made. empty_agent: without a user agent. \
        stripped_machine: a machine whose user agent was removed for privacy.";
    neutral_bar_list("Classes", description, &[values(dashboard, Filter::BotClass)])
        .sql(&BarList::of(&[Filter::BotClass], 15).of_everyone().sql())
        .size(10, 10)
}

/// Crawlers and agents of language models.
pub(crate) fn language_models(dashboard: &str) -> Panel {
    let description = "Crawlers that read for a language model, and agents that read when a person asks one. Share is of both.";
    let sql = BarList::of(&[Filter::BotName, Filter::BotClass], 15)
        .of_everyone()
        .only("c.bot_class IN ('ai_crawler', 'ai_agent')", Part::Several)
        .sql();
    let columns = [values(dashboard, Filter::BotName), values(dashboard, Filter::BotClass)];
    neutral_bar_list("AI crawlers and AI agents", description, &columns)
        .no_value("No crawler or agent of a language model came in this time range")
        .sql(&sql)
        .size(12, 9)
}

/// The links that machines follow.
pub(crate) fn links(dashboard: &str) -> Panel {
    let fields = [(Filter::Domain, "domain"), (Filter::Link, "link")];
    let open = DataLink::filter("Show this link", "link", &fields);
    let filter = DataLink::filter("Filter by this link", dashboard, &fields);
    let description = "The links and paths with the most clicks of machines, and how many different machines came. Share is of \
        all clicks of machines.";
    let sql = BarList::of(&[Filter::Domain, Filter::Link], 15)
        .of_everyone()
        .only("c.is_bot", Part::Several)
        .more("bots", "uniq((c.bot_class, c.bot_name))")
        .sql();
    let link = Column::text("link", "Link").link(&open).link(&filter);
    neutral_bar_list(
        "Links that bots follow",
        description,
        &[values(dashboard, Filter::Domain), link],
    )
    .no_value("No machine came in this time range")
    .column(&Column::count("bots", "Bots"))
    .sql(&sql)
    .size(12, 9)
}

/// The newest clicks of machines.
pub(crate) fn newest(dashboard: &str) -> Panel {
    let shown = [
        Filter::BotName,
        Filter::BotClass,
        Filter::Domain,
        Filter::Link,
        Filter::Outcome,
        Filter::Country,
    ];
    let columns = shown.map(|filter| format!("  {} AS {}", filter.label(), filter.variable()));
    let columns = format!("{},\n  c.user_agent AS agent", columns.join(",\n"));
    let sql = query::newest("c.is_bot", &columns);
    table(
        "Newest clicks of bots",
        "The last 50 clicks of machines that match the filters, newest first.",
    )
    .no_value("No machine came in this time range")
    .column(&Column::new("time", "Time", Unit::Moment).width(180))
    .columns(&shown.map(|filter| values(dashboard, filter)))
    .column(
        &Column::text("agent", "User agent")
            .property("noValue", json!("–"))
            .colour(Colour::Unknown),
    )
    .sql(&sql)
    .size(24, 10)
}
