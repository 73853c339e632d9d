//! The raw click: the record of one request, as borrowed plain data, and its Avro writer.
//!
//! The `doc`s of the newest schema define each field. A new field takes `#[serde(default)]`, which
//! must equal its Avro default.

use serde::Deserialize;
use thiserror::Error;
use uuid::Uuid;

use crate::click_field::{ClickField, FieldSpec};
use crate::datum::DatumField as _;
use crate::field_value::FieldValue;
use crate::symbols::{AgentKind, ClientIpPolicy, Method, Origin, Outcome};
use crate::text_limits::{
    ACCEPT_LANGUAGE_BYTES_MAX, BoundedText, LINK_ID_BYTES_MAX, QUERY_BYTES_MAX, REFERER_BYTES_MAX,
    SHORT_BYTES_MAX, SLUG_BYTES_MAX, TARGET_URL_BYTES_MAX, USER_AGENT_BYTES_MAX,
};

/// Identity of an event: a UUID v7, generated once.
pub type EventId = Uuid;

/// Makes the struct, its constructor and its Avro writer from one list of the fields, in the order
/// of the newest schema.
macro_rules! raw_click {
    (
        $(#[$about:meta])*
        struct RawClick<$a:lifetime> {
            $($(#[$attribute:meta])* $field:ident: $type:ty,)*
        }
    ) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
        pub struct RawClick<$a> {
            $($(#[$attribute])* pub $field: $type,)*
        }

        impl<$a> RawClick<$a> {
            /// A click with only the key facts and the path.
            pub fn new(event_id: EventId, occurred_at: i64, slug: &$a str) -> Self {
                let unknown = Self { $($field: Default::default(),)* };
                Self { event_id, occurred_at, slug, ..unknown }
            }

            /// Its fields.
            pub(crate) const FIELDS: &'static [FieldSpec] = &[
                $(FieldSpec {
                    name: stringify!($field),
                    form: <$type as ClickField<$a>>::FORM,
                    is_nullable: <$type as ClickField<$a>>::IS_NULLABLE,
                },)*
            ];

            /// The click with these values of its fields.
            ///
            /// # Errors
            /// A field that has no value, or one of another type.
            pub(crate) fn of_fields(
                value: impl Fn(&'static str) -> Option<&$a FieldValue>,
            ) -> Result<Self, &'static str> {
                $(let $field = value(stringify!($field))
                    .and_then(ClickField::of_value)
                    .ok_or(stringify!($field))?;)*
                Ok(Self { $($field,)* })
            }

            /// Appends the Avro datum by the newest schema, without a frame.
            ///
            /// # Errors
            /// A click that breaks its [`ContractError`]; nothing was appended.
            pub fn write_datum(&self, datum: &mut Vec<u8>) -> Result<(), ContractError> {
                self.check()?;
                $(self.$field.write(datum);)*
                Ok(())
            }
        }
    };
}

raw_click! {
    /// One request as its host recorded it.
    struct RawClick<'a> {
        /// Key fact: generated once, never changed.
        #[serde(deserialize_with = "event_id::deserialize")]
        event_id: EventId,
        /// Key fact: microseconds since 1970, UTC.
        occurred_at: i64,
        /// The way by which the click came in.
        #[serde(default)]
        origin: Origin,
        /// The host or access log that it comes from.
        #[serde(borrow, default)]
        source: &'a str,
        /// Host as requested.
        #[serde(default)]
        domain: Option<&'a str>,
        /// Path as requested, without the leading slash.
        slug: &'a str,
        /// Query string as requested.
        #[serde(default)]
        query: Option<&'a str>,
        /// The link that the slug named at that moment.
        #[serde(default)]
        link_id: Option<&'a str>,
        /// Version of that link.
        #[serde(default)]
        link_version: Option<i64>,
        /// The answer to the visitor.
        #[serde(default)]
        outcome: Outcome,
        /// HTTP status of the answer; 0 when unknown.
        #[serde(default)]
        status: i32,
        /// Destination of this answer.
        #[serde(default)]
        target_url: Option<&'a str>,
        /// HTTP method.
        #[serde(default)]
        method: Method,
        /// `http` or `https`, where known.
        #[serde(default)]
        scheme: Option<&'a str>,
        /// Such as `HTTP/1.1`.
        #[serde(default)]
        http_version: Option<&'a str>,
        /// 4 or 16 bytes in network order.
        #[serde(borrow, default, deserialize_with = "serde_bytes::deserialize")]
        client_ip: Option<&'a [u8]>,
        /// How much of the address the record may carry.
        #[serde(default)]
        client_ip_policy: ClientIpPolicy,
        /// Keyed hash of the visitor, big-endian.
        #[serde(default, deserialize_with = "serde_bytes::deserialize")]
        visitor_id: Option<[u8; 8]>,
        /// A privacy rule removed what identifies the visitor.
        #[serde(default)]
        identifiers_stripped: bool,
        /// `User-Agent`.
        #[serde(default)]
        user_agent: Option<&'a str>,
        /// `Referer`.
        #[serde(default)]
        referer: Option<&'a str>,
        /// `Accept-Language`.
        #[serde(default)]
        accept_language: Option<&'a str>,
        /// `Sec-Purpose`, or one of its predecessors.
        #[serde(default)]
        purpose: Option<&'a str>,
        /// `Sec-Fetch-Site`.
        #[serde(default)]
        sec_fetch_site: Option<&'a str>,
        /// `Sec-Fetch-Mode`.
        #[serde(default)]
        sec_fetch_mode: Option<&'a str>,
        /// `Sec-Fetch-Dest`.
        #[serde(default)]
        sec_fetch_dest: Option<&'a str>,
        /// `Sec-CH-UA`.
        #[serde(default)]
        sec_ch_ua: Option<&'a str>,
        /// `Sec-CH-UA-Mobile`.
        #[serde(default)]
        sec_ch_ua_mobile: Option<&'a str>,
        /// `Sec-CH-UA-Platform`.
        #[serde(default)]
        sec_ch_ua_platform: Option<&'a str>,
        /// `X-Requested-With`.
        #[serde(default)]
        x_requested_with: Option<&'a str>,
        /// `DNT: 1` was sent.
        #[serde(default)]
        dnt: bool,
        /// `Sec-GPC: 1` was sent.
        #[serde(default)]
        gpc: bool,
        /// Country header of a CDN in front.
        #[serde(default)]
        edge_country: Option<&'a str>,
        /// Microseconds from the request head to the answer.
        #[serde(default)]
        latency_us: Option<i32>,
        /// The kind of the agent that a privacy rule removed.
        #[serde(default)]
        agent_kind: AgentKind,
    }
}

/// A rule of the schema's docs that its types cannot express, and that a click breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ContractError {
    /// The nil id: its writer generates none.
    #[error("event_id is nil: the writer of a click must generate a UUID v7")]
    NilEventId,
    /// An address that is neither IPv4 nor IPv6.
    #[error("client_ip has {0} bytes, neither 4 nor 16")]
    ClientIpLength(usize),
    /// A text that its writer had to cut.
    #[error("{field} has {bytes} bytes, more than {bytes_max}")]
    TextTooLong {
        /// Which text.
        field: &'static str,
        /// Its length.
        bytes: usize,
        /// Its limit.
        bytes_max: usize,
    },
}

impl RawClick<'_> {
    /// Checks what the Avro types cannot express.
    ///
    /// # Errors
    /// The first rule that the click breaks.
    pub fn check(&self) -> Result<(), ContractError> {
        if self.event_id.is_nil() {
            return Err(ContractError::NilEventId);
        }
        match self.client_ip.map(<[u8]>::len) {
            None | Some(4 | 16) => Ok(()),
            Some(length) => Err(ContractError::ClientIpLength(length)),
        }
    }

    /// Checks that no text is longer than its limit. Writers cut texts; readers check them.
    ///
    /// # Errors
    /// The first text that is too long.
    pub fn check_lengths(&self) -> Result<(), ContractError> {
        match self.texts().into_iter().find(BoundedText::is_too_long) {
            None => Ok(()),
            Some(BoundedText { field, text, bytes_max }) => {
                let bytes = text.map_or(0, str::len);
                Err(ContractError::TextTooLong { field, bytes, bytes_max })
            }
        }
    }

    /// Every text with its limit.
    pub fn texts(&self) -> [BoundedText<'_>; 20] {
        let of = |field, text, bytes_max| BoundedText { field, text, bytes_max };
        let short = |field, text| of(field, text, SHORT_BYTES_MAX);
        [
            of("slug", Some(self.slug), SLUG_BYTES_MAX),
            of("query", self.query, QUERY_BYTES_MAX),
            of("target_url", self.target_url, TARGET_URL_BYTES_MAX),
            of("user_agent", self.user_agent, USER_AGENT_BYTES_MAX),
            of("referer", self.referer, REFERER_BYTES_MAX),
            of("accept_language", self.accept_language, ACCEPT_LANGUAGE_BYTES_MAX),
            of("link_id", self.link_id, LINK_ID_BYTES_MAX),
            short("source", Some(self.source)),
            short("domain", self.domain),
            short("scheme", self.scheme),
            short("http_version", self.http_version),
            short("purpose", self.purpose),
            short("sec_fetch_site", self.sec_fetch_site),
            short("sec_fetch_mode", self.sec_fetch_mode),
            short("sec_fetch_dest", self.sec_fetch_dest),
            short("sec_ch_ua", self.sec_ch_ua),
            short("sec_ch_ua_mobile", self.sec_ch_ua_mobile),
            short("sec_ch_ua_platform", self.sec_ch_ua_platform),
            short("x_requested_with", self.x_requested_with),
            short("edge_country", self.edge_country),
        ]
    }
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
    fn a_broken_contract_is_named() {
        let id = Uuid::from_u128(7);
        let click = RawClick::new(id, 0, "a");
        assert_eq!(click.check(), Ok(()));
        assert_eq!(RawClick::new(Uuid::nil(), 0, "a").check(), Err(ContractError::NilEventId));
        for (bytes, expected) in [
            (&[1, 2, 3, 4][..], Ok(())),
            (&[0; 16][..], Ok(())),
            (&[1, 2, 3][..], Err(ContractError::ClientIpLength(3))),
            (&[][..], Err(ContractError::ClientIpLength(0))),
        ] {
            assert_eq!(RawClick { client_ip: Some(bytes), ..click }.check(), expected);
        }
    }

    /// Every text of the schema has a limit here, which is that of the schema's docs where they state
    /// one.
    #[test]
    fn l3_every_text_of_the_schema_has_a_limit() {
        let schema: serde_json::Value = serde_json::from_str(crate::NEWEST).unwrap();
        let click = RawClick::new(Uuid::from_u128(7), 0, "a");
        let texts = click.texts();
        let mut held = 0;
        for field in schema["fields"].as_array().unwrap() {
            let kind = &field["type"];
            if *kind != "string" && *kind != serde_json::json!(["null", "string"]) {
                continue;
            }
            held += 1;
            let text = texts.iter().find(|text| field["name"] == text.field);
            let text = text.unwrap_or_else(|| panic!("{field} has no limit"));
            let doc = field["doc"].as_str().unwrap();
            let promised =
                doc.split_once("at most ").and_then(|(_, rest)| rest.split_once(" bytes"));
            if let Some((bytes, _)) = promised {
                assert_eq!(bytes, text.bytes_max.to_string(), "{field}");
            }
        }
        assert_eq!(held, texts.len());
    }

    #[test]
    fn l3_a_text_of_its_limit_is_read_and_a_longer_one_is_named() {
        let longest = "ü".repeat(QUERY_BYTES_MAX);
        let cut = |bytes: usize| &longest[..bytes];
        let fine = RawClick {
            source: cut(SHORT_BYTES_MAX),
            user_agent: Some(cut(USER_AGENT_BYTES_MAX)),
            link_id: Some(cut(LINK_ID_BYTES_MAX)),
            query: Some(cut(QUERY_BYTES_MAX)),
            ..RawClick::new(Uuid::from_u128(7), 0, cut(SLUG_BYTES_MAX))
        };
        assert_eq!(fine.check_lengths(), Ok(()));
        for (field, click) in [
            ("source", RawClick { source: cut(258), ..fine }),
            ("slug", RawClick { slug: cut(1026), ..fine }),
            ("query", RawClick { query: Some(cut(8194)), ..fine }),
            ("user_agent", RawClick { user_agent: Some(&longest), ..fine }),
            ("link_id", RawClick { link_id: Some(cut(514)), ..fine }),
            ("edge_country", RawClick { edge_country: Some(cut(258)), ..fine }),
            ("x_requested_with", RawClick { x_requested_with: Some(cut(258)), ..fine }),
        ] {
            let Err(ContractError::TextTooLong { field: named, bytes, bytes_max }) =
                click.check_lengths()
            else {
                panic!("{field} is not refused")
            };
            assert!(named == field && bytes > bytes_max, "{named}: {bytes} of {bytes_max}");
        }
    }
}
