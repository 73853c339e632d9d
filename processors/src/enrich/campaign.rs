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
    /// The visited address counts first, field by field; the target's parameters fill the rest.
    pub fn of(query: Option<&str>, target_url: Option<&str>) -> Self {
        let mut campaign = Self::default();
        if let Some(query) = query.filter(|query| query.contains("utm_")) {
            campaign.fill(query);
        }
        if let Some(target) = target_url.filter(|target| target.contains("utm_"))
            && let Ok(url) = Url::parse(target)
        {
            campaign.fill(url.query().unwrap_or_default());
        }
        campaign
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
        let campaign = Campaign::of(Some("utm_source=visited&utm_source=second&x=1"), Some(target));
        assert_eq!(campaign.source, "visited");
        assert_eq!(campaign.campaign, "spring sale");
        assert_eq!(campaign.medium, "");
        assert_eq!(Campaign::of(None, Some("no address utm_source=x")), Campaign::default());
        assert_eq!(Campaign::of(None, None), Campaign::default());
    }

    #[test]
    fn a_value_is_bounded() {
        let query = format!("utm_term={}", "ü".repeat(5000));
        assert_eq!(Campaign::of(Some(&query), None).term.chars().count(), LENGTH_MAX);
    }
}
