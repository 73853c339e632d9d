//! The compiled rules for user agents: `regexes.yaml` of uap-core.

use ua_parser::{Extractor, Regexes};

/// The compiled rules.
pub(crate) struct AgentRules(pub(super) Extractor<'static>);

impl std::fmt::Debug for AgentRules {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AgentRules").finish_non_exhaustive()
    }
}

impl AgentRules {
    /// Compiles `regexes.yaml`.
    ///
    /// # Errors
    /// It is not such a file, has a rule that cannot be compiled, or has no rule.
    pub(crate) fn parse(yaml: &[u8]) -> Result<Self, String> {
        let regexes: Regexes<'static> =
            serde_saphyr::from_slice(yaml).map_err(|error| error.to_string())?;
        if regexes.user_agent_parsers.is_empty() {
            return Err("the file has no rule for browsers".to_owned());
        }
        Extractor::try_from(regexes).map(Self).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_rules_or_with_a_bad_one_is_refused() {
        let empty = "user_agent_parsers: []\nos_parsers: []\ndevice_parsers: []\n";
        let bad =
            "user_agent_parsers:\n  - regex: '(Firefox'\nos_parsers: []\ndevice_parsers: []\n";
        for yaml in [empty, "", "[]", "user_agent_parsers: 7", bad] {
            assert!(AgentRules::parse(yaml.as_bytes()).is_err(), "{yaml}");
        }
        assert!(AgentRules::parse(bad.replace("(Firefox", "(Firefox)").as_bytes()).is_ok());
    }
}
