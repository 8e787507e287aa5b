//! Fills its directory in every way there is. `limits.directory` ends it, and the host tells its
//! operator.

use std::fs;

use wasink_guest::prelude::*;

/// The plugin.
#[derive(Debug)]
pub struct Misbehaving;

impl Sink for Misbehaving {
    type Settings = NoSettings;

    fn describe() -> Description {
        Description::new(env!("CARGO_PKG_VERSION"), "fills its directory").all_streams()
    }

    fn open(_: NoSettings, _: &Context) -> Result<Self, Error> {
        Ok(Self)
    }

    fn write(&mut self, _: &Batch) -> Result<Outcomes, Failure> {
        let piece = [b'x'; 4096];
        let mut room = Vec::new();
        for n in 0..10_000_u32 {
            let appended =
                Directory::data()?.open_append("grows").and_then(|file| file.append_bytes(&piece));
            let made = fs::create_dir(format!("/data/folder-{n}"));
            let nameless = fs::File::create("/data/nameless").and_then(|file| {
                fs::remove_file("/data/nameless")?;
                file.set_len(8192)?;
                room.push(file);
                Ok(())
            });
            if let (Err(error), Err(_), Err(_)) = (appended, made, nameless) {
                return Err(Failure::broken(format!("no more room: {error}")));
            }
        }
        Err(Failure::broken("there is room without end"))
    }
}

export_sink!(Misbehaving);
