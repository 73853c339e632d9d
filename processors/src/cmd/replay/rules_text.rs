//! The rules of a plan as a text.

use records::replay::pinned_rules::PinnedRules;

/// The versions, and `none` for a table that the rules folder lacks.
pub(super) fn rules_text(rules: &PinnedRules) -> String {
    let table = |version: &str| match version {
        "" => "none".to_owned(),
        version => format!("{version:?}"),
    };
    let PinnedRules { program, geo, user_agents, crawlers, referrers } = rules;
    format!(
        "program {program}, geo {}, user_agents {}, crawlers {}, referrers {}",
        table(geo),
        table(user_agents),
        table(crawlers),
        table(referrers)
    )
}

#[cfg(test)]
mod tests {
    use records::enrich::rule_set::RuleSet;

    use super::*;

    #[test]
    fn a_table_without_a_version_is_none() {
        let rules = PinnedRules {
            program: 4,
            geo: String::new(),
            crawlers: "c36c".to_owned(),
            ..PinnedRules::of(&RuleSet::default())
        };
        let text = rules_text(&rules);
        assert!(text.starts_with("program 4, geo none, "), "{text}");
        assert!(text.contains(r#", crawlers "c36c", "#), "{text}");
    }
}
