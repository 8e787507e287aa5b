//! The feed `jetstream`: control events in a stream of NATS JetStream.
//!
//! **What is there.** A message is an event as JSON, its `Nats-Msg-Id` the event's id, and its
//! sequence in the stream the event's control version. So the stream has to keep what it has
//! (retention `limits`), and one that has lost messages which a node has not read stops that node: it
//! would miss them. Versions rise and may have gaps, where the stream carries other subjects or had
//! messages removed.
//!
//! **Order.** Events of one call are published without waiting for one another, each on the condition
//! that the one before it was the stream's last: whatever gets lost on the way, none overtakes
//! another. Where somebody else publishes in between, the rest of the call go one by one.
//!
//! **A node's place** is the `since` that it polls with, whatever the server believes. Its durable
//! consumer is read as long as it goes on from there without a gap, and is made anew at that place as
//! soon as it does not: after a restart with messages that were given and not acknowledged, after a
//! cursor was set back, after messages got lost with a connection. Acknowledgements are for those who
//! look at the server: how far has each node got?

mod settings;
mod sink;
mod source;
mod stream;

pub use settings::Settings;
pub use sink::JetStreamSink;
pub use source::JetStreamSource;
