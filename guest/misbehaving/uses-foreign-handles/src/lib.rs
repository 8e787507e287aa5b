//! Calls each function of batches with a handle that it was never given or has given back, a record
//! each. Each call ends it.

#![expect(unsafe_code, reason = "handles of the author's own making")]

use wasink_guest::Encoding;
use wasink_guest::bindings::about::exports::wasink::plugin::about;
use wasink_guest::bindings::host::wasink::plugin::lifecycle::{Context, Failure};
use wasink_guest::bindings::sink::exports::wasink::plugin::sink;
use wasink_guest::wasip2::cli::stderr::get_stderr;
use wasink_guest::wasip2::filesystem::types::Descriptor;
use wasink_guest::wasip2::io::streams::OutputStream;

/// The plugin. It speaks the contract itself, since the SDK has no words for what it does.
#[derive(Debug)]
pub struct Misbehaving;

impl about::Guest for Misbehaving {
    fn describe() -> about::Description {
        about::Description::new(env!("CARGO_PKG_VERSION"), "uses handles that it was never given")
            .all_streams()
    }
}

impl sink::Guest for Misbehaving {
    fn open(_: Context) -> Result<(), String> {
        Ok(())
    }

    fn write(batch: &sink::Batch) -> Result<Vec<sink::Exception>, Failure> {
        // SAFETY: none; it is the host that has to find out.
        let foreign = unsafe { sink::Batch::from_handle(4_711) };
        let (stderr, jsonl) = (get_stderr(), Encoding::Jsonl);
        match batch.position() % 16 {
            0 => drop(foreign.of()),
            1 => drop(foreign.len()),
            2 => drop(foreign.position()),
            3 => drop(foreign.ids()),
            4 => drop(foreign.encode(jsonl)),
            5 => drop(foreign.write_to(jsonl, &stderr)),
            6 => drop(foreign.append_to(jsonl, 0, &descriptor(0))),
            7 => drop(foreign.entries()),
            8 => drop(foreign.usage()),
            9 => drop(foreign.usage_columns()),
            10 => drop(foreign.control()),
            11 => drop(foreign.events()),
            12 => drop(batch.write_to(jsonl, &stream(4_711))),
            13 => drop(batch.append_to(jsonl, 0, &descriptor(4_711))),
            // One of another kind, and one that was given back.
            14 => drop(batch.write_to(jsonl, &stream(batch.handle()))),
            _ => {
                let given_back = stderr.handle();
                drop(stderr);
                drop(batch.write_to(jsonl, &stream(given_back)));
            }
        }
        Ok(Vec::new())
    }

    fn flush() -> Result<(), Failure> {
        Ok(())
    }

    fn close() -> Result<(), String> {
        Ok(())
    }
}

fn stream(handle: u32) -> OutputStream {
    // SAFETY: none, as above.
    unsafe { OutputStream::from_handle(handle) }
}

fn descriptor(handle: u32) -> Descriptor {
    // SAFETY: none, as above.
    unsafe { Descriptor::from_handle(handle) }
}

#[cfg(target_family = "wasm")]
wasink_guest::bindings::about::export!(Misbehaving with_types_in wasink_guest::bindings::about);
#[cfg(target_family = "wasm")]
wasink_guest::bindings::sink::export!(Misbehaving with_types_in wasink_guest::bindings::sink);
