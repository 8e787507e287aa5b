//! Feed source `file`, as a component.

wasink_guest::export_feed_source!(wasink_feed_file::FileSource);
