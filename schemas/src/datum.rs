//! Writes the values of an Avro datum.
//!
//! A serializer would look up each field and symbol by its name. A redirect writes its click before it
//! answers, and the look-ups took a tenth of its time. Pure; readers use a library.

use uuid::Uuid;

/// A value that a datum can hold.
pub(crate) trait DatumField {
    /// Appends the value.
    fn write(self, datum: &mut Vec<u8>);
}

/// A union of null and another type, in this order: an index of 0 or 1, in zigzag.
impl<T: DatumField> DatumField for Option<T> {
    fn write(self, datum: &mut Vec<u8>) {
        match self {
            None => datum.push(0),
            Some(value) => {
                datum.push(2);
                value.write(datum);
            }
        }
    }
}

/// Zigzag, then seven bits a byte, the lowest first.
impl DatumField for i64 {
    fn write(self, datum: &mut Vec<u8>) {
        let mut rest = ((self << 1) ^ (self >> 63)).cast_unsigned();
        loop {
            let [low, ..] = rest.to_le_bytes();
            rest >>= 7;
            if rest == 0 {
                return datum.push(low);
            }
            datum.push(low | 0x80);
        }
    }
}

impl DatumField for i32 {
    fn write(self, datum: &mut Vec<u8>) {
        i64::from(self).write(datum);
    }
}

impl DatumField for bool {
    fn write(self, datum: &mut Vec<u8>) {
        datum.push(self.into());
    }
}

impl DatumField for &str {
    fn write(self, datum: &mut Vec<u8>) {
        self.as_bytes().write(datum);
    }
}

impl DatumField for &[u8] {
    #[expect(clippy::expect_used, reason = "a slice has at most 2^63 - 1 bytes")]
    fn write(self, datum: &mut Vec<u8>) {
        i64::try_from(self.len()).expect("the length of a slice fits an i64").write(datum);
        datum.extend_from_slice(self);
    }
}

/// Avro's `fixed` has no length.
impl<const N: usize> DatumField for [u8; N] {
    fn write(self, datum: &mut Vec<u8>) {
        datum.extend_from_slice(&self);
    }
}

impl DatumField for Uuid {
    fn write(self, datum: &mut Vec<u8>) {
        self.into_bytes().write(datum);
    }
}
