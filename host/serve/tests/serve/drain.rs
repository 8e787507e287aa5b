//! How a server ends.

use std::thread;
use std::time::{Duration, Instant};

use super::client::{Connection, Request, Target, finish};
use super::kit::{Bench, PATIENCE, usage};

#[test]
fn a_request_under_way_is_answered_when_its_records_are_durable_and_the_server_ends_then() {
    let bench = Bench::new();
    let targets = [bench.tcp(), bench.unix()];
    let Bench { server, door, begun, directory, .. } = bench;
    door.shut();
    let request = Request::lines("usage", usage("1"));
    let waiting: Vec<_> = targets
        .iter()
        .map(|target| {
            let mut connection = Connection::open(target);
            connection.write(&request.bytes()).unwrap();
            begun.recv_timeout(PATIENCE).unwrap();
            connection
        })
        .collect();
    let stopping = thread::spawn(move || server.stop(PATIENCE));
    // It takes no more connections, and still waits.
    let Target::Tcp(address) = &targets[0] else { panic!() };
    while std::net::TcpStream::connect(address).is_ok() {
        thread::yield_now();
    }
    assert!(!stopping.is_finished());
    assert_eq!(door.taken().len(), 0);
    door.open();
    for connection in waiting {
        assert_eq!(finish(connection, &request).status, 200);
    }
    assert_eq!(stopping.join().unwrap(), 0);
    assert_eq!(door.taken().len(), 2);
    drop(directory);
}

#[test]
fn a_request_that_does_not_end_is_cut_off_at_the_deadline_and_counted() {
    let bench = Bench::new();
    bench.door.shut();
    let mut connection = Connection::open(&bench.tcp());
    connection.write(&Request::lines("usage", usage("1")).bytes()).unwrap();
    bench.begun.recv_timeout(PATIENCE).unwrap();
    assert_eq!(bench.server.stop(Duration::from_millis(50)), 1);
    assert_eq!(connection.rest(), b"");
    assert_eq!(
        bench.lines.all().last().unwrap(),
        "warn: stopped with requests that have no answer requests=1"
    );
}

#[test]
fn connections_without_a_request_do_not_hold_it_up() {
    let bench = Bench::new();
    let idle = [Connection::open(&bench.tcp()), Connection::open(&bench.unix())];
    // They are accepted before those that come later.
    let request = String::from_utf8(Request::get("/livez").bytes()).unwrap();
    let mut used = [Connection::open(&bench.tcp()), Connection::open(&bench.unix())];
    for used in &mut used {
        used.write(request.replace("Connection: close\r\n", "").as_bytes()).unwrap();
        assert!(used.until("ok\n").starts_with("HTTP/1.1 200 OK\r\n"));
    }
    let began = Instant::now();
    assert_eq!(bench.server.stop(PATIENCE), 0);
    assert!(began.elapsed() < PATIENCE / 2);
    idle.into_iter().chain(used).for_each(|connection| assert_eq!(connection.rest(), b""));
}

#[test]
fn a_client_that_goes_away_does_not_undo_what_is_under_way() {
    let bench = Bench::new();
    bench.door.shut();
    let mut gone = Connection::open(&bench.tcp());
    gone.write(&Request::lines("usage", usage("1")).bytes()).unwrap();
    bench.begun.recv_timeout(PATIENCE).unwrap();
    drop(gone);
    bench.door.open();
    // The end waits for it.
    assert_eq!(bench.server.stop(PATIENCE), 0);
    assert_eq!(bench.door.lines(), [usage("1")]);
}

#[test]
fn a_server_that_is_dropped_ends_at_once() {
    let bench = Bench::new();
    let target = bench.tcp();
    drop(bench);
    let Target::Tcp(address) = target else { panic!() };
    while std::net::TcpStream::connect(address).is_ok() {
        thread::yield_now();
    }
}
