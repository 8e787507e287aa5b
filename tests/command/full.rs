//! A disk that is really full: a small one, mounted for the daemon alone.

use std::process::Command;

use super::operator::Operator;
use super::service::{Client, SOCKET, serve_on_a_small_disk};

/// The size of the disk on which the journal is, in bytes.
const DISK: usize = 2 << 20;

const JOURNAL: &str = "wasink-data/journal/usage";

fn post(client: &mut Client, rid: usize) -> (u16, String) {
    let line = format!(
        "{{\"rid\":\"{rid}\",\"tenant\":\"acme\",\"src\":\"http\",\"stack\":\"shop\",\
         \"duration_ms\":1,\"status\":\"ok\",\"bytes_in\":2,\"bytes_out\":3}}\n"
    );
    client.post("usage", "application/x-ndjson", &line).unwrap()
}

#[test]
fn a_full_disk_stops_admission_and_says_so_and_room_brings_it_back() {
    let operator = Operator::new();
    operator.write(
        "wasink.toml",
        "listen.http = ''\njournal.segment = '64KiB'\n[usage]\nsink = 'file'\n[usage.file]\npath = 'usage.jsonl'\n",
    );
    let (mut running, disk) = serve_on_a_small_disk(&operator, JOURNAL, DISK);
    let mut client = Client::connect(&operator);
    assert_eq!(post(&mut client, 0).0, 200);

    // Somebody else fills the disk.
    let ballast = disk.join("ballast");
    let filled = Command::new("dd")
        .args(["if=/dev/zero", "bs=4096"])
        .arg(format!("of={}", ballast.display()))
        .output()
        .unwrap();
    assert!(!filled.status.success(), "the disk has no end: {filled:?}");

    // A page of the last segment may still have room.
    let mut acknowledged = vec![0];
    let refused = loop {
        let rid = acknowledged.len();
        let (status, answer) = post(&mut client, rid);
        if status != 200 {
            break (status, answer);
        }
        acknowledged.push(rid);
        assert!(rid < 1000, "the disk is never full");
    };
    assert_eq!(refused.0, 503, "{}", refused.1);
    assert!(refused.1.contains("No space left on device"), "{}", refused.1);
    running.await_word("the disk refuses: no more records are taken");
    let (status, reason) = client.get("/readyz").unwrap();
    assert_eq!(status, 503);
    assert!(reason.contains("usage: "), "{reason}");

    std::fs::remove_file(&ballast).unwrap();
    // It tries again by itself, a second later at most.
    let mut rid = acknowledged.len();
    while post(&mut client, rid).0 != 200 {
        rid += 1;
        std::thread::yield_now();
    }
    acknowledged.push(rid);
    running.await_word("records are taken again");
    assert_eq!(client.get("/readyz").unwrap().0, 200);

    running.signal("TERM");
    running.end().expect(143);
    assert!(operator.path(SOCKET).parent().unwrap().exists());
    let ledger = operator.read("usage.jsonl");
    for rid in acknowledged {
        let line = format!("{{\"rid\":\"{rid}\",");
        assert_eq!(ledger.lines().filter(|found| found.starts_with(&line)).count(), 1, "{rid}");
    }
}
