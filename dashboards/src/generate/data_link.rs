//! Links of values and of headers: to a dashboard, with the time range, all choices, and a filter more or less.

use serde_json::{Value, json};

use crate::generate::filter::Filter;

/// The choices that are no filters.
const CHOICES: [&str; 2] = ["traffic", "compare"];

/// A link.
#[derive(Debug, Clone)]
pub(crate) struct DataLink {
    title: String,
    url: String,
}

impl DataLink {
    /// To a dashboard with all choices and filters as they are, but for filters that take the value of a field of the
    /// clicked row.
    pub(crate) fn filter(title: &str, dashboard: &str, fields: &[(Filter, &str)]) -> Self {
        let value = |(filter, field): &(Filter, &str)| {
            (*filter, format!("${{__data.fields.{field}:percentencode}}"))
        };
        Self::with(title, dashboard, &fields.iter().map(value).collect::<Vec<_>>())
    }

    /// To a dashboard with all choices and filters as they are, but for one that takes a value without special letters.
    pub(crate) fn fixed(title: &str, dashboard: &str, filter: Filter, value: &str) -> Self {
        Self::with(title, dashboard, &[(filter, value.to_owned())])
    }

    fn with(title: &str, dashboard: &str, values: &[(Filter, String)]) -> Self {
        let kept =
            Filter::ALL.into_iter().filter(|filter| values.iter().all(|(set, _)| set != filter));
        let kept = kept.map(|filter| format!("${{{}:queryparam}}", filter.variable()));
        let set = values.iter().map(|(filter, value)| format!("var-{}={value}", filter.variable()));
        Self::to(title, dashboard, kept.chain(set))
    }

    /// To a dashboard with no filters. It names all: a dashboard that is open keeps what a link does not name.
    pub(crate) fn without_filters(title: &str, dashboard: &str) -> Self {
        let none = Filter::ALL.into_iter().map(|filter| format!("var-{}=", filter.variable()));
        Self::to(title, dashboard, none)
    }

    /// To a dashboard with the filters of a field that holds them as a query string, encoded.
    pub(crate) fn with_filters_of(title: &str, dashboard: &str, field: &str) -> Self {
        Self::to(title, dashboard, std::iter::once(format!("${{__data.fields.{field}:raw}}")))
    }

    fn to(title: &str, dashboard: &str, filters: impl Iterator<Item = String>) -> Self {
        let choices = CHOICES.into_iter().map(|name| format!("${{{name}:queryparam}}"));
        let range = std::iter::once("${__url_time_range}".to_owned());
        let parameters: Vec<_> = range.chain(choices).chain(filters).collect();
        Self {
            title: title.to_owned(),
            url: format!("/d/clicktrail-{dashboard}?{}", parameters.join("&")),
        }
    }

    /// The link as panels hold it.
    pub(crate) fn json(&self) -> Value {
        json!({ "title": self.title, "url": self.url, "targetBlank": false })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_that_sets_or_removes_filters_names_each_filter_once() {
        let fields = [(Filter::Country, "country"), (Filter::City, "city")];
        for link in [
            DataLink::filter("t", "overview", &fields),
            DataLink::filter("t", "link", &[]),
            DataLink::fixed("t", "overview", Filter::Trigger, "qr"),
            DataLink::without_filters("t", "overview"),
        ] {
            for filter in Filter::ALL {
                let kept =
                    link.url.matches(&format!("${{{}:queryparam}}", filter.variable())).count();
                let set = link.url.matches(&format!("&var-{}=", filter.variable())).count();
                assert_eq!(kept + set, 1, "{filter:?} in {}", link.url);
            }
        }
        let link = DataLink::filter("t", "overview", &fields).url;
        assert!(link.ends_with(
            "&var-country=${__data.fields.country:percentencode}&var-city=${__data.fields.city:percentencode}"
        ));
    }
}
