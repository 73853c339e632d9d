//! The enums of a click's fields, each value with its Avro symbol.

use serde::Deserialize;

use crate::click_field::{ClickField, FieldForm};
use crate::datum::DatumField;
use crate::field_value::FieldValue;

/// An enum whose values have Avro symbols; a reader takes an unknown symbol of a newer writer for the first.
macro_rules! symbols {
    ($(#[$doc:meta])* $name:ident { $first:ident = $first_symbol:literal $(, $variant:ident = $symbol:literal)* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Deserialize)]
        pub enum $name {
            $(
                #[doc = concat!("`", $symbol, "`")]
                #[serde(rename = $symbol)]
                $variant,
            )*
            #[doc = concat!("`", $first_symbol, "`, and what this version does not know.")]
            #[default]
            #[serde(rename = $first_symbol, other)]
            $first,
        }

        impl $name {
            /// All values, in the order of the schema.
            pub const ALL: &[Self] = &[Self::$first, $(Self::$variant),*];

            /// The Avro symbol, which tables and metrics use too.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $symbol,)*
                    Self::$first => $first_symbol,
                }
            }

            /// The value with this symbol.
            pub fn from_symbol(symbol: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|value| value.as_str() == symbol)
            }
        }

        impl ClickField<'_> for $name {
            const FORM: FieldForm = FieldForm::Symbol(&[$first_symbol, $($symbol),*]);

            fn of_value(value: &FieldValue) -> Option<Self> {
                Self::from_symbol(value.text()?)
            }
        }

        impl DatumField for $name {
            /// Its index in the schema: the first is declared last, for serde.
            fn write(self, datum: &mut Vec<u8>) {
                let index = match self {
                    Self::$first => 0,
                    other => other as i64 + 1,
                };
                index.write(datum);
            }
        }
    };
}

symbols! {
    /// The way by which the click came in.
    Origin { Unknown = "unknown", Redirect = "redirect", Import = "import", Collector = "collector" }
}

symbols! {
    /// The answer to the visitor.
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

symbols! {
    /// HTTP method, as far as it distinguishes kinds of clicks.
    Method { Other = "OTHER", Get = "GET", Head = "HEAD", Post = "POST" }
}

symbols! {
    /// How much of the client's address a record may carry.
    ClientIpPolicy { Unknown = "unknown", Full = "full", Truncated = "truncated", None = "none" }
}

symbols! {
    /// The kind of a user agent that a privacy rule removed.
    AgentKind {
        Unknown = "unknown",
        None = "none",
        Browser = "browser",
        DeclaredMachine = "declared_machine",
        Other = "other",
    }
}

impl Outcome {
    /// The answer to the visitor, by its HTTP status.
    pub fn from_status(status: u16) -> Self {
        match status {
            200..=299 | 304 => Self::Served,
            301 | 302 | 303 | 307 | 308 => Self::Redirected,
            404 => Self::NotFound,
            410 => Self::Expired,
            401 | 403 | 451 => Self::Blocked,
            400..=599 => Self::Error,
            _ => Self::Unknown,
        }
    }
}

impl Method {
    /// The method of this name in any case: senders and old clients write `head`, too.
    pub fn from_name(name: &str) -> Self {
        let is_named = |method: &Self| method.as_str().eq_ignore_ascii_case(name);
        Self::ALL.iter().copied().find(is_named).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_decides_the_outcome() {
        for (status, expected) in [
            (200, Outcome::Served),
            (206, Outcome::Served),
            (304, Outcome::Served),
            (301, Outcome::Redirected),
            (308, Outcome::Redirected),
            (404, Outcome::NotFound),
            (410, Outcome::Expired),
            (403, Outcome::Blocked),
            (416, Outcome::Error),
            (499, Outcome::Error),
            (503, Outcome::Error),
            (0, Outcome::Unknown),
            (101, Outcome::Unknown),
            (300, Outcome::Unknown),
        ] {
            assert_eq!(Outcome::from_status(status), expected, "{status}");
        }
    }

    #[test]
    fn a_value_is_found_by_its_symbol_and_by_no_other_text() {
        assert_eq!(Outcome::from_symbol("not_found"), Some(Outcome::NotFound));
        assert_eq!(Outcome::from_symbol("NotFound"), None);
        assert_eq!(
            (Method::from_name("POST"), Method::from_name("get")),
            (Method::Post, Method::Get)
        );
    }
}
