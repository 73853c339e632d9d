//! `processors healthcheck`: whether a running `run` or `audit --follow` is ready; for supervisors.

use std::net::SocketAddr;

use clap::Args;

use crate::exit::{DONE, TEMPORARY, complain, say};

/// What `healthcheck` needs to know.
#[derive(Debug, Args)]
pub struct HealthcheckArgs {
    /// Where the service serves `/readyz`; of `audit --follow` that is another port.
    #[arg(long, env = "CLICKTRAIL_PROCESSORS_ADMIN_LISTEN", default_value = "127.0.0.1:9181")]
    admin_listen: SocketAddr,
}

/// Asks, without a runtime, and says what the service says.
pub fn healthcheck(args: &HealthcheckArgs) -> u8 {
    match service::healthcheck::check(args.admin_listen) {
        Ok(answer) => {
            say(answer);
            DONE
        }
        Err(error) => {
            complain(error);
            TEMPORARY
        }
    }
}
