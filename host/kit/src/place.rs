//! Where a plugin is tried, and what is found there afterwards.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::receiver::{Mood, Receiver, TcpMood, TcpReceiver};
use crate::subject::Sink;

/// Where a plugin keeps or sends what it is given: nothing of it is another's.
pub(crate) struct Place {
    pub(crate) directory: PathBuf,
    pub(crate) receiver: Option<Receiver>,
    pub(crate) tcp: Option<TcpReceiver>,
}

impl Place {
    /// From now on the receiver behaves so.
    pub(crate) fn is(&self, mood: Mood) {
        if let Some(receiver) = &self.receiver {
            receiver.is(mood);
        }
    }

    /// From now on the receiver over TCP behaves so.
    pub(crate) fn is_tcp(&self, mood: TcpMood) -> std::io::Result<()> {
        self.tcp.as_ref().map_or(Ok(()), |receiver| receiver.is(mood))
    }

    /// The receiver forgets what it has had.
    pub(crate) fn forget(&self) {
        if let Some(receiver) = &self.tcp {
            receiver.forget();
        }
        if let Some(receiver) = &self.receiver {
            receiver.forget();
        }
    }

    /// How many requests the receiver has had.
    pub(crate) fn requests(&self) -> usize {
        self.receiver.as_ref().map_or(0, Receiver::requests)
    }

    /// All that is here of what the sink was given: its files, and the bodies that a receiver got.
    /// What came over TCP is not among it.
    fn contents(&self, sink: Option<&mut Sink>) -> std::io::Result<Vec<u8>> {
        let mut all = Vec::new();
        gather(&self.directory, &mut all)?;
        if let Some(receiver) = &self.receiver {
            receiver.each_body(|body| append(&body.bytes, body.gzipped, &mut all))?;
        }
        for line in sink.map(Sink::captured).unwrap_or_default() {
            all.extend_from_slice(line.as_bytes());
            all.push(b'\n');
        }
        Ok(all)
    }

    /// The first of these that is not here.
    pub(crate) fn lacks<'a>(
        &self,
        sink: Option<&mut Sink>,
        marks: &'a [String],
    ) -> std::io::Result<Option<&'a str>> {
        let mut missing: Vec<_> = marks.iter().map(String::as_str).collect();
        leave_missing(&self.contents(sink)?, &mut missing);
        while let (Some(receiver), Some(last)) = (&self.tcp, missing.last()) {
            // It is looked for all of them only once the last is there, or nothing comes any more.
            let came = receiver.comes(last.as_bytes());
            receiver.look(|bytes| leave_missing(bytes, &mut missing));
            if !came {
                break;
            }
        }
        Ok(missing.first().copied())
    }
}

/// Leaves of these marks those that are not there.
fn leave_missing(contents: &[u8], marks: &mut Vec<&str>) {
    let mut found = std::collections::HashSet::new();
    for word in contents.split(|byte| !byte.is_ascii_alphanumeric() && *byte != b'-') {
        found.insert(word);
    }
    // A mark may have letters of a text right behind it.
    marks.retain(|mark| {
        !found.contains(mark.as_bytes())
            && !contents.windows(mark.len()).any(|window| window == mark.as_bytes())
    });
}

/// All files below a directory, one after the other, unpacked.
fn gather(directory: &Path, all: &mut Vec<u8>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            gather(&entry.path(), all)?;
        } else if kind.is_file() {
            let bytes = std::fs::read(entry.path())?;
            let gzipped = bytes.starts_with(&[0x1f, 0x8b]);
            append(&bytes, gzipped, all)?;
        }
    }
    Ok(())
}

fn append(bytes: &[u8], gzipped: bool, all: &mut Vec<u8>) -> std::io::Result<()> {
    if gzipped {
        // One that was not finished has what it has.
        drop(flate2::read::MultiGzDecoder::new(bytes).read_to_end(all));
    } else {
        all.extend_from_slice(bytes);
    }
    all.push(b'\n');
    Ok(())
}
