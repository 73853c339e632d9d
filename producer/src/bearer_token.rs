//! Bearer tokens of all ports, compared in constant time.
//!
//! Pure. Keeps only hashes of tokens, so that all comparisons have one length and no log shows a token.

use std::str::FromStr;

use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq as _};

/// Fewest bytes of a token: a shorter one can be guessed.
pub const TOKEN_BYTES_MIN: usize = 16;

/// The valid tokens.
#[derive(Clone, PartialEq, Eq)]
pub struct BearerTokens(Vec<[u8; 32]>);

impl std::fmt::Debug for BearerTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BearerTokens({})", self.0.len())
    }
}

impl FromStr for BearerTokens {
    type Err = String;

    /// One token per line; blank lines are skipped.
    fn from_str(text: &str) -> Result<Self, String> {
        let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let is_token = |line: &&str| {
            line.len() >= TOKEN_BYTES_MIN && line.bytes().all(|byte| byte.is_ascii_graphic())
        };
        if !lines.is_empty() && lines.iter().all(is_token) {
            Ok(Self(lines.iter().map(|line| hash(line.as_bytes())).collect()))
        } else {
            Err(format!("use {TOKEN_BYTES_MIN} or more ASCII characters without spaces"))
        }
    }
}

impl BearerTokens {
    /// One token of any bytes; `None` if it is shorter than [`TOKEN_BYTES_MIN`].
    pub fn one(token: &str) -> Option<Self> {
        (token.len() >= TOKEN_BYTES_MIN).then(|| Self(vec![hash(token.as_bytes())]))
    }

    /// Whether the value of an `Authorization` header holds a valid token. The scheme has no case.
    pub fn admit(&self, authorization: Option<&[u8]>) -> bool {
        let bearer = authorization.and_then(|value| value.split_at_checked(7));
        let Some((scheme, token)) = bearer else { return false };
        let given = hash(token.trim_ascii());
        // Compares with all tokens, also after a match.
        let matched =
            self.0.iter().map(|valid| valid.ct_eq(&given)).fold(Choice::from(0), |a, b| a | b);
        scheme.eq_ignore_ascii_case(b"bearer ") && bool::from(matched)
    }
}

fn hash(token: &[u8]) -> [u8; 32] {
    Sha256::digest(token).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_a_valid_token_and_nothing_else_is() {
        let tokens: BearerTokens = "0123456789abcdef\n\nfedcba9876543210\r\n".parse().unwrap();
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
        assert_eq!(format!("{tokens:?}"), "BearerTokens(2)");
    }

    #[test]
    fn one_token_may_have_spaces_and_must_match_as_a_whole() {
        let token = BearerTokens::one("a token of some length").unwrap();
        for (header, admitted) in [
            ("Bearer a token of some length", true),
            ("Bearer a token of some lengt", false),
            ("Bearer a token of some lengthx", false),
            ("Basic a token of some length", false),
            ("Bearer ", false),
        ] {
            assert_eq!(token.admit(Some(header.as_bytes())), admitted, "{header:?}");
        }
        assert_eq!(BearerTokens::one("0123456789abcde"), None);
    }

    #[test]
    fn a_short_token_or_one_with_spaces_is_refused() {
        for text in ["", "\n \n", "short", "0123456789abcdef\nshort", "0123456789 abcdef0"] {
            assert!(text.parse::<BearerTokens>().is_err(), "{text:?}");
        }
    }
}
