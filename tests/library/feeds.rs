//! Feeds as a service embeds them.

use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};

use wasink::feed::outbox::sqlite::{append, prepare};
use wasink::hooks::Hooks;
use wasink::logger::TracingLogger;
use wasink::record::{ControlEvent, ControlType, Timestamp};

use crate::{SOON, config};

/// Passes on what it is told.
struct Told(SyncSender<String>);

impl Hooks for Told {
    fn outbox_passed(&self, outbox: &str, published: u64, _: u64) {
        self.0.send(format!("{outbox} has published {published}")).unwrap();
    }

    fn feed_passed(&self, feed: &str, applied: u64, _: u64, _: u64) {
        self.0.send(format!("{feed} has applied {applied}")).unwrap();
    }
}

#[test]
fn hooks_know_outboxes_and_feeds_by_their_names() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let config = config(
        &directory,
        &format!(
            "[[outbox]]\nname = 'admin'\nplugin = 'file'\ndatabase = '{1}'\n\
             grants.directory = '{0}'\n\
             [[feed]]\nname = 'control'\nplugin = 'file'\ndatabase = '{2}'\nwait = '200ms'\n\
             period = '1s'\ngrants.directory = '{0}'\n",
            path("feed").display(),
            path("admin.db").display(),
            path("node.db").display()
        ),
    );
    let mut database = rusqlite::Connection::open(path("admin.db")).unwrap();
    prepare(&database).unwrap();
    let transaction = database.transaction().unwrap();
    for id in ["a", "b", "c"] {
        let event = ControlEvent::builder(id, ControlType::KeyChanged).build().unwrap();
        append(&transaction, &event, Timestamp::from_unix_nanos(0)).unwrap();
    }
    transaction.commit().unwrap();

    let (sender, told) = sync_channel(100);
    let plugins = Arc::new(wasink::plugins(&config, Arc::new(TracingLogger)).unwrap());
    let feeds = wasink::feeds::Feeds::open_hooked(
        &config,
        plugins,
        Arc::new(TracingLogger),
        Arc::new(Told(sender)),
    )
    .unwrap();
    let (mut published, mut applied) = (0, 0);
    while (published, applied) != (3, 3) {
        let told = told.recv_timeout(SOON).unwrap();
        let (who, events) = told.rsplit_once(' ').unwrap();
        match who {
            "admin has published" => published += events.parse::<u64>().unwrap(),
            "control has applied" => applied += events.parse::<u64>().unwrap(),
            other => unreachable!("{other}"),
        }
    }
    feeds.stop(SOON);
    let status = feeds.status();
    assert_eq!((status.outboxes[0].published, status.feeds[0].applied), (3, 3));
}
