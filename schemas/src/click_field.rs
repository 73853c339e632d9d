//! The form of each type of a click's fields: as a value of a datum, and as JSON. Pure.

use std::net::IpAddr;

use serde_json::Value;
use uuid::Uuid;

use crate::field_value::FieldValue;

/// Prefix of bytes that are neither an IPv4 nor an IPv6 address.
const HEX_PREFIX: &str = "hex:";

/// The form of a field without its null.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FieldForm {
    /// A UUID.
    Id,
    /// A number of 64 bits.
    Long,
    /// A number of 32 bits.
    Int,
    /// A truth value.
    Boolean,
    /// A text.
    Text,
    /// An IP address, or other bytes.
    Address,
    /// 8 bytes.
    Hash,
    /// One of these symbols, of which the first is the default.
    Symbol(&'static [&'static str]),
}

/// A field of a click.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FieldSpec {
    pub(crate) name: &'static str,
    pub(crate) form: FieldForm,
    pub(crate) is_nullable: bool,
}

impl FieldSpec {
    /// The value of the field where a click has none.
    pub(crate) fn default_value(&self) -> FieldValue {
        if self.is_nullable { FieldValue::Null } else { self.form.default_value() }
    }
}

/// A type of a click's fields.
pub(crate) trait ClickField<'a>: Sized {
    /// Its form.
    const FORM: FieldForm;
    /// Whether it may be null.
    const IS_NULLABLE: bool = false;

    /// The field of this value; `None` if the value is not of this type.
    fn of_value(value: &'a FieldValue) -> Option<Self>;
}

impl<'a, T: ClickField<'a>> ClickField<'a> for Option<T> {
    const FORM: FieldForm = T::FORM;
    const IS_NULLABLE: bool = true;

    fn of_value(value: &'a FieldValue) -> Option<Self> {
        if *value == FieldValue::Null { Some(None) } else { T::of_value(value).map(Some) }
    }
}

impl ClickField<'_> for Uuid {
    const FORM: FieldForm = FieldForm::Id;

    fn of_value(value: &FieldValue) -> Option<Self> {
        <[u8; 16]>::try_from(value.bytes()?).ok().map(Self::from_bytes)
    }
}

impl ClickField<'_> for i64 {
    const FORM: FieldForm = FieldForm::Long;

    fn of_value(value: &FieldValue) -> Option<Self> {
        value.number()
    }
}

impl ClickField<'_> for i32 {
    const FORM: FieldForm = FieldForm::Int;

    fn of_value(value: &FieldValue) -> Option<Self> {
        Self::try_from(value.number()?).ok()
    }
}

impl ClickField<'_> for bool {
    const FORM: FieldForm = FieldForm::Boolean;

    fn of_value(value: &FieldValue) -> Option<Self> {
        if let FieldValue::Boolean(value) = value { Some(*value) } else { None }
    }
}

impl<'a> ClickField<'a> for &'a str {
    const FORM: FieldForm = FieldForm::Text;

    fn of_value(value: &'a FieldValue) -> Option<Self> {
        value.text()
    }
}

impl<'a> ClickField<'a> for &'a [u8] {
    const FORM: FieldForm = FieldForm::Address;

    fn of_value(value: &'a FieldValue) -> Option<Self> {
        value.bytes()
    }
}

impl ClickField<'_> for [u8; 8] {
    const FORM: FieldForm = FieldForm::Hash;

    fn of_value(value: &FieldValue) -> Option<Self> {
        value.bytes()?.try_into().ok()
    }
}

impl FieldForm {
    /// The value of a field that has none.
    pub(crate) fn default_value(self) -> FieldValue {
        match self {
            Self::Id => FieldValue::Bytes(vec![0; 16]),
            Self::Long | Self::Int => FieldValue::Number(0),
            Self::Boolean => FieldValue::Boolean(false),
            Self::Text => FieldValue::Text(String::new()),
            Self::Address => FieldValue::Bytes(Vec::new()),
            Self::Hash => FieldValue::Bytes(vec![0; 8]),
            Self::Symbol(symbols) => {
                FieldValue::Text(symbols.first().copied().unwrap_or_default().to_owned())
            }
        }
    }

    /// The value of this form that `value` has, or that comes next to it; `None` if it is of another type.
    pub(crate) fn nearest(self, value: &FieldValue) -> Option<FieldValue> {
        match (self, value) {
            (Self::Id, FieldValue::Bytes(bytes)) if bytes.len() == 16 => {}
            (Self::Hash, FieldValue::Bytes(bytes)) if bytes.len() == 8 => {}
            (Self::Long, FieldValue::Number(_))
            | (Self::Boolean, FieldValue::Boolean(_))
            | (Self::Text, FieldValue::Text(_))
            | (Self::Address, FieldValue::Bytes(_)) => {}
            (Self::Int, FieldValue::Number(number)) if i32::try_from(*number).is_ok() => {}
            (Self::Symbol(symbols), FieldValue::Text(text)) if symbols.contains(&&**text) => {}
            // As the decoder reads a symbol of a newer schema.
            (Self::Symbol(_), FieldValue::Text(_)) => return Some(self.default_value()),
            (Self::Text, FieldValue::Bytes(bytes)) => {
                return Some(FieldValue::Text(String::from_utf8_lossy(bytes).into_owned()));
            }
            _ => return None,
        }
        Some(value.clone())
    }

    /// The JSON of a value of this form, or of null.
    pub(crate) fn json(self, value: &FieldValue) -> Value {
        match value {
            FieldValue::Null | FieldValue::Real(_) | FieldValue::Other => Value::Null,
            FieldValue::Boolean(value) => (*value).into(),
            FieldValue::Number(number) => (*number).into(),
            FieldValue::Text(text) => text.as_str().into(),
            FieldValue::Bytes(bytes) if self == Self::Id => {
                Uuid::from_slice(bytes).unwrap_or_default().to_string().into()
            }
            FieldValue::Bytes(bytes) if self == Self::Hash => hex(bytes).into(),
            FieldValue::Bytes(bytes) => match address(bytes) {
                Some(address) => address.to_string().into(),
                None => format!("{HEX_PREFIX}{}", hex(bytes)).into(),
            },
        }
    }

    /// The value of a JSON value that is not null.
    ///
    /// # Errors
    /// What is expected.
    pub(crate) fn of_json(self, json: Value) -> Result<FieldValue, String> {
        let expected = || self.expected();
        match (self, json) {
            (Self::Id, Value::String(text)) => {
                let id = Uuid::parse_str(&text).map_err(|_| expected())?;
                Ok(FieldValue::Bytes(id.into_bytes().into()))
            }
            (Self::Long | Self::Int, Value::Number(number)) => {
                let number = number.as_i64().ok_or_else(expected)?;
                let is_wide = self == Self::Int && i32::try_from(number).is_err();
                if is_wide { Err(expected()) } else { Ok(FieldValue::Number(number)) }
            }
            (Self::Boolean, Value::Bool(value)) => Ok(FieldValue::Boolean(value)),
            (Self::Text, Value::String(text)) => Ok(FieldValue::Text(text)),
            (Self::Address, Value::String(text)) => {
                address_bytes(&text).map(FieldValue::Bytes).ok_or_else(expected)
            }
            (Self::Hash, Value::String(text)) => {
                let bytes = unhex(&text).filter(|bytes| bytes.len() == 8);
                bytes.map(FieldValue::Bytes).ok_or_else(expected)
            }
            (Self::Symbol(symbols), Value::String(text)) if symbols.contains(&&*text) => {
                Ok(FieldValue::Text(text))
            }
            _ => Err(expected()),
        }
    }

    fn expected(self) -> String {
        match self {
            Self::Id => "a UUID".to_owned(),
            Self::Long => "an integer of 64 bits".to_owned(),
            Self::Int => "an integer of 32 bits".to_owned(),
            Self::Boolean => "true or false".to_owned(),
            Self::Text => "a text".to_owned(),
            Self::Address => "an IP address, or hex: and hexadecimal digits".to_owned(),
            Self::Hash => "16 hexadecimal digits".to_owned(),
            Self::Symbol(symbols) => format!("one of {}", symbols.join(", ")),
        }
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from);
    v4.or_else(|| <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from))
}

fn address_bytes(text: &str) -> Option<Vec<u8>> {
    match text.strip_prefix(HEX_PREFIX) {
        Some(digits) => unhex(digits),
        None => match text.parse().ok()? {
            IpAddr::V4(v4) => Some(v4.octets().to_vec()),
            IpAddr::V6(v6) => Some(v6.octets().to_vec()),
        },
    }
}

fn hex(bytes: &[u8]) -> String {
    FieldValue::Bytes(bytes.to_owned()).to_string()
}

fn unhex(digits: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let byte = |pair: &[u8; 2]| u8::try_from(digit(pair[0])? << 4 | digit(pair[1])?).ok();
    match digits.as_bytes().as_chunks::<2>() {
        (pairs, []) => pairs.iter().map(byte).collect(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_any_length_are_an_address_or_hex_and_come_back() {
        for (bytes, text) in [
            (&[203, 0, 113, 7][..], "203.0.113.7"),
            (&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 1, 2, 3, 4], "::ffff:1.2.3.4"),
            (&[1, 0xab], "hex:01ab"),
            (&[], "hex:"),
        ] {
            let value = FieldValue::Bytes(bytes.to_owned());
            assert_eq!(FieldForm::Address.json(&value), text);
            assert_eq!(FieldForm::Address.of_json(text.into()), Ok(value));
        }
        for bad in ["", "hex:0", "hex:0g", "hex:é", "1.2.3", "host"] {
            assert!(FieldForm::Address.of_json(bad.into()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_value_of_another_type_states_what_is_expected() {
        for (form, json, expected) in [
            (FieldForm::Id, Value::from("x"), "a UUID"),
            (FieldForm::Int, 2_147_483_648_i64.into(), "an integer of 32 bits"),
            (FieldForm::Long, 1.5.into(), "an integer of 64 bits"),
            (FieldForm::Hash, "0102".into(), "16 hexadecimal digits"),
            (FieldForm::Text, 7.into(), "a text"),
            (FieldForm::Boolean, "true".into(), "true or false"),
            (FieldForm::Symbol(&["a", "b"]), "c".into(), "one of a, b"),
        ] {
            assert_eq!(form.of_json(json), Err(expected.to_owned()));
        }
    }

    #[test]
    fn a_value_that_cannot_be_shown_comes_nearest_or_is_none() {
        let symbols = FieldForm::Symbol(&["unknown", "a"]);
        let text = |text: &str| FieldValue::Text(text.to_owned());
        assert_eq!(symbols.nearest(&text("newer")), Some(text("unknown")));
        assert_eq!(symbols.nearest(&text("a")), Some(text("a")));
        let bytes = FieldValue::Bytes(b"\xffa".to_vec());
        assert_eq!(FieldForm::Text.nearest(&bytes), Some(text("\u{fffd}a")));
        assert_eq!(FieldForm::Id.nearest(&bytes), None);
        assert_eq!(FieldForm::Int.nearest(&FieldValue::Number(1 << 40)), None);
    }
}
