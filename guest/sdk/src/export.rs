//! From the contract's functions to one value of the author's type.

mod feed;

use std::cell::RefCell;
use std::fmt;

use crate::bindings::host::wasink::plugin::lifecycle::{Again, Failure as Wire};
use crate::{Batch, Capture, Captured, Context, Exception, Failure, Sink, open, outcomes};

/// Holds the plugin of an instance between calls. For [`export_sink!`](crate::export_sink) and its
/// kin.
pub struct Slot<S>(RefCell<Option<S>>);

impl<S> fmt::Debug for Slot<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot").field("open", &self.0.borrow().is_some()).finish()
    }
}

impl<S> Default for Slot<S> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Slot<S> {
    /// An empty one.
    pub const fn new() -> Self {
        Self(RefCell::new(None))
    }
}

impl<S: Sink> Slot<S> {
    /// The contract's `open`.
    pub fn open(&self, context: &Context) -> Result<(), String> {
        let sink = open::<S>(context).map_err(|error| error.to_string())?;
        *self.0.borrow_mut() = Some(sink);
        Ok(())
    }

    /// The contract's `write`.
    pub fn write(&self, batch: &Batch<'_>) -> Result<Vec<Exception>, Wire> {
        match self.0.borrow_mut().as_mut() {
            Some(sink) => sink.write(batch).map(Into::into).map_err(wire),
            None => Err(not_open()),
        }
    }

    /// The contract's `flush`.
    pub fn flush(&self) -> Result<(), Wire> {
        match self.0.borrow_mut().as_mut() {
            Some(sink) => sink.flush().map_err(wire),
            None => Err(not_open()),
        }
    }

    /// The contract's `close`.
    pub fn close(&self) -> Result<(), String> {
        match self.0.borrow_mut().take() {
            Some(sink) => sink.close().map_err(|error| error.to_string()),
            None => Ok(()),
        }
    }
}

impl<S: Capture> Slot<S> {
    /// The contract's `entries`.
    pub fn entries(&self) -> Vec<Captured> {
        self.0.borrow().as_ref().map(Capture::entries).unwrap_or_default()
    }

    /// The contract's `reset`.
    pub fn reset(&self) {
        if let Some(sink) = self.0.borrow_mut().as_mut() {
            sink.reset();
        }
    }
}

fn not_open() -> Wire {
    Wire::Broken("it is not open".to_owned())
}

fn wire(failure: Failure) -> Wire {
    match failure {
        Failure::Retry { after, reason } => {
            Wire::Retry(Again { after: after.map(outcomes::millis), reason })
        }
        Failure::InDoubt { after, reason } => {
            Wire::InDoubt(Again { after: after.map(outcomes::millis), reason })
        }
        Failure::Rejected(reason) => Wire::Rejected(reason),
        Failure::Broken(reason) => Wire::Broken(reason),
    }
}

/// Makes a component of a [`Sink`]: `export_sink!(MySink);`, once in a crate. With
/// `export_sink!(MySink, capture);` the type implements [`Capture`](crate::Capture) too, and a test
/// harness can look into it.
#[macro_export]
macro_rules! export_sink {
    ($sink:ty) => {
        $crate::export_sink!(@component $sink, {});
    };
    ($sink:ty, capture) => {
        $crate::export_sink!(@component $sink, {
            impl $crate::bindings::capture::exports::wasink::plugin::capture::Guest for Component {
                fn entries() -> ::std::vec::Vec<$crate::Captured> {
                    SINK.with(|sink| sink.entries())
                }

                fn reset() {
                    SINK.with(|sink| sink.reset());
                }
            }

            $crate::bindings::capture::export!(Component with_types_in $crate::bindings::capture);
        });
    };
    (@component $sink:ty, {$($more:tt)*}) => {
        #[cfg(target_family = "wasm")]
        const _: () = {
            use $crate::bindings::about::exports::wasink::plugin::about;
            use $crate::bindings::sink::exports::wasink::plugin::sink;
            use $crate::bindings::host::wasink::plugin::lifecycle;

            struct Component;

            ::std::thread_local! {
                static SINK: $crate::Slot<$sink> = const { $crate::Slot::new() };
            }

            impl about::Guest for Component {
                fn describe() -> about::Description {
                    <$sink as $crate::Sink>::describe()
                }
            }

            impl sink::Guest for Component {
                fn open(context: sink::Context) -> ::std::result::Result<(), ::std::string::String> {
                    SINK.with(|sink| sink.open(&context))
                }

                fn write(
                    batch: &sink::Batch,
                ) -> ::std::result::Result<::std::vec::Vec<sink::Exception>, lifecycle::Failure> {
                    SINK.with(|sink| sink.write(&$crate::Batch::from(batch)))
                }

                fn flush() -> ::std::result::Result<(), lifecycle::Failure> {
                    SINK.with(|sink| sink.flush())
                }

                fn close() -> ::std::result::Result<(), ::std::string::String> {
                    SINK.with(|sink| sink.close())
                }
            }

            $crate::bindings::about::export!(Component with_types_in $crate::bindings::about);
            $crate::bindings::sink::export!(Component with_types_in $crate::bindings::sink);

            $($more)*
        };
    };
}
