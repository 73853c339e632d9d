//! Settings of the link store and of the processes that follow the topic of links.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use schemas::TopicName;

use crate::bearer_token::{BearerTokens, TOKEN_BYTES_MIN};
use crate::links::slug_case::SlugCase;
use crate::links::store_location::StoreLocation;

/// Where the link store is.
#[derive(Debug, Args)]
pub struct StoreArgs {
    /// Location of the link store: a file (SQLite, for one host), postgres://user:password@host/database
    /// (for several hosts), or none (this host only follows the topic of links)
    #[arg(
        long,
        env = "CLICKTRAIL_LINKS_DB",
        default_value = "clicktrail-links.db",
        value_name = "LOCATION",
        hide_env_values = true
    )]
    pub links_db: StoreLocation,
}

/// How slugs are compared.
#[derive(Debug, Clone, Copy, Args)]
pub struct SlugArgs {
    /// Whether slugs that differ only in case are two links. All hosts and all commands need the same
    /// setting
    #[arg(long, env = "CLICKTRAIL_SLUG_CASE", default_value = "sensitive", value_name = "CASE")]
    pub slug_case: SlugCase,
}

/// How `serve` gets its links, unless it reads them from a file.
#[derive(Debug, Args)]
#[expect(missing_docs, reason = "clap shows each field's comment as its help")]
pub struct FollowArgs {
    #[command(flatten)]
    pub store: StoreArgs,
    #[command(flatten)]
    pub slugs: SlugArgs,
    /// Topic of links, which each host follows
    #[arg(long, env = "CLICKTRAIL_LINKS_TOPIC", default_value = "links.v1")]
    pub links_topic: TopicName,
    /// File with a snapshot of all links, from which this host starts while the broker is down
    #[arg(
        long,
        env = "CLICKTRAIL_LINKS_SNAPSHOT",
        default_value = "clicktrail-links.snapshot",
        value_name = "FILE"
    )]
    pub links_snapshot: PathBuf,
    /// Address of the admin API of links; without a token the API is off
    #[arg(
        long,
        env = "CLICKTRAIL_LINKS_LISTEN",
        default_value = "127.0.0.1:9183",
        value_name = "ADDRESS"
    )]
    pub links_listen: SocketAddr,
    /// Bearer token of the admin API of links, at least 16 bytes
    #[arg(long, env = "CLICKTRAIL_LINKS_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    links_token: Option<Secret>,
    /// File that holds this token instead; white space around the token is ignored
    #[arg(long, env = "CLICKTRAIL_LINKS_TOKEN_FILE", value_name = "FILE")]
    links_token_file: Option<PathBuf>,
}

/// A text that no debug output shows.
#[derive(Clone, PartialEq, Eq)]
struct Secret(String);

impl FollowArgs {
    /// The token of the admin API; `None` if the API is off.
    ///
    /// # Errors
    /// The file cannot be read, or the token is too short.
    pub fn token(&self) -> anyhow::Result<Option<BearerTokens>> {
        // A compose file sets a variable without a value to the empty text.
        let own = self.links_token.as_ref().map(|token| token.0.trim().to_owned());
        let token = match (own.filter(|token| !token.is_empty()), &self.links_token_file) {
            (Some(token), _) => token,
            (None, Some(file)) => {
                let error = |error| anyhow::anyhow!("links token file {}: {error}", file.display());
                std::fs::read_to_string(file).map_err(error)?.trim().to_owned()
            }
            (None, None) => return Ok(None),
        };
        let tokens = BearerTokens::one(&token).with_context(|| {
            format!(
                "the token of the admin API of links is shorter than {TOKEN_BYTES_MIN} bytes: \
                 create one with `openssl rand -hex 32`"
            )
        })?;
        Ok(Some(tokens))
    }
}

impl std::str::FromStr for Secret {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("…")
    }
}

/// Settings of `links`.
#[derive(Debug, Args)]
#[expect(missing_docs, reason = "clap shows each field's comment as its help")]
pub struct LinksArgs {
    #[command(flatten)]
    pub store: StoreArgs,
    #[command(flatten)]
    pub slugs: SlugArgs,
    #[command(subcommand)]
    pub action: LinksAction,
}

/// What to do with links.
#[derive(Debug, Subcommand)]
pub enum LinksAction {
    /// Create a link, and print it
    Add(AddArgs),
    /// Print links as JSON lines, in the order of their ids
    List(ListArgs),
    /// Print one link
    Show(IdArgs),
    /// Change a link, and print it
    Set(SetArgs),
    /// Switch a link off; `set ID --disabled false` switches it on again
    Disable(IdArgs),
    /// Delete a link. Its slug stays reserved for its id
    Delete(IdArgs),
    /// Create or change all links of a file, or none of them; links that are not in the file stay
    Import(ImportLinksArgs),
    /// Print all links as JSON lines, which `import` and `serve --links` read
    Export,
    /// Publish all links again, such as after the topic was recreated
    Republish,
}

/// A new link.
#[derive(Debug, Args)]
pub struct AddArgs {
    /// Path of the link, without the leading slash
    pub slug: String,
    /// Destination
    pub url: String,
    /// Name of the link in analytics [default: the domain, if there is one, and the slug]
    #[arg(long)]
    pub id: Option<String>,
    /// Host of the link [default: any host]
    #[arg(long)]
    pub domain: Option<String>,
    /// Status of the answer: 302 or 301. Caches keep a 301 for a day, and visits from a cache are not
    /// recorded
    #[arg(long)]
    pub status: Option<u16>,
    /// Time at which the link stops redirecting, such as 2027-01-31T12:00:00Z
    #[arg(long)]
    pub expires: Option<String>,
    /// Append the visitor's query to the query of the destination
    #[arg(long)]
    pub pass_query: bool,
    /// Record nothing that identifies the visitors of this link (see CLICKTRAIL_PRIVACY_OPT_OUT)
    #[arg(long)]
    pub opt_out: bool,
}

/// One link.
#[derive(Debug, Args)]
pub struct IdArgs {
    /// Id of the link, as `links list` shows it
    pub id: String,
}

/// Which links.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Start after this id
    #[arg(long, default_value = "", hide_default_value = true)]
    pub after: String,
    /// Most links to print
    #[arg(long, default_value_t = 100)]
    pub limit: u32,
}

/// What to change of a link.
#[derive(Debug, Args)]
pub struct SetArgs {
    /// Id of the link, as `links list` shows it
    pub id: String,
    /// Destination
    #[arg(long)]
    pub url: Option<String>,
    /// Status of the answer: 302 or 301
    #[arg(long)]
    pub status: Option<u16>,
    /// Whether the link is switched off
    #[arg(long, value_name = "BOOL")]
    pub disabled: Option<bool>,
    /// Time at which the link stops redirecting, such as 2027-01-31T12:00:00Z, or never
    #[arg(long)]
    pub expires: Option<String>,
    /// Whether the visitor's query is appended to the query of the destination
    #[arg(long, value_name = "BOOL")]
    pub pass_query: Option<bool>,
    /// Whether clicks on this link record nothing that identifies their visitors
    #[arg(long, value_name = "BOOL")]
    pub opt_out: Option<bool>,
}

/// A file of links.
#[derive(Debug, Args)]
pub struct ImportLinksArgs {
    /// File of links as JSON lines; - is standard input
    pub file: PathBuf,
}
