//! Recognises ids for a second only, and does what files in its data directory say.
//!
//! | file | |
//! | --- | --- |
//! | `taken.jsonl` | what it has, as CloudEvents, a line each |
//! | `refuse` | tenants, a line each, whose records it rejects |
//! | `hang` | while it is there, `write` does not come back: with `before` in it before it takes the batch, with `after` after it has |
//!
//! It takes what comes twice a second time: that is how one finds out.

use std::time::Duration;

use wasink_guest::prelude::*;

/// For how long it recognises an id, in seconds.
const WINDOW: u64 = 1;

/// Bytes of a file that says what to do.
const LONGEST: u64 = 1 << 16;

/// The plugin.
#[derive(Debug)]
pub struct Forgetful {
    directory: Directory,
    taken: AppendFile,
}

impl Sink for Forgetful {
    type Settings = NoSettings;

    fn describe() -> Description {
        Description::new(env!("CARGO_PKG_VERSION"), "forgets what it has had")
            .streams(&[Stream::Usage])
            .dedup_window(WINDOW)
            .needs(Need::Directory, "keeps its file there")
    }

    fn open(_: NoSettings, _: &Context) -> Result<Self, Error> {
        let directory = Directory::data()?;
        let taken = directory.open_append("taken.jsonl")?;
        Ok(Self { directory, taken })
    }

    fn write(&mut self, batch: &Batch) -> Result<Outcomes, Failure> {
        self.hang_if("before");
        let refused = self.says("refuse");
        let encoded = batch.encode(Encoding::CloudeventsJsonl).into_vec();
        let mut lines = encoded.split_inclusive(|byte| *byte == b'\n');
        let mut outcomes = Outcomes::delivered();
        let mut taken = Vec::new();
        for (index, event) in batch.usage()?.iter().enumerate() {
            let line = lines.next().unwrap_or_default();
            if refused.lines().any(|tenant| tenant == event.tenant) {
                outcomes.rejected(index, format!("nothing is taken of {}", event.tenant));
            } else {
                taken.extend_from_slice(line);
            }
        }
        self.taken.append_bytes(&taken)?;
        self.hang_if("after");
        Ok(outcomes)
    }
}

impl Forgetful {
    /// What is in this file; nothing where there is none.
    fn says(&self, file: &str) -> String {
        let text = self.directory.read(file, LONGEST).unwrap_or_default();
        String::from_utf8(text).unwrap_or_default()
    }

    fn hang_if(&self, when: &str) {
        if self.says("hang") == when {
            std::thread::sleep(Duration::from_secs(3_600));
        }
    }
}

export_sink!(Forgetful);

#[cfg(test)]
mod tests {
    use wasink_guest::{Sink as _, Stream, native, open, testing};

    use crate::Forgetful;

    fn usage(tenant: &str) -> String {
        format!(
            r#"{{"rid":"r","tenant":"{tenant}","src":"http","stack":"shop","duration_ms":1,"status":"ok","bytes_in":2,"bytes_out":3,"emitted_at":"2026-05-20T01:02:03Z"}}"#
        )
    }

    #[test]
    fn it_refuses_whom_it_was_told_and_takes_the_others() {
        let directory = tempfile::tempdir().unwrap();
        native::set_data_directory(directory.path());
        std::fs::write(directory.path().join("refuse"), "bolt\ncrow\n").unwrap();
        let mut sink: Forgetful = open(&testing::context("{}")).unwrap();
        let lines = ["acme", "bolt", "acme", "crow"].map(usage);
        let batch = testing::batch(Stream::Usage, &lines.each_ref().map(String::as_str));
        let outcomes = sink.write(&batch).unwrap();
        let refused: Vec<_> = outcomes.exceptions().iter().map(|one| one.index).collect();
        assert_eq!(refused, [1, 3]);
        let taken = std::fs::read_to_string(directory.path().join("taken.jsonl")).unwrap();
        assert_eq!(taken.matches(r#""tenant":"acme""#).count(), taken.lines().count());
        assert_eq!(taken.lines().count(), 2);
    }
}
