//! Sends its batch where it can't go: to a directory, to a file that is open to be read, from
//! beyond its end on; and asks for views of other streams. It is told so, and goes on.

use wasink_guest::Encoding;
use wasink_guest::bindings::about::exports::wasink::plugin::about;
use wasink_guest::bindings::host::wasink::plugin::lifecycle::{Context, Failure};
use wasink_guest::bindings::sink::exports::wasink::plugin::sink;
use wasink_guest::wasip2::filesystem::preopens::get_directories;
use wasink_guest::wasip2::filesystem::types::{DescriptorFlags, OpenFlags, PathFlags};

/// The plugin. It speaks the contract itself, since the SDK has no words for what it does.
#[derive(Debug)]
pub struct Misbehaving;

impl about::Guest for Misbehaving {
    fn describe() -> about::Description {
        about::Description::new(env!("CARGO_PKG_VERSION"), "sends its batch where it can't go")
            .all_streams()
    }
}

impl sink::Guest for Misbehaving {
    fn open(_: Context) -> Result<(), String> {
        Ok(())
    }

    fn write(batch: &sink::Batch) -> Result<Vec<sink::Exception>, Failure> {
        let mut done = Vec::new();
        let mut note = |what, is_done| {
            if is_done {
                done.push(what);
            }
        };
        let jsonl = Encoding::Jsonl;
        let length = u64::try_from(batch.encode(jsonl).len()).unwrap_or_default();
        for (directory, _) in get_directories() {
            let open =
                |flags| directory.open_at(PathFlags::empty(), "own", OpenFlags::CREATE, flags);
            note("append to a directory", batch.append_to(jsonl, 0, &directory).is_ok());
            note(
                "write to a directory",
                directory.write_via_stream(0).is_ok_and(|to| batch.write_to(jsonl, &to).is_ok()),
            );
            let (Ok(read), Ok(write)) = (open(DescriptorFlags::READ), open(DescriptorFlags::WRITE))
            else {
                return Err(Failure::Rejected("there is no file".to_owned()));
            };
            note("append to what is read", batch.append_to(jsonl, 0, &read).is_ok());
            note(
                "write to what is read",
                read.write_via_stream(0).is_ok_and(|to| batch.write_to(jsonl, &to).is_ok()),
            );
            for skip in [length + 1, u64::from(u32::MAX), u64::MAX / 2, u64::MAX] {
                note("append from beyond the end", batch.append_to(jsonl, skip, &write).is_ok());
            }
            note("append more than nothing", batch.append_to(jsonl, length, &write) != Ok(length));
            note("leave something behind", !write.stat().is_ok_and(|stat| stat.size == 0));
        }
        note("see entries", batch.entries().is_ok());
        note("see control events", batch.control().is_ok());
        note("see events", batch.events().is_ok());
        Err(Failure::Rejected(format!("reached {done:?}")))
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
