//! Makes hard links to what is not its own, and of its own elsewhere. None is made.

use std::fs;

use wasink_guest::prelude::*;
use wasink_guest::wasip2::filesystem::preopens::get_directories;
use wasink_guest::wasip2::filesystem::types::PathFlags;

/// The plugin.
#[derive(Debug)]
pub struct Misbehaving;

impl Sink for Misbehaving {
    type Settings = NoSettings;

    fn describe() -> Description {
        Description::new(env!("CARGO_PKG_VERSION"), "makes hard links to what is not its own")
            .all_streams()
    }

    fn open(_: NoSettings, _: &Context) -> Result<Self, Error> {
        Ok(Self)
    }

    fn write(&mut self, _: &Batch) -> Result<Outcomes, Failure> {
        let mut reached = Vec::new();
        fs::write("/data/own", "own")?;
        for (directory, _) in get_directories() {
            // The test has put `file` and `folder` there, which lead out.
            for old in
                ["../good/ledger.jsonl", "/etc/passwd", "folder/there", "..", "../../wasink.toml"]
            {
                for flags in [PathFlags::empty(), PathFlags::SYMLINK_FOLLOW] {
                    if directory.link_at(flags, old, &directory, "linked").is_ok() {
                        reached.push(old);
                    }
                }
            }
            if directory.link_at(PathFlags::SYMLINK_FOLLOW, "file", &directory, "followed").is_ok()
            {
                reached.push("file");
            }
            for new in ["../out", "/tmp/out", "folder/out", "../good/out"] {
                if directory.link_at(PathFlags::empty(), "own", &directory, new).is_ok() {
                    reached.push(new);
                }
            }
        }
        Err(Failure::rejected(format!("reached {reached:?}")))
    }
}

export_sink!(Misbehaving);
