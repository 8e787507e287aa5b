//! What nearly every sink names: `use wasink_guest::prelude::*;`.

pub use crate::{
    AppendFile, Batch, Context, Description, Directory, Encoding, Error, Failure, Need, NoSettings,
    Outcomes, Sink, Stream, export_sink,
};
