//! The panel that shows the active filters and removes them.

use serde_json::json;

use crate::generate::column::Column;
use crate::generate::data_link::DataLink;
use crate::generate::filter::Filter;
use crate::generate::look::Colour;
use crate::generate::panel::Panel;
use crate::generate::table::table;

/// The filter bar of a dashboard: a row for each filter that is set, whose link removes it.
pub(crate) fn filter_bar(dashboard: &str) -> Panel {
    let description = "The filters that all panels follow. A click on a row removes its filter; the link in the header \
        removes all. To set one, click a value or a bar of another panel.";
    let remove = DataLink::with_filters_of("Remove this filter", dashboard, "remaining");
    let panel = table("Filters", description)
        .column(&Column::text("filter", "Filter").width(130).link(&remove))
        .column(&Column::text("value", "Value").colour(Colour::People).link(&remove))
        .column(&Column::hidden("remaining"))
        .header_link(&DataLink::without_filters("Remove all filters", dashboard))
        .no_value("No filter is set: click a value or a bar in any panel to set one")
        .property("transparent", json!(true))
        .size(12, 4);
    panel.sql(&sql())
}

/// Returns, for each filter that is set, its title, its value and the query string without it. The encoded values are
/// taken as they are. A filter that a link does not name would keep its value: the query string names all.
fn sql() -> String {
    let filters: Vec<_> = Filter::ALL
        .into_iter()
        .map(|filter| {
            let (title, variable) = (filter.title(), filter.variable());
            format!("    ('{title}', '{variable}', '${{{variable}:percentencode}}')")
        })
        .collect();
    format!(
        "WITH [\n{}] AS filters\n\
        SELECT one.1 AS filter,\n  \
        decodeURLComponent(one.3) AS value,\n  \
        arrayStringConcat(arrayMap(f -> concat('var-', f.2, '=', if(f.2 = one.2, '', f.3)), filters), '&') AS remaining\n\
        FROM (SELECT arrayJoin(arrayFilter(f -> f.3 != '', filters)) AS one)",
        filters.join(",\n")
    )
}
