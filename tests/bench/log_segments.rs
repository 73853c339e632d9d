//! A topic on the broker's disk: its bytes, its records and its record batches.
//!
//! librdkafka sends each batch in a produce request of its own, and the broker appends it as one batch.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};

/// The bytes of a batch before its length, and those of the length.
const LENGTH: std::ops::Range<usize> = 8..12;
/// Where the header of a batch has the number of its records.
const RECORDS: std::ops::Range<usize> = 57..61;

/// What a topic takes, one copy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogSize {
    /// Bytes of its segments.
    pub bytes: u64,
    /// Record batches.
    pub batches: u64,
    /// Records.
    pub records: u64,
}

impl LogSize {
    /// Reads the segments of `topic` in the data folder of a broker.
    pub fn of(data: &Path, topic: &str) -> Result<Self> {
        let mut size = Self::default();
        for entry in std::fs::read_dir(data).with_context(|| data.display().to_string())? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let partition = name.strip_prefix(topic).and_then(|rest| rest.strip_prefix('-'));
            if partition.is_none_or(|number| number.parse::<u32>().is_err()) {
                continue;
            }
            for file in std::fs::read_dir(entry.path())? {
                let path = file?.path();
                if path.extension().is_some_and(|extension| extension == "log") {
                    size.add(&path)?;
                }
            }
        }
        Ok(size)
    }

    /// Adds one segment.
    fn add(&mut self, segment: &Path) -> Result<()> {
        let file = File::open(segment)?;
        let (end, mut at, mut header) = (file.metadata()?.len(), 0, [0; RECORDS.end]);
        while at < end {
            file.read_exact_at(&mut header, at).context("the header of a batch")?;
            let number =
                |of: std::ops::Range<usize>| anyhow::Ok(u32::from_be_bytes(header[of].try_into()?));
            at += LENGTH.end as u64 + u64::from(number(LENGTH)?);
            self.batches += 1;
            self.records += u64::from(number(RECORDS)?);
        }
        self.bytes += end;
        Ok(())
    }

    /// What was added since `before`.
    pub fn since(self, before: Self) -> Self {
        Self {
            bytes: self.bytes - before.bytes,
            batches: self.batches - before.batches,
            records: self.records - before.records,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_and_records_of_a_topic_are_counted() {
        let data = tempfile::tempdir().unwrap();
        let batch = |records: u32, length: usize| {
            let mut batch = vec![0; LENGTH.end + length];
            batch[LENGTH].copy_from_slice(&u32::try_from(length).unwrap().to_be_bytes());
            batch[RECORDS].copy_from_slice(&records.to_be_bytes());
            batch
        };
        let write = |partition: &str, bytes: &[u8]| {
            let folder = data.path().join(partition);
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join("00.log"), bytes).unwrap();
            std::fs::write(folder.join("00.index"), b"other").unwrap();
        };
        write("clicks.v1-0", &[batch(3, 60), batch(4, 100)].concat());
        write("clicks.v1-1", &batch(5, 49));
        write("clicks.v1-dlq-0", &batch(1, 60));
        let size = LogSize::of(data.path(), "clicks.v1").unwrap();
        assert_eq!(size, LogSize { bytes: 245, batches: 3, records: 12 });
        write("clicks.v1-1", &batch(5, 49)[..40]);
        assert!(LogSize::of(data.path(), "clicks.v1").is_err());
    }
}
