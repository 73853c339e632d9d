//! Generates the dashboards whose files are not written by hand.
//!
//! In reading order: the look, the parts of a panel, each type of panel; variables, filters, the viewer's clock and the
//! comparison in SQL; panels that dashboards share; the dashboards themselves.

mod alerts;
mod annotations;
mod badge;
mod bar_list;
mod bot_floods;
mod bot_panels;
mod bots;
mod click_panels;
mod click_query;
mod click_series;
mod click_source;
mod clock;
mod column;
mod comparison;
mod data_link;
mod filter;
mod filter_bar;
mod geomap;
mod grid;
mod heat_map;
mod link;
mod look;
mod overview;
mod page;
mod panel;
mod pipeline;
mod pipeline_delivery;
mod pipeline_processing;
mod pipeline_records;
mod stat;
mod table;
mod time_series;
mod variable_list;

/// The name of each generated file of `dashboards/`, without its ending, and its text.
#[must_use]
pub fn generated() -> Vec<(&'static str, String)> {
    let pages =
        [overview::overview(), link::link(), bots::bots(), pipeline::pipeline(), alerts::alerts()];
    pages.iter().map(|page| (page.name(), page.text())).collect()
}

#[cfg(test)]
mod tests {
    use crate::files::files;

    #[test]
    fn the_committed_dashboards_are_the_generated_ones() {
        for (name, text) in super::generated() {
            let committed = files().into_iter().find(|(file, _)| *file == name);
            let is_same = committed.is_some_and(|(_, committed)| committed == text);
            assert!(is_same, "dashboards/{name}.json is old: run `cargo run -p dashboards write`");
        }
    }
}
