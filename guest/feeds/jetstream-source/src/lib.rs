//! Feed source `jetstream`, as a component.

wasink_guest::export_feed_source!(wasink_feed_jetstream::JetStreamSource, acks);
