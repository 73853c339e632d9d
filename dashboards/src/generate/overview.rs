//! The dashboard *Overview*: all clicks that match the filters.

use crate::generate::annotations::annotations;
use crate::generate::badge::badge;
use crate::generate::click_panels as panels;
use crate::generate::filter_bar::filter_bar;
use crate::generate::page::Page;
use crate::generate::variable_list;

const NAME: &str = "overview";

/// The dashboard.
pub(crate) fn overview() -> Page {
    Page::new(
        NAME,
        "Overview",
        "How many clicks came, from where, on which links, and how that changed. Click a value to filter by it.",
    )
    .time("now-7d", "1m")
    .variables([variable_list::traffic("people"), variable_list::compare()])
    .variables(variable_list::filters())
    .annotations(annotations())
    .panels(&badge(6))
    .panel(&filter_bar(NAME))
    .panel(&panels::totals(NAME))
    .panel(&panels::clicks_over_time())
    .panel(&panels::hour_of_week())
    .section("Links")
    .panel(&panels::top_links(NAME))
    .panel(&panels::unknown_slugs(NAME))
    .extended(|page| panels::visitor_sections(page, NAME))
    .section("Campaigns")
    .panel(&panels::campaigns(NAME))
    .section("One by one")
    .panel(&panels::newest_clicks(NAME))
}
