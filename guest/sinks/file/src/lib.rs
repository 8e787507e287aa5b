//! Sink `file`: appends records to a file in its data directory, one line each.
//!
//! Settings, all optional:
//!
//! | name | default | |
//! | --- | --- | --- |
//! | `path` | `ledger.jsonl` | the file, relative to the sink's data directory |
//! | `encoding` | `jsonl` | `jsonl` for each record in its own wire format, `cloudevents-jsonl` for each in a CloudEvents envelope |
//! | `rotate.bytes` | | the file is rotated once it has so many bytes |
//! | `rotate.age_seconds` | | the file is rotated once it is so old |
//! | `rotate.keep` | all | how many rotated files stay |
//! | `rotate.gzip` | `true` | whether rotated files are compressed |
//! | `rotate.settle_seconds` | `60` | how long a rotated file is left alone |
//!
//! **Whole lines.** A batch is one append, moved by the host, so the lines of several processes that
//! append to the same file do not mix. An append that the disk cuts short is gone on with where it
//! stopped when the same batch comes again. Where that can't be, because another batch or another
//! writer came between, the torn line is closed with a line end first: it is then a line that does
//! not parse, and no other line is harmed. Nothing is synced: what the system has not yet written
//! when its power fails is lost.
//!
//! **Rotation.** A file that was moved or removed is opened anew under its name. The sink itself
//! renames a file that has reached its size or age to `<stem>-<UTC time><extension>`, as in
//! `ledger-20260520T010203.000000000Z.jsonl`, never onto a file that is there. A rotated file is
//! left alone for `settle_seconds`, since a process that was about to append to it may still do so;
//! then it is compressed, a piece at each call, and those beyond `keep` are removed. For the age,
//! `.<name>.began` beside the file says when it began.

mod archive;
mod ledger;
mod settings;

use std::time::Duration;

use wasink_guest::{Batch, Context, Description, Directory, Error, Failure, Need, Outcomes, Sink};

use archive::Archive;
use ledger::Ledger;
pub use settings::{Format, Rotate, Settings};

/// The sink.
#[derive(Debug)]
pub struct File {
    ledger: Ledger,
    rotation: Option<Rotation>,
}

#[derive(Debug)]
struct Rotation {
    bytes: Option<u64>,
    age: Option<Duration>,
    archive: Archive,
}

impl Sink for File {
    type Settings = Settings;

    fn describe() -> Description {
        Description::new(env!("CARGO_PKG_VERSION"), "appends records to a file, a line each")
            .all_streams()
            .settings_schema(settings::SCHEMA)
            .needs(Need::Directory, "keeps its file there")
    }

    fn open(settings: Settings, _: &Context) -> Result<Self, Error> {
        settings.check()?;
        let directory = Directory::data()?;
        let rotation = settings.rotate.map(|rotate| Rotation {
            bytes: rotate.bytes,
            age: rotate.age_seconds.map(Duration::from_secs),
            archive: Archive::new(directory.clone(), &settings.path, &rotate),
        });
        let timed = rotation.as_ref().is_some_and(|rotation| rotation.age.is_some());
        let ledger =
            Ledger::open(directory, settings.path.clone(), settings.encoding.into(), timed)
                .map_err(|error| Error::new(format!("cannot open `{}`: {error}", settings.path)))?;
        Ok(Self { ledger, rotation })
    }

    fn write(&mut self, batch: &Batch) -> Result<Outcomes, Failure> {
        self.rotate();
        self.ledger.write(batch).map_err(|error| {
            Failure::retry(format!("cannot append to `{}`: {error}", self.ledger.path()))
        })?;
        Ok(Outcomes::delivered())
    }

    fn flush(&mut self) -> Result<(), Failure> {
        self.rotate();
        Ok(())
    }
}

impl File {
    /// Rotates the file if it is time, and does a piece of the work on the rotated ones. What fails
    /// here fails no record.
    fn rotate(&mut self) {
        let Some(Rotation { bytes, age, archive }) = &mut self.rotation else { return };
        let now = wasink_guest::now();
        match self.ledger.rotate_if_due(*bytes, *age, now, archive) {
            Ok(true) => archive.look_at(now),
            Ok(false) => {}
            Err(error) => {
                wasink_guest::warn!("cannot rotate the file"; error = error.to_string());
            }
        }
        if self.ledger.take_moved() {
            archive.look_at(now);
        }
        archive.step(now);
    }
}

wasink_guest::export_sink!(File);

#[cfg(test)]
mod tests;
