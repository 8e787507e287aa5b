//! The feed `file`: control events in a directory, a file each.
//!
//! **What is there.** `NAME.json` holds the event whose id `NAME` is made of, as indented JSON.
//! `versions/` holds the same files once more, as links, under their control versions in 20 digits: a
//! poll opens the ones behind its cursor, and costs what is new, not what is there. Files that another
//! program has put there, with any names that end in `.json`, are read as well: by a source as long as
//! there is no `versions/`, and by the first sink that opens, which makes one.
//!
//! **Order.** Versions begin at 1 and have no gaps. Any number of processes may append at a time,
//! without a lock: a version belongs to whoever makes its link first. An event id is in the feed once,
//! for ever.
//!
//! **After a crash.** An event is whole or not there: its bytes are on the disk before it has a name,
//! and its version is before its id is. So the last versions may lack their other name, and whoever
//! opens or appends next gives it to them. A source gives no version that is not on the disk.

mod layout;
mod settings;
mod sink;
mod source;

pub use settings::Settings;
pub use sink::FileSink;
pub use source::FileSource;

#[cfg(test)]
mod tests;
