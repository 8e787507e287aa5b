//! Follows links out of its directory: those that it makes, and those that somebody else has put
//! there. None of them leads anywhere.

use std::fs;

use wasink_guest::prelude::*;
use wasink_guest::wasip2::filesystem::preopens::get_directories;

/// The plugin.
#[derive(Debug)]
pub struct Misbehaving;

impl Sink for Misbehaving {
    type Settings = NoSettings;

    fn describe() -> Description {
        Description::new(env!("CARGO_PKG_VERSION"), "follows links out of its directory")
            .all_streams()
    }

    fn open(_: NoSettings, _: &Context) -> Result<Self, Error> {
        Ok(Self)
    }

    fn write(&mut self, _: &Batch) -> Result<Outcomes, Failure> {
        let mut reached = Vec::new();
        fs::write("/data/own", "own")?;
        // The test has put these there.
        let mut links = vec!["file".to_owned(), "folder".to_owned(), "up".to_owned()];
        for (directory, _) in get_directories() {
            let targets = ["/", "/etc", "..", "../..", "../../../../../../etc", "../good"];
            for (n, target) in targets.into_iter().enumerate() {
                let link = format!("made-{n}");
                if directory.symlink_at(target, &link).is_ok()
                    || directory.readlink_at(&link).is_ok()
                {
                    links.push(link);
                }
            }
        }
        for link in links {
            for below in ["", "/passwd", "/etc/passwd", "/there", "/ledger.jsonl", "/new"] {
                let path = format!("/data/{link}{below}");
                let done = [
                    fs::read(&path).is_ok(),
                    fs::read_dir(&path).is_ok(),
                    fs::metadata(&path).is_ok(),
                    !below.is_empty() && fs::write(&path, "made").is_ok(),
                    !below.is_empty() && fs::rename("/data/own", &path).is_ok(),
                    !below.is_empty() && fs::remove_file(&path).is_ok(),
                    !below.is_empty() && fs::create_dir(&path).is_ok(),
                    fs::OpenOptions::new().write(true).open(&path).is_ok(),
                ];
                if done.contains(&true) {
                    reached.push(path);
                }
            }
        }
        Err(Failure::rejected(format!("reached {reached:?}")))
    }
}

export_sink!(Misbehaving);
