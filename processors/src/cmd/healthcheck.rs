//! `processors healthcheck`: checks whether a `run` or `audit --follow` process is ready, for
//! supervisors.

use std::net::SocketAddr;

use clap::Args;

use crate::config::{ADMIN_LISTEN, ADMIN_LISTEN_DEFAULT};
use crate::exit::{DONE, TEMPORARY, print_error, print_line};

/// Arguments of `healthcheck`.
#[derive(Debug, Args)]
pub struct HealthcheckArgs {
    /// Address of the admin port of `run`; `audit --follow` has a port of its own.
    #[arg(long, env = ADMIN_LISTEN, default_value = ADMIN_LISTEN_DEFAULT)]
    admin_listen: SocketAddr,
}

/// Requests `/readyz` without an async runtime, and prints the reply.
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
