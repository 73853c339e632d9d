//! The campaign parameters of an address: `utm_…`, `source`, `ref`, click ids, `qr`.

use crate::enrich::address::parse;
use crate::enrich::channel::DeclaredMedium;
use crate::enrich::medium::Origin;
use crate::enrich::query_parameters::{decoded, parameters};
use crate::enrich::referrer_table::{ClickId, ReferrerTable};

const LENGTH_MAX: usize = 256;

/// The names that are read; click ids are in the referrer table.
const NAMES: [&str; 8] =
    ["utm_source", "utm_medium", "utm_campaign", "utm_term", "utm_content", "source", "ref", "qr"];

/// Campaign as the link's author named it. Empty text is unknown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Campaign<'a> {
    /// `utm_source`
    pub source: &'a str,
    /// `utm_medium`
    pub medium: &'a str,
    /// `utm_campaign`
    pub campaign: &'a str,
    /// `utm_term`
    pub term: &'a str,
    /// `utm_content`
    pub content: &'a str,
}

impl<'a> Campaign<'a> {
    /// The visited address counts first, field by field; the target's fills the rest.
    pub(super) fn of(visited: &'a Tags, target: &'a Tags) -> Self {
        let first = |own: &'a String, other: &'a String| -> &'a str {
            if own.is_empty() { other } else { own }
        };
        Self {
            source: first(&visited.source, &target.source),
            medium: first(&visited.medium, &target.medium),
            campaign: first(&visited.campaign, &target.campaign),
            term: first(&visited.term, &target.term),
            content: first(&visited.content, &target.content),
        }
    }
}

/// The parameters of one address.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Tags {
    source: String,
    medium: String,
    campaign: String,
    term: String,
    content: String,
    /// The source that the author names.
    pub(super) origin: Option<Origin>,
    /// The medium that the author declares.
    pub(super) declared: DeclaredMedium,
    /// The click id; one that was paid for counts first.
    pub(super) click_id: Option<ClickId>,
    /// `qr`, which printed codes have.
    pub(super) qr: bool,
}

/// The parameters of an address that has none.
pub(super) static NO_TAGS: Tags = Tags {
    source: String::new(),
    medium: String::new(),
    campaign: String::new(),
    term: String::new(),
    content: String::new(),
    origin: None,
    declared: DeclaredMedium::None,
    click_id: None,
    qr: false,
};

impl Tags {
    /// Those of a target's own address. Any site may have its own `source` or `ref` parameter, so only
    /// `utm_source` names a source there.
    pub(super) fn of_target(target_url: &str, referrers: &ReferrerTable) -> Self {
        match parse(target_url) {
            Some(url) if target_url.contains('?') => {
                let mut tags = Self::default();
                tags.fill(url.query().unwrap_or_default(), referrers);
                tags.name(None, referrers);
                tags
            }
            _ => Self::default(),
        }
    }

    /// Those of the visited address.
    pub(super) fn of_visited(query: &str, referrers: &ReferrerTable) -> Self {
        let mut tags = Self::default();
        let other = tags.fill(query, referrers);
        tags.name(other.as_deref(), referrers);
        tags
    }

    /// Reads all parameters; returns `source`, else `ref`.
    fn fill(&mut self, query: &str, referrers: &ReferrerTable) -> Option<String> {
        let (mut source, mut reference) = (None, None);
        let is_known = |name: &str| NAMES.contains(&name) || referrers.of_param(name).is_some();
        for (name, value) in parameters(query, is_known) {
            let field = match &*name {
                "utm_source" => &mut self.source,
                "utm_medium" => &mut self.medium,
                "utm_campaign" => &mut self.campaign,
                "utm_term" => &mut self.term,
                "utm_content" => &mut self.content,
                "source" => source.get_or_insert_default(),
                "ref" => reference.get_or_insert_default(),
                "qr" => {
                    self.qr |= !matches!(value, "0" | "false");
                    continue;
                }
                name => {
                    if let Some(id) = referrers.of_param(name)
                        && self.click_id.as_ref().is_none_or(|own| id.paid && !own.paid)
                    {
                        self.click_id = Some(id.clone());
                    }
                    continue;
                }
            };
            if field.is_empty() {
                *field = decoded(value).chars().take(LENGTH_MAX).collect();
            }
        }
        source.filter(|source| !source.is_empty()).or(reference)
    }

    /// Decides which origin and medium the author declares.
    fn name(&mut self, other: Option<&str>, referrers: &ReferrerTable) {
        let named = if self.source.is_empty() { other.unwrap_or_default() } else { &self.source };
        let named = named.trim();
        self.declared = DeclaredMedium::of(&self.medium);
        if self.declared == DeclaredMedium::None {
            self.declared = DeclaredMedium::of_source(named);
        }
        if self.qr && self.declared == DeclaredMedium::None {
            self.declared = DeclaredMedium::Qr;
        }
        let no_source =
            ["", "direct", "(direct)", "(none)", "(not set)", "none", "null", "undefined"];
        if !no_source.iter().any(|word| named.eq_ignore_ascii_case(word)) {
            let known = referrers.of_source(named).cloned();
            self.origin = Some(known.unwrap_or_else(|| Origin::unknown(named)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn visited(query: &str) -> Tags {
        Tags::of_visited(query, ReferrerTable::built_in())
    }

    fn target(address: &str) -> Tags {
        Tags::of_target(address, ReferrerTable::built_in())
    }

    #[test]
    fn the_visited_address_wins_field_by_field() {
        let target = target("https://shop.example/?utm_source=target&utm_campaign=spring%20sale#x");
        let visited = visited("utm_source=visited&utm_source=second&x=1&utm_content=a%3Db+c");
        let campaign = Campaign::of(&visited, &target);
        assert_eq!(campaign.source, "visited");
        assert_eq!(campaign.campaign, "spring sale");
        assert_eq!(campaign.content, "a=b c");
        assert_eq!(campaign.medium, "");
    }

    #[test]
    fn a_text_that_is_not_an_address_has_no_parameters() {
        for text in ["no address ?utm_source=x", "", "https://a.example/#?utm_source=x"] {
            assert_eq!(target(text), NO_TAGS, "{text}");
        }
        assert_eq!(visited("x=1&&=&%&+"), NO_TAGS);
    }

    #[test]
    fn a_value_is_bounded() {
        let tags = visited(&format!("utm_term={}", "ü".repeat(5000)));
        assert_eq!(tags.term.chars().count(), LENGTH_MAX);
    }

    #[test]
    fn a_source_is_what_the_author_names() {
        for (query, expected) in [
            ("utm_source=Google+Ads", "Google"),
            ("utm_source=chatgpt.com", "ChatGPT"),
            ("utm_source=www.reddit.com", "Reddit"),
            ("utm%5Fsource=fb", "Facebook"),
            ("ref=producthunt", "Product Hunt"),
            ("ref=a&source=b", "b"),
            ("ref=a&source=", "a"),
            ("ref=a&utm_source=c", "c"),
            ("utm_source=Spring%20Fair", "Spring Fair"),
            ("utm_source=(direct)", ""),
            ("utm_source=", ""),
        ] {
            let origin = visited(query).origin.unwrap_or_default();
            assert_eq!(&*origin.source, expected, "{query}");
        }
        assert_eq!(target("https://shop.example/?ref=sr_1&source=nav").origin, None);
    }

    #[test]
    fn a_click_id_that_was_paid_for_counts_first() {
        let id = |query| visited(query).click_id.map(|id| id.param.to_string());
        assert_eq!(id("fbclid=x").as_deref(), Some("fbclid"));
        assert_eq!(id("fbclid=x&gclid=y&msclkid=z").as_deref(), Some("gclid"));
        assert_eq!(id("gclid=y&fbclid=x").as_deref(), Some("gclid"));
        assert_eq!(id("xgclid=y"), None);
        let target = target("https://shop.example/?ttclid=1").click_id.unwrap();
        assert_eq!(&*target.param, "ttclid");
    }

    #[test]
    fn a_printed_code_is_recognised() {
        for (query, expected) in [("qr", true), ("qr=1", true), ("qr=0", false), ("q=r", false)] {
            assert_eq!(visited(query).qr, expected, "{query}");
        }
    }
}
