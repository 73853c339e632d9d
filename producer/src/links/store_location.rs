//! Where the link store is, as one setting says it.

use std::path::PathBuf;
use std::str::FromStr;

/// A file, a server, or nowhere.
#[derive(Clone, PartialEq, Eq)]
pub enum Place {
    /// This process has no store: it only follows the topic.
    Nowhere,
    /// SQLite.
    File(PathBuf),
    /// PostgreSQL, by its URL; it may hold a password.
    Server(String),
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once("://") {
            Some(("postgres" | "postgresql", _)) => Ok(Self::Server(text.to_owned())),
            // The text may hold a password; it is not repeated.
            Some(_) => Err("use a file, postgres://user:password@host/database, or none".into()),
            None if text == "none" || text.is_empty() => Ok(Self::Nowhere),
            None => Ok(Self::File(text.into())),
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Nowhere => f.write_str("none"),
            Self::File(path) => path.display().fmt(f),
            Self::Server(url) => {
                write!(f, "postgres://…@{}", url.rsplit_once('@').map_or("…", |(_, host)| host))
            }
        }
    }
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_and_its_password_is_not_shown() {
        assert_eq!("none".parse(), Ok(Place::Nowhere));
        assert_eq!("a/links.db".parse(), Ok(Place::File("a/links.db".into())));
        let server: Place = "postgres://u:geheim@host:5432/links".parse().unwrap();
        assert_eq!(server.to_string(), "postgres://…@host:5432/links");
        assert!(!format!("{server:?}").contains("geheim"));
        assert!(!"mysql://u:geheim@host".parse::<Place>().unwrap_err().contains("geheim"));
    }
}
