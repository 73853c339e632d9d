//! The rules of a replay, which are read once: a changed file has no effect on a job that runs.

use broker::ServerError;
use records::replay::pinned_rules::PinnedRules;

use crate::audit::decoded_events::blocking;
use crate::config::RulesArgs;
use crate::metrics::rules::RuleMetrics;
use crate::rules::folder::{RulesFolder, SharedRuleSet};

/// Reads the rule tables; logs those that are missing or cannot be used, which then are not in the plan.
///
/// # Errors
/// None in practice.
pub(crate) async fn load(args: &RulesArgs) -> Result<SharedRuleSet, ServerError> {
    let folder = args.rules.clone();
    blocking(move || Ok(RulesFolder::open(&folder, RuleMetrics::default()).current())).await
}

/// Checks that the rules are those of the plan.
///
/// # Errors
/// Some differ.
pub(crate) fn check(planned: &PinnedRules, rules: &SharedRuleSet) -> Result<(), ServerError> {
    let differences = PinnedRules::of(&rules.load()).differences(planned);
    if differences.is_empty() {
        return Ok(());
    }
    let text = format!(
        "this worker has other rules than the plan: {}; use the program and the rules folder of the \
         plan, or plan a new replay",
        differences.join(", ")
    );
    Err(ServerError::fatal("replay_rules", text))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arc_swap::ArcSwap;
    use records::enrich::rule_set::{RuleSet, RuleTable};

    use super::*;

    #[test]
    fn a_worker_with_another_rule_table_is_refused() {
        let list = br#"[{"pattern": "Ursa"}]"#.to_vec();
        let other = RuleSet::default().with(RuleTable::Crawlers, list).unwrap();
        let shared = |rules: &RuleSet| Arc::new(ArcSwap::from_pointee(rules.clone()));
        let planned = PinnedRules::of(&other);
        assert!(check(&planned, &shared(&other)).is_ok());
        let refused = check(&planned, &shared(&RuleSet::default())).unwrap_err();
        assert_eq!(refused.code, "replay_rules");
        assert!(refused.message.contains("crawlers \"\" instead of"), "{refused}");
    }
}
