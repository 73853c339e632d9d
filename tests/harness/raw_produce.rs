//! Batches as an attacker builds them: Kafka's produce request and record batch without a client
//! library, and zstd frames that decompress to any size.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

/// A header of a record: any bytes.
pub type RawHeader = (Vec<u8>, Option<Vec<u8>>);

/// A record of a batch.
#[derive(Debug, Clone, Default)]
pub struct BatchRecord {
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value.
    pub value: Option<Vec<u8>>,
    /// Its headers.
    pub headers: Vec<RawHeader>,
}

impl BatchRecord {
    /// Its bytes after the length; `delta` is its offset less the base offset.
    fn encode(&self, delta: i64) -> Vec<u8> {
        let mut body = vec![0, 0];
        varint(delta, &mut body);
        optional(self.key.as_deref(), &mut body);
        optional(self.value.as_deref(), &mut body);
        varint(i64::try_from(self.headers.len()).expect("a few"), &mut body);
        for (name, value) in &self.headers {
            optional(Some(name), &mut body);
            optional(value.as_deref(), &mut body);
        }
        body
    }
}

/// A length that a record states, and that is not its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "their names state what they are")]
pub enum WrongLength {
    OneMore,
    OneLess,
    Double,
    Half,
    Zero,
    Negative,
    BeyondTheBatch,
}

impl WrongLength {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::OneMore,
        Self::OneLess,
        Self::Double,
        Self::Half,
        Self::Zero,
        Self::Negative,
        Self::BeyondTheBatch,
    ];

    fn of(self, length: i64) -> i64 {
        match self {
            Self::OneMore => length + 1,
            Self::OneLess => length - 1,
            Self::Double => length * 2,
            Self::Half => length / 2,
            Self::Zero => 0,
            Self::Negative => -length,
            Self::BeyondTheBatch => i64::from(i32::MAX),
        }
    }
}

/// The codecs of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are named as Kafka names them")]
pub enum Codec {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

/// The encoded records of a batch, uncompressed, and their number.
#[derive(Debug, Clone)]
pub struct RawRecords {
    bytes: Vec<u8>,
    count: i32,
}

impl RawRecords {
    /// Encodes them.
    pub fn new(records: &[BatchRecord]) -> Self {
        Self::stating(records, |_, length| length)
    }

    /// Encodes them; the record of this number states a wrong length.
    pub fn with_wrong_length(records: &[BatchRecord], number: usize, wrong: WrongLength) -> Self {
        Self::stating(records, |own, length| if own == number { wrong.of(length) } else { length })
    }

    /// Encodes them. The value of the record of this number is an encoded record of another offset, so far from
    /// the base offset, and the length of the record ends before it.
    pub fn with_record_in_value(records: &[BatchRecord], number: usize, delta: i64) -> Self {
        let made = BatchRecord { value: Some(b"made".to_vec()), ..BatchRecord::default() };
        let (body, mut value) = (made.encode(delta), Vec::new());
        varint(length(&body), &mut value);
        value.extend(body);
        // The value, and the number of headers.
        let behind = length(&value) + 1;
        let mut records = records.to_vec();
        records[number] = BatchRecord { value: Some(value), ..BatchRecord::default() };
        Self::stating(&records, |own, length| if own == number { length - behind } else { length })
    }

    /// Encodes them with the lengths that `stated` gives by number and length.
    fn stating(records: &[BatchRecord], stated: impl Fn(usize, i64) -> i64) -> Self {
        let mut bytes = Vec::new();
        for (number, record) in records.iter().enumerate() {
            let body = record.encode(i64::try_from(number).expect("a few"));
            varint(stated(number, length(&body)), &mut bytes);
            bytes.extend(body);
        }
        Self { bytes, count: i32::try_from(records.len()).expect("a few") }
    }

    /// Without compression.
    pub fn plain(&self) -> RawBatch {
        RawBatch::new(Codec::None, self.bytes.clone(), self.count)
    }

    /// In a zstd frame without compression: brokers store its bytes unchanged.
    pub fn stored(&self) -> RawBatch {
        let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0, 0x68];
        for piece in self.bytes.chunks(128 << 10) {
            block(0, piece.len(), false, &mut frame);
            frame.extend(piece);
        }
        block(0, 0, true, &mut frame);
        RawBatch::new(Codec::Zstd, frame, self.count)
    }

    /// Compressed by `compress`, a function of another library.
    pub fn compressed(&self, codec: Codec, compress: impl FnOnce(&[u8]) -> Vec<u8>) -> RawBatch {
        RawBatch::new(codec, compress(&self.bytes), self.count)
    }
}

/// A batch to send.
#[derive(Debug, Clone)]
pub struct RawBatch {
    /// The codec that its attributes name.
    pub codec: Codec,
    /// Its records, compressed.
    pub bytes: Vec<u8>,
    /// The number of records that it claims.
    pub count: i32,
    /// Bits of its attributes other than those of the codec.
    pub attributes: i16,
    /// Its times, milliseconds since 1970; none: the current time.
    pub timestamp_ms: Option<i64>,
}

impl RawBatch {
    fn new(codec: Codec, bytes: Vec<u8>, count: i32) -> Self {
        Self { codec, bytes, count, attributes: 0, timestamp_ms: None }
    }

    /// One record in zstd, whose value of `bytes` equal bytes takes 4 bytes for each 128 KiB.
    /// `has_size`: the frame states its decompressed size.
    pub fn zstd_bomb(bytes: usize, has_size: bool) -> Self {
        let mut head = vec![0, 0];
        varint(0, &mut head);
        optional(None, &mut head);
        varint(i64::try_from(bytes).expect("a size"), &mut head);
        let mut prefix = Vec::new();
        varint(length(&head) + i64::try_from(bytes + 1).expect("a size"), &mut prefix);
        prefix.extend(head);
        let total = prefix.len() + bytes + 1;
        let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd];
        // A window of 8 MiB.
        frame.extend(if has_size { [0xc0, 0x68] } else { [0, 0x68] });
        if has_size {
            frame.extend(u64::try_from(total).expect("a size").to_le_bytes());
        }
        block(0, prefix.len(), false, &mut frame);
        frame.extend(prefix);
        let mut left = bytes;
        while left > 0 {
            let some = left.min(128 << 10);
            block(1, some, false, &mut frame);
            frame.push(0xff);
            left -= some;
        }
        block(0, 1, true, &mut frame);
        frame.push(0);
        Self::new(Codec::Zstd, frame, 1)
    }

    /// Sends it; returns the broker's error code (0: none) and the base offset.
    ///
    /// # Panics
    /// As [`RawBatch::try_send`] fails.
    pub fn send(&self, brokers: &str, topic: &str, partition: i32) -> (i16, i64) {
        self.try_send(brokers, topic, partition).expect("the broker answers")
    }

    /// As [`RawBatch::send`].
    ///
    /// # Errors
    /// The broker does not answer, as it does to a request that it cannot parse.
    pub fn try_send(
        &self,
        brokers: &str,
        topic: &str,
        partition: i32,
    ) -> std::io::Result<(i16, i64)> {
        let batch = self.encode();
        let mut body = Vec::new();
        // Version 7, the first that takes zstd.
        body.extend([0, 0, 0, 7, 0, 0, 0, 1]);
        string("raw", &mut body);
        // No transaction; all replicas; 10 seconds; one topic, one partition.
        body.extend((-1_i16).to_be_bytes());
        body.extend((-1_i16).to_be_bytes());
        body.extend(10_000_i32.to_be_bytes());
        body.extend(1_i32.to_be_bytes());
        string(topic, &mut body);
        body.extend(1_i32.to_be_bytes());
        body.extend(partition.to_be_bytes());
        body.extend(i32::try_from(batch.len()).expect("a batch").to_be_bytes());
        body.extend(batch);
        let broker = brokers.split(',').next().expect("a broker");
        let mut stream = TcpStream::connect(broker)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        let length = u32::try_from(body.len()).expect("a request");
        stream.write_all(&length.to_be_bytes())?;
        stream.write_all(&body)?;
        let mut length = [0; 4];
        stream.read_exact(&mut length)?;
        let mut answer = vec![0; u32::from_be_bytes(length) as usize];
        stream.read_exact(&mut answer)?;
        // Correlation id, one topic with its name, one partition with its number.
        let at = 4 + 4 + 2 + topic.len() + 4 + 4;
        let code = i16::from_be_bytes(answer[at..at + 2].try_into().expect("two bytes"));
        let base = i64::from_be_bytes(answer[at + 2..at + 10].try_into().expect("eight bytes"));
        Ok((code, base))
    }

    /// The bytes of the batch.
    pub fn encode(&self) -> Vec<u8> {
        let codec = match self.codec {
            Codec::None => 0_i16,
            Codec::Gzip => 1,
            Codec::Snappy => 2,
            Codec::Lz4 => 3,
            Codec::Zstd => 4,
        };
        let now = self.timestamp_ms.unwrap_or_else(|| jiff::Timestamp::now().as_millisecond());
        let mut checked = Vec::new();
        checked.extend((codec | self.attributes).to_be_bytes());
        checked.extend(self.count.wrapping_sub(1).to_be_bytes());
        checked.extend(now.to_be_bytes());
        checked.extend(now.to_be_bytes());
        checked.extend((-1_i64).to_be_bytes());
        checked.extend((-1_i16).to_be_bytes());
        checked.extend((-1_i32).to_be_bytes());
        checked.extend(self.count.to_be_bytes());
        checked.extend(&self.bytes);
        let mut batch = Vec::new();
        batch.extend(0_i64.to_be_bytes());
        let length = i32::try_from(checked.len() + 9).expect("a batch");
        batch.extend(length.to_be_bytes());
        batch.extend((-1_i32).to_be_bytes());
        batch.push(2);
        batch.extend(crc32c(&checked).to_be_bytes());
        batch.extend(checked);
        batch
    }
}

/// The header of a block of a zstd frame: 0 is raw, 1 repeats one byte.
fn block(kind: usize, size: usize, is_last: bool, frame: &mut Vec<u8>) {
    let header = usize::from(is_last) | kind << 1 | size << 3;
    frame.extend(&header.to_le_bytes()[..3]);
}

fn length(bytes: &[u8]) -> i64 {
    i64::try_from(bytes.len()).expect("a length")
}

fn varint(number: i64, into: &mut Vec<u8>) {
    let mut left = ((number << 1) ^ (number >> 63)).cast_unsigned();
    while left >= 0x80 {
        into.push(u8::try_from(left & 0x7f).expect("seven bits") | 0x80);
        left >>= 7;
    }
    into.push(u8::try_from(left).expect("seven bits"));
}

fn optional(bytes: Option<&[u8]>, into: &mut Vec<u8>) {
    varint(bytes.map_or(-1, length), into);
    into.extend(bytes.unwrap_or_default());
}

fn string(text: &str, into: &mut Vec<u8>) {
    into.extend(i16::try_from(text.len()).expect("a name").to_be_bytes());
    into.extend(text.as_bytes());
}

fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for &byte in bytes {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
        }
    }
    !crc
}
