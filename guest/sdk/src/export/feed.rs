//! The ends of a feed.

use std::time::Duration;

use super::{Slot, Wire, not_open, wire};
use crate::{
    Acknowledge, Context, ControlEvent, Failure, FeedSink, FeedSource, open_feed_sink,
    open_feed_source,
};

impl<S: FeedSource> Slot<S> {
    /// The contract's `open` of a source.
    pub fn open_source(&self, context: &Context) -> Result<(), String> {
        let source = open_feed_source::<S>(context).map_err(|error| error.to_string())?;
        *self.0.borrow_mut() = Some(source);
        Ok(())
    }

    /// The contract's `poll`.
    pub fn poll(&self, since: u64, max: u32, wait: u64) -> Result<Vec<ControlEvent>, Wire> {
        match self.0.borrow_mut().as_mut() {
            Some(source) => source.poll(since, max, Duration::from_millis(wait)).map_err(wire),
            None => Err(not_open()),
        }
    }

    /// The contract's `close` of a source.
    pub fn close_source(&self) -> Result<(), String> {
        match self.0.borrow_mut().take() {
            Some(source) => source.close().map_err(|error| error.to_string()),
            None => Ok(()),
        }
    }
}

impl<S: Acknowledge> Slot<S> {
    /// The contract's `ack`.
    pub fn ack(&self, event_ids: &[String]) -> Result<(), Wire> {
        match self.0.borrow_mut().as_mut() {
            Some(source) => source.ack(event_ids).map_err(wire),
            None => Err(not_open()),
        }
    }
}

impl<S: FeedSink> Slot<S> {
    /// The contract's `open` of a feed sink.
    pub fn open_feed_sink(&self, context: &Context) -> Result<(), String> {
        let sink = open_feed_sink::<S>(context).map_err(|error| error.to_string())?;
        *self.0.borrow_mut() = Some(sink);
        Ok(())
    }

    /// The contract's `append`.
    pub fn append(&self, events: Vec<ControlEvent>) -> Result<Vec<Result<u64, Wire>>, Wire> {
        let len = events.len();
        let mut place = self.0.borrow_mut();
        let sink = place.as_mut().ok_or_else(not_open)?;
        let mut results: Vec<_> = sink.append_all(events);
        results.truncate(len);
        // One result an event: those after the first that failed were not tried.
        while results.len() < len {
            results.push(Err(Failure::retry("an event before it was not appended")));
        }
        Ok(results.into_iter().map(|result| result.map_err(wire)).collect())
    }

    /// The contract's `close` of a feed sink.
    pub fn close_feed_sink(&self) -> Result<(), String> {
        match self.0.borrow_mut().take() {
            Some(sink) => sink.close().map_err(|error| error.to_string()),
            None => Ok(()),
        }
    }
}

/// Makes a component of a [`FeedSource`]: `export_feed_source!(MySource);`, once in a crate. With
/// `export_feed_source!(MySource, acks);` the type implements [`Acknowledge`](crate::Acknowledge) too,
/// and is told what was applied.
#[macro_export]
macro_rules! export_feed_source {
    ($source:ty) => {
        $crate::export_feed_source!(@component $source, {});
    };
    ($source:ty, acks) => {
        $crate::export_feed_source!(@component $source, {
            impl $crate::bindings::acks::exports::wasink::plugin::acks::Guest for Component {
                fn ack(
                    event_ids: ::std::vec::Vec<::std::string::String>,
                ) -> ::std::result::Result<(), lifecycle::Failure> {
                    SOURCE.with(|source| source.ack(&event_ids))
                }
            }

            $crate::bindings::acks::export!(Component with_types_in $crate::bindings::acks);
        });
    };
    (@component $source:ty, {$($more:tt)*}) => {
        #[cfg(target_family = "wasm")]
        const _: () = {
            use $crate::bindings::about::exports::wasink::plugin::about;
            use $crate::bindings::feed_source::exports::wasink::plugin::feed_source;
            use $crate::bindings::host::wasink::plugin::lifecycle;

            struct Component;

            ::std::thread_local! {
                static SOURCE: $crate::Slot<$source> = const { $crate::Slot::new() };
            }

            impl about::Guest for Component {
                fn describe() -> about::Description {
                    <$source as $crate::FeedSource>::describe()
                }
            }

            impl feed_source::Guest for Component {
                fn open(
                    context: lifecycle::Context,
                ) -> ::std::result::Result<(), ::std::string::String> {
                    SOURCE.with(|source| source.open_source(&context))
                }

                fn poll(
                    since: u64,
                    max: u32,
                    wait: u64,
                ) -> ::std::result::Result<
                    ::std::vec::Vec<$crate::ControlEvent>,
                    lifecycle::Failure,
                > {
                    SOURCE.with(|source| source.poll(since, max, wait))
                }

                fn close() -> ::std::result::Result<(), ::std::string::String> {
                    SOURCE.with(|source| source.close_source())
                }
            }

            $crate::bindings::about::export!(Component with_types_in $crate::bindings::about);
            $crate::bindings::feed_source::export!(
                Component with_types_in $crate::bindings::feed_source
            );

            $($more)*
        };
    };
}

/// Makes a component of a [`FeedSink`]: `export_feed_sink!(MyFeedSink);`, once in a crate.
#[macro_export]
macro_rules! export_feed_sink {
    ($sink:ty) => {
        #[cfg(target_family = "wasm")]
        const _: () = {
            use $crate::bindings::about::exports::wasink::plugin::about;
            use $crate::bindings::feed_sink::exports::wasink::plugin::feed_sink;
            use $crate::bindings::host::wasink::plugin::lifecycle;

            struct Component;

            ::std::thread_local! {
                static SINK: $crate::Slot<$sink> = const { $crate::Slot::new() };
            }

            impl about::Guest for Component {
                fn describe() -> about::Description {
                    <$sink as $crate::FeedSink>::describe()
                }
            }

            impl feed_sink::Guest for Component {
                fn open(
                    context: lifecycle::Context,
                ) -> ::std::result::Result<(), ::std::string::String> {
                    SINK.with(|sink| sink.open_feed_sink(&context))
                }

                fn append(
                    events: ::std::vec::Vec<$crate::ControlEvent>,
                ) -> ::std::result::Result<
                    ::std::vec::Vec<::std::result::Result<u64, lifecycle::Failure>>,
                    lifecycle::Failure,
                > {
                    SINK.with(|sink| sink.append(events))
                }

                fn close() -> ::std::result::Result<(), ::std::string::String> {
                    SINK.with(|sink| sink.close_feed_sink())
                }
            }

    $crate::bindings::about::export!(Component with_types_in $crate::bindings::about);
            $crate::bindings::feed_sink::export!(
                Component with_types_in $crate::bindings::feed_sink
            );
        };
    };
}
