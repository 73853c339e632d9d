//! The raw click: what the edge saw of one request, as borrowed plain data.
//!
//! Fields stand in the order of the newest schema, whose `doc`s say what each
//! one means. A new field takes `#[serde(default)]` equal to its Avro default,
//! and its line in `datum.rs`.

use serde::Deserialize;
use thiserror::Error;
use uuid::Uuid;

/// Identity of an event: a UUID v7, minted once.
pub type EventId = Uuid;

/// One request as the edge saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct RawClick<'a> {
    /// Key fact: minted once, never changed.
    #[serde(deserialize_with = "event_id::deserialize")]
    pub event_id: EventId,
    /// Key fact: microseconds since 1970, UTC.
    pub occurred_at: i64,
    /// How the record came to be.
    #[serde(default)]
    pub origin: Origin,
    /// Which host or log it is from.
    #[serde(borrow, default)]
    pub source: &'a str,
    /// Host as requested.
    #[serde(default)]
    pub domain: Option<&'a str>,
    /// Path as requested, without the leading slash.
    pub slug: &'a str,
    /// Query string as requested.
    #[serde(default)]
    pub query: Option<&'a str>,
    /// The link that the slug named at that moment.
    #[serde(default)]
    pub link_id: Option<&'a str>,
    /// Version of that link.
    #[serde(default)]
    pub link_version: Option<i64>,
    /// What the visitor got.
    #[serde(default)]
    pub outcome: Outcome,
    /// HTTP status of the answer; 0 when unknown.
    #[serde(default)]
    pub status: i32,
    /// Destination of this very answer.
    #[serde(default)]
    pub target_url: Option<&'a str>,
    /// HTTP method.
    #[serde(default)]
    pub method: Method,
    /// `http` or `https`, where known.
    #[serde(default)]
    pub scheme: Option<&'a str>,
    /// Such as `HTTP/1.1`.
    #[serde(default)]
    pub http_version: Option<&'a str>,
    /// 4 or 16 bytes in network order.
    #[serde(borrow, default, deserialize_with = "serde_bytes::deserialize")]
    pub client_ip: Option<&'a [u8]>,
    /// How much of the address the record may carry.
    #[serde(default)]
    pub client_ip_policy: ClientIpPolicy,
    /// Keyed hash made at the edge, big-endian.
    #[serde(default, deserialize_with = "serde_bytes::deserialize")]
    pub visitor_id: Option<[u8; 8]>,
    /// A privacy rule removed what identifies the visitor.
    #[serde(default)]
    pub identifiers_stripped: bool,
    /// `User-Agent`.
    #[serde(default)]
    pub user_agent: Option<&'a str>,
    /// `Referer`.
    #[serde(default)]
    pub referer: Option<&'a str>,
    /// `Accept-Language`.
    #[serde(default)]
    pub accept_language: Option<&'a str>,
    /// `Sec-Purpose` and its forerunners.
    #[serde(default)]
    pub purpose: Option<&'a str>,
    /// `Sec-Fetch-Site`.
    #[serde(default)]
    pub sec_fetch_site: Option<&'a str>,
    /// `Sec-Fetch-Mode`.
    #[serde(default)]
    pub sec_fetch_mode: Option<&'a str>,
    /// `Sec-Fetch-Dest`.
    #[serde(default)]
    pub sec_fetch_dest: Option<&'a str>,
    /// `Sec-CH-UA`.
    #[serde(default)]
    pub sec_ch_ua: Option<&'a str>,
    /// `Sec-CH-UA-Mobile`.
    #[serde(default)]
    pub sec_ch_ua_mobile: Option<&'a str>,
    /// `Sec-CH-UA-Platform`.
    #[serde(default)]
    pub sec_ch_ua_platform: Option<&'a str>,
    /// `X-Requested-With`.
    #[serde(default)]
    pub x_requested_with: Option<&'a str>,
    /// `DNT: 1` was sent.
    #[serde(default)]
    pub dnt: bool,
    /// `Sec-GPC: 1` was sent.
    #[serde(default)]
    pub gpc: bool,
    /// Country header of a CDN in front.
    #[serde(default)]
    pub edge_country: Option<&'a str>,
    /// Microseconds from request head to answer.
    #[serde(default)]
    pub latency_us: Option<i32>,
}

/// A promise of the schema's prose that its types cannot hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Contract {
    /// The nil id: a writer that mints none.
    #[error("event_id is nil: every click carries the UUID v7 that was minted for it")]
    NilEventId,
    /// An address that is neither IPv4 nor IPv6.
    #[error("client_ip has {0} bytes, neither 4 nor 16")]
    ClientIpLength(usize),
}

impl<'a> RawClick<'a> {
    /// A click of which only the key facts and the path are known.
    pub fn new(event_id: EventId, occurred_at: i64, slug: &'a str) -> Self {
        Self {
            event_id,
            occurred_at,
            origin: Origin::Unknown,
            source: "",
            domain: None,
            slug,
            query: None,
            link_id: None,
            link_version: None,
            outcome: Outcome::Unknown,
            status: 0,
            target_url: None,
            method: Method::Other,
            scheme: None,
            http_version: None,
            client_ip: None,
            client_ip_policy: ClientIpPolicy::Unknown,
            visitor_id: None,
            identifiers_stripped: false,
            user_agent: None,
            referer: None,
            accept_language: None,
            purpose: None,
            sec_fetch_site: None,
            sec_fetch_mode: None,
            sec_fetch_dest: None,
            sec_ch_ua: None,
            sec_ch_ua_mobile: None,
            sec_ch_ua_platform: None,
            x_requested_with: None,
            dnt: false,
            gpc: false,
            edge_country: None,
            latency_us: None,
        }
    }

    /// Checks what the Avro types cannot say.
    ///
    /// # Errors
    /// The first promise that is broken.
    pub fn check(&self) -> Result<(), Contract> {
        if self.event_id.is_nil() {
            return Err(Contract::NilEventId);
        }
        match self.client_ip.map(<[u8]>::len) {
            None | Some(4 | 16) => Ok(()),
            Some(length) => Err(Contract::ClientIpLength(length)),
        }
    }
}

/// A closed set of words, each with its Avro symbol; an unknown symbol of a
/// newer writer reads as the first.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $first:ident = $first_word:literal $(, $variant:ident = $word:literal)* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Deserialize)]
        pub enum $name {
            $(
                #[doc = concat!("`", $word, "`")]
                #[serde(rename = $word)]
                $variant,
            )*
            #[doc = concat!("`", $first_word, "`, and what this version does not know.")]
            #[default]
            #[serde(rename = $first_word, other)]
            $first,
        }

        impl $name {
            /// All of them, as the schema has them in order.
            pub const ALL: &[Self] = &[Self::$first, $(Self::$variant),*];

            /// The Avro symbol, which is also the word in tables and metrics.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                    Self::$first => $first_word,
                }
            }

            /// Where the symbol stands in the schema: the first is declared last, for serde.
            pub(crate) fn index(self) -> i64 {
                match self {
                    Self::$first => 0,
                    other => other as i64 + 1,
                }
            }
        }
    };
}

words! {
    /// How the record came to be.
    Origin { Unknown = "unknown", Redirect = "redirect", Import = "import", Collector = "collector" }
}

words! {
    /// What the visitor got.
    Outcome {
        Unknown = "unknown",
        Redirected = "redirected",
        Served = "served",
        NotFound = "not_found",
        Expired = "expired",
        Disabled = "disabled",
        PasswordRequired = "password_required",
        Blocked = "blocked",
        Reserved = "reserved",
        BaseUrl = "base_url",
        Error = "error",
    }
}

words! {
    /// HTTP method, as far as it tells kinds of clicks apart.
    Method { Other = "OTHER", Get = "GET", Head = "HEAD", Post = "POST" }
}

words! {
    /// How much of the client's address a record may carry.
    ClientIpPolicy { Unknown = "unknown", Full = "full", Truncated = "truncated", None = "none" }
}

mod event_id {
    use serde::{Deserialize, Deserializer};
    use uuid::Uuid;

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Uuid, D::Error> {
        let bytes = serde_bytes::ByteArray::<16>::deserialize(deserializer)?;
        Ok(Uuid::from_bytes(bytes.into_array()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_promise_is_named() {
        let id = Uuid::from_u128(7);
        let click = RawClick::new(id, 0, "a");
        assert_eq!(click.check(), Ok(()));
        assert_eq!(RawClick::new(Uuid::nil(), 0, "a").check(), Err(Contract::NilEventId));
        for (bytes, verdict) in [
            (&[1, 2, 3, 4][..], Ok(())),
            (&[0; 16][..], Ok(())),
            (&[1, 2, 3][..], Err(Contract::ClientIpLength(3))),
            (&[][..], Err(Contract::ClientIpLength(0))),
        ] {
            assert_eq!(RawClick { client_ip: Some(bytes), ..click }.check(), verdict);
        }
    }
}
