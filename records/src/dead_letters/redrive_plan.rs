//! What a redrive does, as the table of jobs stores it. Pure.

use serde::{Deserialize, Serialize};

/// The options of a redrive. A process that resumes the job reads them from the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RedrivePlan {
    /// Topic of the origins.
    pub topic: String,
    /// Condition on the view `dead_letters`, which selects the dead letters.
    pub condition: String,
    /// Another topic to send the copies to, which changes no state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Repair that is applied to each value where it applies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repair: Option<String>,
    /// Sends records that would fail again, and parked ones.
    #[serde(default)]
    pub force: bool,
    /// Maximum number of selected dead letters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// Maximum number of records a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<u32>,
    /// User that started it.
    pub actor: String,
    /// Why, in the words of the operator.
    #[serde(default)]
    pub reason: String,
}

impl RedrivePlan {
    /// The topic that receives the copies.
    pub fn target(&self) -> &str {
        self.to.as_deref().unwrap_or(&self.topic)
    }

    /// Whether the copies are sent to the topic of the origins, so that they change states.
    pub fn changes_states(&self) -> bool {
        self.target() == self.topic
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_read_as_it_was_stored_also_with_options_of_a_newer_version() {
        let mut plan = RedrivePlan {
            topic: "clicks.raw.v1".to_owned(),
            condition: "origin_topic = 'clicks.raw.v1'".to_owned(),
            to: None,
            repair: Some("schema_id=7".to_owned()),
            force: true,
            limit: Some(100),
            rate: Some(50),
            actor: "anna".to_owned(),
            reason: "schema registered".to_owned(),
        };
        assert!(plan.changes_states());
        let json = serde_json::to_string(&plan).unwrap();
        assert_eq!(serde_json::from_str::<RedrivePlan>(&json).unwrap(), plan);
        let newer = json.replacen('{', "{\"other\":1,", 1);
        assert_eq!(serde_json::from_str::<RedrivePlan>(&newer).unwrap(), plan);
        plan.to = Some("try.v1".to_owned());
        assert_eq!((plan.target(), plan.changes_states()), ("try.v1", false));
        plan.to = Some("clicks.raw.v1".to_owned());
        assert!(plan.changes_states());
    }
}
