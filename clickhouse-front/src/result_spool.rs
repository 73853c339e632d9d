//! Buffers a result that must be complete before it is sent: in memory a small one, in a file
//! without a name a large one. Both are freed when it is dropped.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

/// Bytes kept in memory before a file is used.
const MEMORY_BYTES_MAX: usize = 4 << 20;
/// Bytes read at a time.
const PIECE_BYTES: usize = 256 << 10;

/// Bytes written once and then read once.
#[derive(Debug)]
pub(crate) struct ResultSpool {
    memory: Vec<u8>,
    file: Option<File>,
    path: PathBuf,
}

impl ResultSpool {
    /// An empty spool that would put its file at `path`, which must not be in use.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { memory: Vec::new(), file: None, path }
    }

    /// Takes over a file that the engine wrote, and removes its name.
    ///
    /// # Errors
    /// The file's.
    pub(crate) fn of_file(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        std::fs::remove_file(path)?;
        Ok(Self { memory: Vec::new(), file: Some(file), path: path.to_owned() })
    }

    /// Adds bytes.
    ///
    /// # Errors
    /// The file's.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.file.is_none() && self.memory.len() + bytes.len() > MEMORY_BYTES_MAX {
            let mut file =
                OpenOptions::new().read(true).write(true).create_new(true).open(&self.path)?;
            std::fs::remove_file(&self.path)?;
            file.write_all(&self.memory)?;
            self.memory = Vec::new();
            self.file = Some(file);
        }
        match &mut self.file {
            Some(file) => file.write_all(bytes),
            None => self.memory.write_all(bytes),
        }
    }

    /// Passes everything to `take`, in order, until that returns false.
    ///
    /// # Errors
    /// The file's.
    pub(crate) fn read(self, mut take: impl FnMut(&[u8]) -> bool) -> io::Result<()> {
        let Some(mut file) = self.file else {
            self.memory.chunks(PIECE_BYTES).all(take);
            return Ok(());
        };
        file.rewind()?;
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            let len = file.read(&mut piece)?;
            if len == 0 || !take(&piece[..len]) {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_and_large_results_are_read_back() {
        let path = std::env::temp_dir().join(format!("clicktrail-spool-{}", std::process::id()));
        for size in [0, 10, MEMORY_BYTES_MAX, 3 * MEMORY_BYTES_MAX] {
            let data: Vec<u8> = (0..size).map(|n| u8::try_from(n % 251).unwrap()).collect();
            let mut spool = ResultSpool::new(path.clone());
            for piece in data.chunks(100_003) {
                spool.write(piece).unwrap();
            }
            assert!(!path.exists());
            let mut seen = Vec::new();
            spool
                .read(|piece| {
                    seen.extend_from_slice(piece);
                    true
                })
                .unwrap();
            assert!(seen == data, "{size} bytes");
        }
    }
}
