//! Where a server listens, and why it does not.

use std::net::TcpListener;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use wasink_serve::{Limits, Listen, ServeError, Server};

use super::client::{Request, Target, send};
use super::kit::{Bench, Lines, leave_socket, parts, usage};

fn start(listen: &Listen) -> Result<Server, ServeError> {
    let door = Bench::new().door;
    let lines = Arc::new(Lines::default());
    Server::start(listen, Limits::default(), &parts(door, Arc::new(|| Ok(())), lines))
}

fn at(path: &Path) -> Listen {
    Listen { socket: Some(path.to_owned()), ..Listen::default() }
}

/// The error, with `path` as PATH.
fn error(listen: &Listen, path: &Path) -> String {
    start(listen).unwrap_err().to_string().replace(&path.display().to_string(), "PATH")
}

#[test]
fn it_says_where_it_listens() {
    let bench = Bench::new();
    let address = bench.server.http().unwrap();
    let socket = bench.server.socket().unwrap();
    assert_ne!(address.port(), 0);
    assert_eq!(
        bench.lines.all(),
        [
            format!("info: listening address=http://{address}"),
            format!("info: listening address={}", socket.display()),
        ]
    );
}

#[test]
fn an_address_that_others_can_reach_needs_a_token() {
    for (address, loopback) in [
        ("0.0.0.0:8080", "127.0.0.1:8080"),
        ("[::]:0", "127.0.0.1:0"),
        ("192.0.2.1:80", "127.0.0.1:80"),
    ] {
        let listen = Listen { http: Some(address.parse().unwrap()), ..Listen::default() };
        assert_eq!(
            start(&listen).unwrap_err().to_string(),
            format!(
                "`{address}` can be reached from other machines, and no token is required there: \
                 configure a token file, or listen on a loopback address such as `{loopback}`"
            )
        );
    }
    let nothing = start(&Listen::default()).unwrap_err().to_string();
    assert_eq!(nothing, "there is nothing to listen on: name an address, or the path of a socket");
}

#[test]
fn an_address_in_use_is_named_and_leaves_no_socket_behind() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("socket");
    let listen = Listen { http: Some(address), ..at(&socket) };
    let error = start(&listen).unwrap_err().to_string();
    assert!(error.starts_with(&format!("can't listen on `{address}`: ")), "{error}");
    assert!(!socket.exists());
}

#[test]
fn the_socket_is_for_its_user_alone_and_goes_with_the_server() {
    let bench = Bench::new();
    let path = bench.server.socket().unwrap().to_owned();
    let found = std::fs::metadata(&path).unwrap();
    assert!(found.file_type().is_socket());
    assert_eq!(found.permissions().mode() & 0o777, 0o600);
    let (server, other) = (bench.server, bench.directory);
    assert_eq!(server.stop(Duration::from_secs(20)), 0);
    assert!(!path.exists());
    drop(other);
}

#[test]
fn a_socket_that_nobody_listens_on_is_taken_over() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    leave_socket(&path);
    let server = start(&at(&path)).unwrap();
    let answer = send(&Target::Unix(path.clone()), &Request::lines("usage", usage("1")));
    assert_eq!(answer.status, 200);
    drop(server);
    assert!(!path.exists());
}

#[test]
fn a_socket_that_somebody_listens_on_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let first = start(&at(&path)).unwrap();
    assert_eq!(
        error(&at(&path), &path),
        "another process listens on the socket `PATH`: stop it, or choose another path"
    );
    assert_eq!(send(&Target::Unix(path.clone()), &Request::get("/livez")).status, 200);
    drop(first);
}

#[test]
fn a_name_that_another_server_has_by_now_is_left_to_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let first = start(&at(&path)).unwrap();
    std::fs::remove_file(&path).unwrap();
    let second = start(&at(&path)).unwrap();
    drop(first);
    assert_eq!(send(&Target::Unix(path.clone()), &Request::get("/livez")).status, 200);
    drop(second);
    assert!(!path.exists());
}

#[test]
fn what_is_no_socket_is_never_removed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    std::fs::write(&path, "precious").unwrap();
    assert_eq!(
        error(&at(&path), &path),
        "`PATH` is there and is not a socket: move it away, or choose another path"
    );
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    // Nor is what a link leads to, or the link.
    let socket = directory.path().join("socket");
    leave_socket(&socket);
    let link = directory.path().join("link");
    std::os::unix::fs::symlink(&socket, &link).unwrap();
    assert!(matches!(start(&at(&link)).unwrap_err(), ServeError::NotASocket { .. }));
    assert!(socket.exists());
}

#[test]
fn a_directory_that_is_not_there_is_told() {
    let path = Path::new("/nowhere/at/all/socket");
    let error = error(&at(path), path);
    assert!(error.starts_with("can't listen on the socket `PATH`: No such file"), "{error}");
    assert!(error.ends_with("; its directory has to exist"), "{error}");
}
