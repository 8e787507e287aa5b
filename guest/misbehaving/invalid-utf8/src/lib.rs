//! Gives bytes that are no text where bytes are taken: standard error, a file, a header. All of
//! that is well. Then it gives them as a text, which ends it.

#![expect(unsafe_code, reason = "a text of the author's own making")]

use std::hint::black_box;
use std::io::Write as _;

use wasink_guest::prelude::*;
use wasink_guest::{Level, wasip2::http::types::Fields};

/// The plugin.
#[derive(Debug)]
pub struct Misbehaving;

impl Sink for Misbehaving {
    type Settings = NoSettings;

    fn describe() -> Description {
        Description::new(env!("CARGO_PKG_VERSION"), "gives bytes that are no text").all_streams()
    }

    fn open(_: NoSettings, _: &Context) -> Result<Self, Error> {
        Ok(Self)
    }

    fn write(&mut self, _: &Batch) -> Result<Outcomes, Failure> {
        let bytes = black_box(b"caf\xe9 \xff\xfe \xed\xa0\x80".to_vec());
        drop(std::io::stderr().write_all(&bytes));
        drop(std::io::stderr().write_all(b"\n"));
        Directory::data()?.write("bytes", &bytes)?;
        drop(Fields::from_list(&[("x-name".to_owned(), bytes.clone())]));
        let ends_the_header = b"x\r\nauthorization: Bearer mine".to_vec();
        if Fields::from_list(&[("x-name".to_owned(), ends_the_header)]).is_ok() {
            return Err(Failure::rejected("a header may have two lines"));
        }
        // SAFETY: none; it is the host that has to find out.
        let text = unsafe { String::from_utf8_unchecked(bytes) };
        wasink_guest::log(Level::Error, &text, &[]);
        Ok(Outcomes::delivered())
    }
}

export_sink!(Misbehaving);
