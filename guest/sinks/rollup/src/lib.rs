//! Sink `rollup`: adds up usage by tenant and window of time, in files that are always whole.
//!
//! Settings, all optional:
//!
//! | name | default | |
//! | --- | --- | --- |
//! | `window_seconds` | `3600` | length of a window, from a minute to 31 days |
//! | `refresh_seconds` | `10` | how old the files may become before they are written anew; `0`: at every flush |
//!
//! **Windows.** A record belongs to the window that its `emitted_at` is in, whenever it comes.
//! Windows follow one another without a gap from 1970-01-01T00:00:00Z on. After the length has been
//! changed, new records go to files of the new length; those of the old one stay as they are.
//!
//! **Files.** Each window has one, such as `rollup-20260520T010000Z-3600s.jsonl`, and only another
//! program reads it. It is replaced as a whole, so that a reader finds it whole at any moment:
//!
//! ```json
//! {"format":"wasink-rollup/1","window_start":"2026-05-20T01:00:00Z","window_end":"2026-05-20T02:00:00Z","epoch":"…","began":"…","since":"2026-05-20T01:00:03Z","position":4711}
//! {"tenant":"acme","all":{"records":3,"duration_ms":250,"bytes_in":900,"bytes_out":70,"fuel":1200},"billable":{"records":2,"duration_ms":200,"bytes_in":600,"bytes_out":70,"fuel":1200},"ok":2,"failed":1,"denied":1,"mem_bytes_max":65536}
//! {"crc32":"89abcdef"}
//! ```
//!
//! A line a tenant, sorted by name; `_sys` and the empty name are tenants as all others. Numbers are
//! cumulative: a reader takes the latest, and adds nothing up within a window. `all` sums up all
//! records, `billable` those that somebody is to be charged for. `ok` and `failed` count records by
//! status, `denied` those that admission refused, whatever their status. `mem_bytes_max` is the
//! largest peak of memory of any record, as peaks do not add up. Records before `position` are in.
//!
//! Numbers are JSON integers and exact at any size. They may be above 2^53, and above 2^64: a reader
//! whose numbers are floating-point loses digits there, and must read them as big integers or as
//! text.
//!
//! **Exactness.** A record counts as delivered once the log of the state, `rollup.state`, has it on
//! the disk. What was counted is known by its position in the stream. So what is delivered again,
//! after `kill -9` or a loss of power at any moment, is not counted again, and what did not come at
//! first is counted when it comes later. Where positions begin anew, as those of a stream in memory
//! do with each start, that is seen by the ids: the counters go on.
//!
//! **Where counters begin again.** `epoch` is that of the start of the chassis at which counting
//! began, at the time `began`; further starts do not change it. `since` is when the counters of the
//! file began at zero. Two files of one window that have the same `since` are the same counters, of
//! which the later counts; files with another `since` add up. Counting begins anew where
//! `rollup.state` is gone. Files of an earlier counting, and whatever is damaged, are never
//! overwritten: they are renamed to `….earlier-1` or `….damaged-1`, and the log says so.
//!
//! **What the operator does.** The directory is for this sink alone. Nothing in it is ever removed:
//! a window that is billed can be moved away. A record that still comes for it then begins a new
//! file. To begin at zero, remove `rollup.state` while the sink is not running.
//!
//! **Cost.** A flush appends the cells that have changed, 60 to 100 bytes each, and syncs once. Files
//! are written anew by time, or once as much has been appended as they hold, so appending stays
//! cheap however many tenants there are. In memory a tenant takes some 500 bytes a window; 100,000
//! tenants a window fit into the 256 MiB that a plugin may use by default.

mod book;
mod counted;
mod counters;
mod seal;
mod settings;
mod state;
mod storage;
mod window;

use std::time::Duration;

use wasink_guest::{
    Batch, Context, Description, Directory, Error, Failure, Need, Outcomes, Sink, Stream,
};

use book::{Book, Limits};
pub use settings::Settings;

/// The sink.
#[derive(Debug)]
pub struct Rollup(Book<Directory>);

impl Sink for Rollup {
    type Settings = Settings;

    fn describe() -> Description {
        let summary = "adds up usage by tenant and window of time, exactly";
        Description::new(env!("CARGO_PKG_VERSION"), summary)
            .streams(&[Stream::Usage])
            .settings_schema(settings::SCHEMA)
            .acknowledges_on_flush()
            .needs(Need::Directory, "keeps its sums there")
    }

    fn open(settings: Settings, context: &Context) -> Result<Self, Error> {
        settings.check()?;
        let refresh = Duration::from_secs(settings.refresh_seconds.into());
        let (directory, limits) = (Directory::data()?, Limits::default());
        Book::open(directory, settings.window_seconds, refresh, limits, &context.epoch).map(Self)
    }

    fn write(&mut self, batch: &Batch) -> Result<Outcomes, Failure> {
        self.0.write(batch)?;
        Ok(Outcomes::delivered())
    }

    fn flush(&mut self) -> Result<(), Failure> {
        self.0.flush()
    }

    fn close(self) -> Result<(), Error> {
        self.0.close()
    }
}

wasink_guest::export_sink!(Rollup);

#[cfg(test)]
mod tests;
