//! Compresses one file a piece at a time, so that no call takes long.

use std::fmt;
use std::io::{self, Write as _};

use flate2::write::GzEncoder;
use flate2::{Compression as Level, GzBuilder};
use wasink_guest::{DataFile, Directory};

use super::{name, remove};

/// Bytes of the file that one step takes: some 20 ms of work.
const PIECE: u64 = 1 << 20;

pub(super) struct Compression {
    from: String,
    source: DataFile,
    read: u64,
    unfinished: String,
    target: DataFile,
    written: u64,
    encoder: GzEncoder<Vec<u8>>,
}

pub(super) enum Progress {
    More,
    Done,
}

impl Compression {
    pub(super) fn begin(directory: &Directory, from: String, token: u128) -> io::Result<Self> {
        let source = directory.open(&from)?;
        let unfinished = name::unfinished(&from, token);
        remove(directory, &unfinished)?;
        let target = directory.create_new(&unfinished)?;
        let encoder = GzBuilder::new().write(Vec::new(), Level::default());
        Ok(Self { from, source, read: 0, unfinished, target, written: 0, encoder })
    }

    pub(super) fn step(&mut self, directory: &Directory) -> io::Result<Progress> {
        let piece = self.source.read(PIECE, self.read)?;
        if piece.is_empty() {
            return self.finish(directory);
        }
        self.encoder.write_all(&piece)?;
        self.read += length(&piece);
        self.pass_on()?;
        Ok(Progress::More)
    }

    /// The file that is compressed.
    pub(super) fn from(&self) -> &str {
        &self.from
    }

    /// Takes the unfinished file away, if it is there.
    pub(super) fn abandon(&self, directory: &Directory) {
        // It is taken away when the sink opens next, if not now.
        drop(remove(directory, &self.unfinished));
    }

    fn finish(&mut self, directory: &Directory) -> io::Result<Progress> {
        self.encoder.try_finish()?;
        self.pass_on()?;
        if self.source.size()? != self.read {
            return Err(io::Error::other("somebody still writes to a rotated file"));
        }
        // The other one is gone in a moment.
        self.target.sync()?;
        directory.rename(&self.unfinished, &format!("{}{}", self.from, name::COMPRESSED))?;
        remove(directory, &self.from)?;
        Ok(Progress::Done)
    }

    fn pass_on(&mut self) -> io::Result<()> {
        let out = std::mem::take(self.encoder.get_mut());
        self.target.write(&out, self.written)?;
        self.written += length(&out);
        Ok(())
    }
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

impl fmt::Debug for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compression")
            .field("from", &self.from)
            .field("read", &self.read)
            .finish_non_exhaustive()
    }
}
