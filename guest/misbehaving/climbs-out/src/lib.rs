//! Climbs out of its directory, by paths of `std` and by those that it gives to the host itself.
//! None of them leads anywhere.

use std::fs;

use wasink_guest::prelude::*;
use wasink_guest::wasip2::filesystem::preopens::get_directories;
use wasink_guest::wasip2::filesystem::types::{DescriptorFlags, OpenFlags, PathFlags};

/// The plugin.
#[derive(Debug)]
pub struct Misbehaving;

impl Sink for Misbehaving {
    type Settings = NoSettings;

    fn describe() -> Description {
        Description::new(env!("CARGO_PKG_VERSION"), "climbs out of its directory").all_streams()
    }

    fn open(_: NoSettings, _: &Context) -> Result<Self, Error> {
        Ok(Self)
    }

    fn write(&mut self, _: &Batch) -> Result<Outcomes, Failure> {
        let mut reached = Vec::new();
        fs::create_dir_all("/data/inner")?;
        for up in
            ["..", "../..", "inner/../..", "./../.", "inner/../../climbs-out/..", "../data/.."]
        {
            for below in ["", "/made", "/etc/passwd", "/good/ledger.jsonl"] {
                let path = format!("/data/{up}{below}");
                let done = [
                    fs::read(&path).is_ok(),
                    fs::read_dir(&path).is_ok(),
                    fs::write(&path, "made").is_ok(),
                    fs::create_dir(&path).is_ok(),
                    fs::rename("/data/inner", &path).is_ok(),
                    fs::remove_file(&path).is_ok(),
                ];
                if done.contains(&true) {
                    reached.push(path);
                }
                for (directory, _) in get_directories() {
                    let path =
                        if up == ".." { format!("/{below}") } else { format!("{up}{below}") };
                    let follow = PathFlags::SYMLINK_FOLLOW;
                    let (none, read) = (OpenFlags::empty(), DescriptorFlags::READ);
                    if directory.open_at(follow, &path, none, read).is_ok()
                        || directory.open_at(follow, &path, OpenFlags::CREATE, read).is_ok()
                        || directory.stat_at(follow, &path).is_ok()
                        || directory.create_directory_at(&path).is_ok()
                    {
                        reached.push(path);
                    }
                }
            }
        }
        Err(Failure::rejected(format!("reached {reached:?}")))
    }
}

export_sink!(Misbehaving);
