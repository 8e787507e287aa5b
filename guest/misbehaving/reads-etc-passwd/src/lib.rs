//! Reads what is of the system and of the process that it runs in. There is nothing for it to
//! reach.

use std::fs;
use std::io::Read as _;

use wasink_guest::prelude::*;

/// The plugin.
#[derive(Debug)]
pub struct Misbehaving;

impl Sink for Misbehaving {
    type Settings = NoSettings;

    fn describe() -> Description {
        Description::new(env!("CARGO_PKG_VERSION"), "reads what is not its own").all_streams()
    }

    fn open(_: NoSettings, _: &Context) -> Result<Self, Error> {
        Ok(Self)
    }

    fn write(&mut self, _: &Batch) -> Result<Outcomes, Failure> {
        let mut reached = Vec::new();
        let paths = [
            "/etc/passwd",
            "etc/passwd",
            "/etc/shadow",
            "/proc/self/environ",
            "/proc/self/mem",
            "/proc/self/fd/0",
            "/dev/mem",
            "/etc/ssh/ssh_host_rsa_key",
            "/",
            ".",
            "..",
        ];
        for path in paths {
            if fs::read(path).is_ok() || fs::read_dir(path).is_ok() || fs::metadata(path).is_ok() {
                reached.push(path.to_owned());
            }
        }
        reached.extend(std::env::vars().map(|(name, _)| name));
        reached.extend(std::env::args());
        let mut byte = [0];
        if std::io::stdin().read(&mut byte).is_ok_and(|read| read > 0) {
            reached.push("standard input".to_owned());
        }
        Err(Failure::rejected(format!("reached {reached:?}")))
    }
}

export_sink!(Misbehaving);
