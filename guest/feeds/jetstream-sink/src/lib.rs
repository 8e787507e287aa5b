//! Feed sink `jetstream`, as a component.

wasink_guest::export_feed_sink!(wasink_feed_jetstream::JetStreamSink);
