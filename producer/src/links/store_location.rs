//! Where the link store is: a file, a server, or none.

use std::path::PathBuf;
use std::str::FromStr;

/// Where the link store is.
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
            // The text may hold a password; it is not repeated.
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
            Self::Server(url) => {
                write!(f, "postgres://…@{}", url.rsplit_once('@').map_or("…", |(_, host)| host))
            }
        }
    }
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
        assert!(!"mysql://u:geheim@host".parse::<StoreLocation>().unwrap_err().contains("geheim"));
    }
}
