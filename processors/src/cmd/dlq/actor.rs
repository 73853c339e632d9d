//! The name that is stored with what an operator does to dead letters.

use clap::Args;

/// The name of a user that is not known.
const UNKNOWN: &str = "unknown";

/// Who runs the command.
#[derive(Debug, Clone, Args)]
pub(in crate::cmd) struct ActorArgs {
    /// Name that is stored with the change; by default that of the environment variable USER, or `unknown`.
    #[arg(long, env = "CLICKTRAIL_ACTOR", value_name = "NAME")]
    actor: Option<String>,
    /// Read by clap, since an argument has one environment variable only.
    #[arg(long = "user-of-environment", env = "USER", hide = true)]
    user: Option<String>,
}

impl ActorArgs {
    /// The name; `unknown` where neither variable is set.
    pub(in crate::cmd) fn name(&self) -> &str {
        let named = self.actor.as_deref().filter(|name| !name.is_empty());
        let user = self.user.as_deref().filter(|name| !name.is_empty());
        named.or(user).unwrap_or(UNKNOWN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_actor_is_the_flag_or_else_the_user_of_the_environment() {
        for (actor, user, expected) in [
            (Some("anna"), Some("root"), "anna"),
            (Some(""), Some("root"), "root"),
            (None, Some("root"), "root"),
            (None, None, "unknown"),
            (Some(""), Some(""), "unknown"),
        ] {
            let args = ActorArgs { actor: actor.map(Into::into), user: user.map(Into::into) };
            assert_eq!(args.name(), expected, "{actor:?} {user:?}");
        }
    }
}
