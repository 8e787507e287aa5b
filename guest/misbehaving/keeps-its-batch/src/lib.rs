//! Keeps the batch that it was lent beyond the call. That ends it.

use wasink_guest::bindings::about::exports::wasink::plugin::about;
use wasink_guest::bindings::host::wasink::plugin::lifecycle::{Context, Failure};
use wasink_guest::bindings::sink::exports::wasink::plugin::sink;

/// The plugin. It speaks the contract itself, since the SDK has no words for what it does.
#[derive(Debug)]
pub struct Misbehaving;

impl about::Guest for Misbehaving {
    fn describe() -> about::Description {
        about::Description::new(env!("CARGO_PKG_VERSION"), "keeps the batch that it was lent")
            .all_streams()
    }
}

impl sink::Guest for Misbehaving {
    fn open(_: Context) -> Result<(), String> {
        Ok(())
    }

    fn write(batch: &sink::Batch) -> Result<Vec<sink::Exception>, Failure> {
        // What is taken out of its wrapper is not given back.
        std::hint::black_box(batch.take_handle());
        Ok(Vec::new())
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
