//! The door's socket, and how it opens and closes.

use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::time::Duration;

use wasink_serve::ServeError;

use super::super::client::{Connection, Request, Target};
use super::super::kit::{PATIENCE, leave_socket};
use super::kit::{Desk, finish, long, post, start};

#[test]
fn the_socket_is_for_its_user_alone_and_goes_with_the_server() {
    let desk = Desk::new();
    let path = desk.server.socket().to_owned();
    let found = std::fs::metadata(&path).unwrap();
    assert!(found.file_type().is_socket());
    assert_eq!(found.permissions().mode() & 0o777, 0o600);
    assert_eq!(
        desk.lines.all(),
        [format!("info: listening for commands address={}", path.display())]
    );
    let (server, directory) = (desk.server, desk.directory);
    assert_eq!(server.stop(PATIENCE), 0);
    assert!(!path.exists());
    drop(directory);
}

#[test]
fn a_socket_that_nobody_listens_on_is_taken_over_and_one_of_somebody_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("admin.sock");
    leave_socket(&path);
    let first = start(&path).unwrap();
    assert!(matches!(start(&path).unwrap_err(), ServeError::SocketTaken { .. }));
    let request = Request::get("/v1/status");
    let mut connection = Connection::open(&Target::Unix(path.clone()));
    connection.write(&request.bytes()).unwrap();
    assert_eq!(finish(connection, &request).status, 200);
    drop(first);
    assert!(!path.exists());
}

#[test]
fn what_is_no_socket_is_never_removed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("admin.sock");
    std::fs::write(&path, "precious").unwrap();
    assert!(matches!(start(&path).unwrap_err(), ServeError::NotASocket { .. }));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}

#[test]
fn a_path_that_is_too_long_for_a_socket_is_told_with_its_length() {
    let directory = tempfile::tempdir().unwrap();
    let path = long(&directory);
    let error = start(&path).unwrap_err().to_string();
    let length = path.as_os_str().len();
    assert_eq!(
        error,
        format!(
            "the path of the socket `{}` has {length} bytes, which is more than the system takes: \
             choose a shorter one, or one that is relative to the working directory",
            path.display()
        )
    );
    assert!(!path.exists());
}

#[test]
fn a_client_that_goes_away_does_not_undo_what_is_under_way() {
    let desk = Desk::new();
    desk.operator.shut();
    let gone = desk.begin(&post("/v1/plugins/file/swap", "{}"));
    desk.begun.recv_timeout(PATIENCE).unwrap();
    drop(gone);
    desk.operator.open();
    // The end waits for it.
    assert_eq!(desk.server.stop(PATIENCE), 0);
    assert_eq!(desk.operator.asked(), ["swap file Directory"]);
}

#[test]
fn an_operation_under_way_is_answered_before_the_end() {
    let desk = Desk::new();
    desk.operator.shut();
    let request = post("/v1/plugins/file/swap", "{}");
    let waiting = desk.begin(&request);
    desk.begun.recv_timeout(PATIENCE).unwrap();
    let server = desk.server;
    let path = server.socket().to_owned();
    let stopping = std::thread::spawn(move || server.stop(PATIENCE));
    // It takes no more connections, and still waits.
    while std::os::unix::net::UnixStream::connect(&path).is_ok() {
        std::thread::yield_now();
    }
    assert!(!stopping.is_finished());
    desk.operator.open();
    assert_eq!(finish(waiting, &request).status, 200);
    assert_eq!(stopping.join().unwrap(), 0);
}

#[test]
fn an_operation_that_does_not_end_is_cut_off_at_the_deadline_and_counted() {
    let desk = Desk::new();
    desk.operator.shut();
    let connection = desk.begin(&post("/v1/plugins/file/swap", "{}"));
    desk.begun.recv_timeout(PATIENCE).unwrap();
    assert_eq!(desk.server.stop(Duration::from_millis(50)), 1);
    assert_eq!(connection.rest(), b"");
    let last = desk.lines.all().pop().unwrap();
    assert_eq!(last, "warn: stopped with requests that have no answer requests=1");
    desk.operator.open();
}

#[test]
fn one_operation_does_not_keep_others_from_being_asked_and_too_many_are_told_to_come_again() {
    let desk = Desk::new();
    desk.operator.shut();
    // Clients that go away leave their places among connections, and what they asked for.
    for _ in 0..32 {
        let gone = desk.begin(&post("/v1/plugins/file/swap", "{}"));
        desk.begun.recv_timeout(PATIENCE).unwrap();
        drop(gone);
    }
    let answer = desk.get("/v1/status");
    assert_eq!((answer.status, answer.problem()), (503, "busy".to_owned()));
    assert_eq!(answer.header("retry-after"), Some("1"));
    desk.operator.open();
    assert_eq!(desk.server.stop(PATIENCE), 0);
    assert_eq!(desk.operator.asked().len(), 32);
}
