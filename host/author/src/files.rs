//! What projects are made of, as the build script has found it.

include!(concat!(env!("OUT_DIR"), "/files.rs"));
