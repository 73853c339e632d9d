//! The location of the link store: a file, a server, or none.

use std::path::PathBuf;
use std::str::FromStr;

/// The location of the link store.
#[derive(Clone, PartialEq, Eq)]
pub enum StoreLocation {
    /// This process has no store: it only follows the topic.
    None,
    /// SQLite.
    File(PathBuf),
    /// PostgreSQL, by its URL; it may hold a password.
    Server(String),
}

impl FromStr for StoreLocation {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once("://") {
            Some(("postgres" | "postgresql", _)) => Ok(Self::Server(text.to_owned())),
            // The error does not repeat the text, which may hold a password.
            Some(_) => Err("use a file, postgres://user:password@host/database, or none".into()),
            None if text == "none" || text.is_empty() => Ok(Self::None),
            None => Ok(Self::File(text.into())),
        }
    }
}

impl std::fmt::Display for StoreLocation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::File(path) => path.display().fmt(f),
            Self::Server(url) => write!(f, "postgres://…@{}", server(url).unwrap_or("…")),
        }
    }
}

/// Host, port and database of a URL; `None` if a part of them may belong to a user, a password or a
/// parameter.
fn server(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let shown = match rest.split_once('@') {
        Some((_, after)) => after,
        None => rest,
    };
    if shown.contains('@') {
        return None;
    }
    let shown = shown.split('?').next()?;
    // Without a host, the text after the colon is a password.
    let hosts = shown.split('/').next()?;
    let is_address = |host: &str| {
        let port = match host.rsplit_once(']') {
            Some((_, after)) => after.strip_prefix(':'),
            None => host.split_once(':').map(|(_, port)| port),
        };
        port.is_none_or(|port| port.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let plain = hosts.split(',').all(is_address);
    plain.then_some(shown)
}

impl std::fmt::Debug for StoreLocation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_location_is_parsed_and_its_password_is_not_shown() {
        assert_eq!("none".parse(), Ok(StoreLocation::None));
        assert_eq!("a/links.db".parse(), Ok(StoreLocation::File("a/links.db".into())));
        let server: StoreLocation = "postgres://u:geheim@host:5432/links".parse().unwrap();
        assert_eq!(server.to_string(), "postgres://…@host:5432/links");
        assert!(!format!("{server:?}").contains("geheim"));
    }

    #[test]
    fn l14_no_url_of_a_store_shows_a_part_of_a_secret() {
        for (url, shown) in [
            ("postgres://u:geheim@host:5432/links?sslmode=require", "host:5432/links"),
            ("postgresql://u@host/links?password=geheim", "host/links"),
            ("postgres://host/links?user=u&password=geheim", "host/links"),
            ("postgres://u:ge@heim@host/links", "…"),
            ("postgres://u@host/links?password=x@geheim", "…"),
            ("postgres://u:ge?heim@host/links", "host/links"),
            ("postgres://u:ge/heim@host/links", "host/links"),
            ("postgres://user:geheim", "…"),
            ("postgres://user:geheim/links", "…"),
            ("postgres://u:geheim@[::1]:5432/links", "[::1]:5432/links"),
            ("postgres://u:geheim@one:1,two:2/links", "one:1,two:2/links"),
            ("postgres://", ""),
        ] {
            let location: StoreLocation = url.parse().unwrap();
            let texts = [location.to_string(), format!("{location:?}"), format!("{location:#?}")];
            for text in texts {
                assert!(!text.contains("heim"), "{url}: {text}");
                assert_eq!(text, format!("postgres://…@{shown}"), "{url}");
            }
        }
    }

    #[test]
    fn a_url_of_another_database_is_refused_without_its_password() {
        assert!(!"mysql://u:geheim@host".parse::<StoreLocation>().unwrap_err().contains("geheim"));
    }
}
