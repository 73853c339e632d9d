//! `processors healthcheck`: asks whether a running `run` or `audit --follow` is ready, for supervisors.

use std::net::SocketAddr;

use clap::Args;

use crate::exit::{DONE, TEMPORARY, print_error, print_line};

/// Arguments of `healthcheck`.
#[derive(Debug, Args)]
pub struct HealthcheckArgs {
    /// Where the service serves `/readyz`; of `audit --follow` that is another port.
    #[arg(long, env = "CLICKTRAIL_PROCESSORS_ADMIN_LISTEN", default_value = "127.0.0.1:9181")]
    admin_listen: SocketAddr,
}

/// Asks, without a runtime, and prints the reply.
pub fn healthcheck(args: &HealthcheckArgs) -> u8 {
    match service::healthcheck::check(args.admin_listen) {
        Ok(answer) => {
            print_line(answer);
            DONE
        }
        Err(error) => {
            print_error(error);
            TEMPORARY
        }
    }
}
