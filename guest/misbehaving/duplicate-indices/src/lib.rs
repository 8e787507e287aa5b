//! Names a record twice, with the same outcome. It is no answer.

use wasink_guest::bindings::about::exports::wasink::plugin::about;
use wasink_guest::bindings::host::wasink::plugin::lifecycle::{Context, Failure};
use wasink_guest::bindings::sink::exports::wasink::plugin::sink;

/// The plugin. It speaks the contract itself, since the SDK has no words for what it does.
#[derive(Debug)]
pub struct Misbehaving;

impl about::Guest for Misbehaving {
    fn describe() -> about::Description {
        about::Description::new(env!("CARGO_PKG_VERSION"), "names a record twice").all_streams()
    }
}

impl sink::Guest for Misbehaving {
    fn open(_: Context) -> Result<(), String> {
        Ok(())
    }

    fn write(_: &sink::Batch) -> Result<Vec<sink::Exception>, Failure> {
        let exception = || sink::Exception { index: 0, outcome: sink::Outcome::Duplicate };
        Ok(vec![exception(), exception()])
    }

    fn flush() -> Result<(), Failure> {
        Ok(())
    }

    fn close() -> Result<(), String> {
        Ok(())
    }
}

#[cfg(target_family = "wasm")]
wasink_guest::bindings::about::export!(Misbehaving with_types_in wasink_guest::bindings::about);
#[cfg(target_family = "wasm")]
wasink_guest::bindings::sink::export!(Misbehaving with_types_in wasink_guest::bindings::sink);
