//! Bearer tokens, compared in a time that says nothing of them.
//!
//! Pure. Only hashes are kept, so that all comparisons are of one length and no log can show one.

use std::str::FromStr;

use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq as _};

/// Shortest token: what can be guessed is no secret.
const BYTES_MIN: usize = 16;

/// The tokens that are good.
#[derive(Clone, PartialEq, Eq)]
pub struct Tokens(Vec<[u8; 32]>);

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tokens({})", self.0.len())
    }
}

impl FromStr for Tokens {
    type Err = String;

    /// A token a line; blank lines are none.
    fn from_str(text: &str) -> Result<Self, String> {
        let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let plain =
            |line: &&str| line.len() >= BYTES_MIN && line.bytes().all(|b| b.is_ascii_graphic());
        match !lines.is_empty() && lines.iter().all(plain) {
            true => Ok(Self(lines.iter().map(|line| hash(line.as_bytes())).collect())),
            false => Err(format!("use {BYTES_MIN} or more ASCII characters without spaces")),
        }
    }
}

impl Tokens {
    /// Whether the value of an `Authorization` header brings one of them.
    pub fn admit(&self, authorization: Option<&[u8]>) -> bool {
        let bearer = authorization.and_then(|value| value.split_at_checked(7));
        let Some((scheme, token)) = bearer else { return false };
        let given = hash(token.trim_ascii());
        // All of them, whichever is the one.
        let good = self.0.iter().map(|own| own.ct_eq(&given)).fold(Choice::from(0), |a, b| a | b);
        scheme.eq_ignore_ascii_case(b"bearer ") && bool::from(good)
    }
}

fn hash(token: &[u8]) -> [u8; 32] {
    Sha256::digest(token).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_a_token_and_nothing_else_is() {
        let tokens: Tokens = "0123456789abcdef\n\nfedcba9876543210\r\n".parse().unwrap();
        for (header, admitted) in [
            (Some("Bearer 0123456789abcdef"), true),
            (Some("bearer fedcba9876543210 "), true),
            (Some("Bearer 0123456789abcdeg"), false),
            (Some("Bearer 0123456789abcdef0"), false),
            (Some("Bearer "), false),
            (Some("Bearer"), false),
            (Some("Basic 0123456789abcdef"), false),
            (Some("0123456789abcdef"), false),
            (Some(""), false),
            (None, false),
        ] {
            assert_eq!(tokens.admit(header.map(str::as_bytes)), admitted, "{header:?}");
        }
        assert_eq!(format!("{tokens:?}"), "Tokens(2)");
    }

    #[test]
    fn what_can_be_guessed_is_no_token() {
        for text in ["", "\n \n", "short", "0123456789abcdef\nshort", "0123456789 abcdef0"] {
            assert!(text.parse::<Tokens>().is_err(), "{text:?}");
        }
    }
}
