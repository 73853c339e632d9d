//! Settings of the admin port of each service.

use std::net::SocketAddr;

use clap::{Arg, Args};

use crate::host_header::AdminHosts;

/// The host names that an admin port answers to.
#[derive(Debug, Args)]
pub struct AdminHostsArgs {
    /// Further host names that the admin port answers to, comma-separated; it always answers to IP
    /// addresses, localhost, names without a dot and private names
    #[arg(
        long,
        env = "CLICKTRAIL_ADMIN_HOSTS",
        default_value = "",
        hide_default_value = true,
        value_name = "NAMES"
    )]
    pub admin_hosts: AdminHosts,
}

/// The address of the admin port of a service, and its host names.
///
/// Each service has an address of its own: a struct that flattens this one declares it with
/// `#[command(mut_arg("admin_listen", |it| listen_at(it, NAME, DEFAULT)))]`.
#[derive(Debug, Args)]
pub struct AdminArgs {
    /// Address of the admin port: /metrics /livez /readyz
    #[arg(long, value_name = "ADDRESS")]
    pub admin_listen: SocketAddr,
    /// The host names.
    #[command(flatten)]
    pub hosts: AdminHostsArgs,
}

/// Gives `--admin-listen` the environment name and the default of one service.
pub fn listen_at(listen: Arg, name: &'static str, default: &'static str) -> Arg {
    listen.env(name).default_value(default).required(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory as _, Parser};

    #[derive(Parser)]
    #[command(mut_arg("admin_listen", |it| listen_at(it, "TEST_ADMIN_LISTEN", "127.0.0.1:1")))]
    struct Cli {
        #[command(flatten)]
        admin: AdminArgs,
    }

    #[derive(Debug, Parser)]
    struct Undeclared {
        #[command(flatten)]
        admin: AdminArgs,
    }

    #[test]
    fn the_address_has_the_name_and_the_default_of_its_service() {
        let command = Cli::command();
        command.clone().debug_assert();
        let listen = command.get_arguments().find(|it| it.get_id() == "admin_listen").unwrap();
        assert_eq!(listen.get_env(), Some("TEST_ADMIN_LISTEN".as_ref()));
        let address = |arguments: &[&str]| Cli::parse_from(arguments).admin.admin_listen.port();
        assert_eq!(address(&["x"]), 1);
        assert_eq!(address(&["x", "--admin-listen", "127.0.0.1:2"]), 2);
    }

    #[test]
    fn a_service_that_declares_no_address_is_refused() {
        let error = Undeclared::try_parse_from(["x"]).map(|it| it.admin.admin_listen);
        let kind = error.unwrap_err().kind();
        assert_eq!(kind, clap::error::ErrorKind::MissingRequiredArgument);
    }
}
