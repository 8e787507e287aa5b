//! Says what terminals act on wherever it can say anything. Whoever shows it escapes it.

use std::io::Write as _;

use wasink_guest::prelude::*;
use wasink_guest::{Level, Value};

/// The plugin.
#[derive(Debug)]
pub struct Misbehaving;

impl Sink for Misbehaving {
    type Settings = NoSettings;

    fn describe() -> Description {
        Description::new(HOSTILE, HOSTILE)
            .all_streams()
            .settings_schema("{\"description\":\"\u{9b}2J\u{7f}\u{202e}\"}")
            .can_use(Need::Directory, HOSTILE)
    }

    fn open(_: NoSettings, _: &Context) -> Result<Self, Error> {
        Ok(Self)
    }

    fn write(&mut self, _: &Batch) -> Result<Outcomes, Failure> {
        wasink_guest::log(Level::Error, HOSTILE, &[(HOSTILE, Value::Text(HOSTILE))]);
        drop(writeln!(std::io::stderr(), "{HOSTILE}"));
        Err(Failure::rejected(HOSTILE))
    }
}

/// Clears the screen, sets the window's title, begins a line of another sink, turns what follows around,
/// and has what else terminals act on: NUL, DEL, BEL, CSI as one character, a line separator.
const HOSTILE: &str = "a\u{1b}[2J\u{1b}]0;title\u{7}\r\n\u{202e}gpj.exe\u{2066}\u{200f}\u{61c}\u{9b}31m\u{7f}\u{0}\u{2028}z";

export_sink!(Misbehaving);
