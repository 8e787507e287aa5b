//! Feed sink `file`, as a component.

wasink_guest::export_feed_sink!(wasink_feed_file::FileSink);
