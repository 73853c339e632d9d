//! The filters: what a variable of the dashboard and a column of `clicks` have in common.

/// The values that clicks can be filtered by. A filter has one value; the empty one filters nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Filter {
    /// The host of the short link.
    Domain,
    /// The path of the short link.
    Link,
    /// The name of the origin, such as a search engine.
    Source,
    /// How the visitor was won.
    Channel,
    /// The host of the page before.
    Referrer,
    /// The country.
    Country,
    /// The part of the country.
    Region,
    /// The city.
    City,
    /// The language.
    Language,
    /// The kind of device.
    Device,
    /// The browser.
    Browser,
    /// The operating system.
    Os,
    /// The source that the link's author declares.
    UtmSource,
    /// The medium that the link's author declares.
    UtmMedium,
    /// The campaign that the link's author declares.
    Campaign,
    /// The host of the destination.
    Target,
    /// What the visitor got.
    Outcome,
    /// What the visitor used: a link or a QR code.
    Trigger,
    /// The kind of machine.
    BotClass,
    /// The name of the machine.
    BotName,
}

/// How a filter appears: its variable, its column, the text for an empty value, its title.
struct Spec {
    variable: &'static str,
    column: &'static str,
    empty: &'static str,
    title: &'static str,
}

impl Filter {
    /// All filters, in the order of the filter bar.
    pub(crate) const ALL: [Self; 20] = [
        Self::Domain,
        Self::Link,
        Self::Source,
        Self::Channel,
        Self::Referrer,
        Self::Country,
        Self::Region,
        Self::City,
        Self::Language,
        Self::Device,
        Self::Browser,
        Self::Os,
        Self::UtmSource,
        Self::UtmMedium,
        Self::Campaign,
        Self::Target,
        Self::Outcome,
        Self::Trigger,
        Self::BotClass,
        Self::BotName,
    ];

    fn spec(self) -> Spec {
        let (variable, column, empty, title) = match self {
            Self::Domain => ("domain", "domain", "(unknown)", "Domain"),
            Self::Link => ("link", "slug", "(no path)", "Link"),
            Self::Source => ("source", "referrer_source", "(direct or unknown)", "Source"),
            Self::Channel => ("channel", "channel", "(unknown)", "Channel"),
            Self::Referrer => ("referrer", "referrer_host", "(none)", "Referrer"),
            Self::Country => ("country", "country", "(unknown)", "Country"),
            Self::Region => ("region", "region", "(unknown)", "Region"),
            Self::City => ("city", "city", "(unknown)", "City"),
            Self::Language => ("language", "language", "(unknown)", "Language"),
            Self::Device => ("device", "device", "(unknown)", "Device"),
            Self::Browser => ("browser", "browser", "(unknown)", "Browser"),
            Self::Os => ("os", "os", "(unknown)", "System"),
            Self::UtmSource => ("utm_source", "utm_source", "(none)", "UTM source"),
            Self::UtmMedium => ("utm_medium", "utm_medium", "(none)", "UTM medium"),
            Self::Campaign => ("campaign", "utm_campaign", "(none)", "Campaign"),
            Self::Target => ("target", "target_host", "(not recorded)", "Destination"),
            Self::Outcome => ("outcome", "outcome", "(unknown)", "Outcome"),
            Self::Trigger => ("trigger", "trigger", "(unknown)", "Link or QR"),
            Self::BotClass => ("bot_class", "bot_class", "(not a bot)", "Bot class"),
            Self::BotName => ("bot_name", "bot_name", "(no name)", "Bot"),
        };
        Spec { variable, column, empty, title }
    }

    /// The name of its variable.
    pub(crate) fn variable(self) -> &'static str {
        self.spec().variable
    }

    /// What people call it.
    pub(crate) fn title(self) -> &'static str {
        self.spec().title
    }

    /// Whether a person types its value, so that its variable is shown.
    pub(crate) fn is_typed(self) -> bool {
        matches!(self, Self::Domain | Self::Link)
    }

    /// The help text of its variable.
    pub(crate) fn help(self) -> String {
        if self == Self::Domain {
            return "The host of short links; empty: all hosts".to_owned();
        }
        if self == Self::Link {
            return "The path of one short link, without the leading slash; empty: all links"
                .to_owned();
        }
        format!("{}; empty: no filter. A click on a value sets it", self.title())
    }

    /// Its column, in SQL over `clicks AS c`. Every reference to a column names its table: a bare name would be the alias of
    /// the same name.
    fn column(self) -> String {
        format!("c.{}", self.spec().column)
    }

    /// The value that a panel shows, in SQL over `clicks AS c`. `transform` looks at the dictionary of a column and not at
    /// each click; `if` would make a text of each click.
    pub(crate) fn label(self) -> String {
        format!("transform({}, [''], ['{}'])", self.column(), self.spec().empty)
    }

    /// The same, made of the text of each click.
    pub(crate) fn label_of_text(self) -> String {
        format!("transform(toString({}), [''], ['{}'])", self.column(), self.spec().empty)
    }

    /// The condition on clicks, in SQL over `clicks AS c`. A value reaches SQL in percent-encoding only, which has no
    /// byte that could end the literal.
    pub(crate) fn condition(self) -> String {
        let (variable, label) = (self.variable(), self.label());
        format!(
            "('${{{variable}:percentencode}}' = '' OR {label} = decodeURLComponent('${{{variable}:percentencode}}'))"
        )
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn filters_share_no_variable_column_or_title() {
        for text in [Filter::variable, Filter::title, |filter: Filter| filter.spec().column] {
            let all: BTreeSet<_> = Filter::ALL.into_iter().map(text).collect();
            assert_eq!(all.len(), Filter::ALL.len());
        }
    }

    #[test]
    fn a_condition_compares_with_the_text_that_is_shown() {
        assert_eq!(
            Filter::Referrer.condition(),
            "('${referrer:percentencode}' = '' OR transform(c.referrer_host, [''], ['(none)']) = \
             decodeURLComponent('${referrer:percentencode}'))"
        );
    }
}
