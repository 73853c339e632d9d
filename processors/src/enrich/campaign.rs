//! Campaign parameters (`utm_…`) of the visited address, else of the target's.

use url::Url;
use url::form_urlencoded;

const LENGTH_MAX: usize = 256;

/// Campaign as the link's author named it. Empty text is unknown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Campaign {
    /// `utm_source`
    pub source: String,
    /// `utm_medium`
    pub medium: String,
    /// `utm_campaign`
    pub campaign: String,
    /// `utm_term`
    pub term: String,
    /// `utm_content`
    pub content: String,
}

impl Campaign {
    /// That of a target's own address.
    pub(super) fn of_target(target_url: &str) -> Self {
        let mut campaign = Self::default();
        if target_url.contains("utm_")
            && let Ok(url) = Url::parse(target_url)
        {
            campaign.fill(url.query().unwrap_or_default());
        }
        campaign
    }

    /// That of the visited address, if it names one: it counts first, field by field, and the
    /// target's fills the rest.
    pub(super) fn of_visited(query: &str, target: &Self) -> Option<Self> {
        if !query.contains("utm_") {
            return None;
        }
        let mut campaign = Self::default();
        campaign.fill(query);
        for (own, targets) in [
            (&mut campaign.source, &target.source),
            (&mut campaign.medium, &target.medium),
            (&mut campaign.campaign, &target.campaign),
            (&mut campaign.term, &target.term),
            (&mut campaign.content, &target.content),
        ] {
            if own.is_empty() {
                own.clone_from(targets);
            }
        }
        Some(campaign)
    }

    fn fill(&mut self, query: &str) {
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let field = match &*name {
                "utm_source" => &mut self.source,
                "utm_medium" => &mut self.medium,
                "utm_campaign" => &mut self.campaign,
                "utm_term" => &mut self.term,
                "utm_content" => &mut self.content,
                _ => continue,
            };
            if field.is_empty() {
                *field = value.chars().take(LENGTH_MAX).collect();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_visited_address_wins_field_by_field() {
        let target = "https://shop.example/?utm_source=target&utm_campaign=spring%20sale#x";
        let target = Campaign::of_target(target);
        let query = "utm_source=visited&utm_source=second&x=1";
        let campaign = Campaign::of_visited(query, &target).unwrap();
        assert_eq!(campaign.source, "visited");
        assert_eq!(campaign.campaign, "spring sale");
        assert_eq!(campaign.medium, "");
        assert_eq!(Campaign::of_visited("x=1", &target), None);
        assert_eq!(Campaign::of_target("no address utm_source=x"), Campaign::default());
        assert_eq!(Campaign::of_target(""), Campaign::default());
    }

    #[test]
    fn a_value_is_bounded() {
        let query = format!("utm_term={}", "ü".repeat(5000));
        let campaign = Campaign::of_visited(&query, &Campaign::default()).unwrap();
        assert_eq!(campaign.term.chars().count(), LENGTH_MAX);
    }
}
