//! How connections are made: kept and used again, encrypted for whom the operator trusts, through a
//! proxy where there is one, and no more at a time than are allowed.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::ways_out::{Errand, NAMES, request_to};

/// Answers requests on a connection until it ends, each with the path that was asked for.
fn answer(stream: impl Read + Write) {
    let mut stream = BufReader::new(stream);
    loop {
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            if line == "\r\n" {
                break;
            }
            head.push(line.trim().to_ascii_lowercase());
        }
        let length = head.iter().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        let mut body = vec![0; length.parse().unwrap()];
        stream.read_exact(&mut body).unwrap();
        let path = head[0].split(' ').nth(1).unwrap();
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{path}", path.len());
        stream.get_mut().write_all(answer.as_bytes()).unwrap();
        stream.get_mut().flush().unwrap();
    }
}

/// Serves each connection on a thread of its own; gives the number of connections so far.
fn serve(connection: impl Fn(TcpStream) + Send + Sync + 'static) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let (counted, connection) = (connections.clone(), Arc::new(connection));
    thread::spawn(move || {
        for stream in listener.incoming() {
            counted.fetch_add(1, Ordering::SeqCst);
            let (stream, connection) = (stream.unwrap(), connection.clone());
            thread::spawn(move || connection(stream));
        }
    });
    (address, connections)
}

#[test]
fn a_connection_is_kept_and_used_again() {
    let (address, connections) = serve(answer);
    let grants = format!("http = [{{ origin = 'http://{address}' }}]");
    let mut errand = Errand::new(&request_to(&format!("http://{address}/again")), &grants);
    for _ in 0..10 {
        assert_eq!(errand.run(), "200 /again");
    }
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}

/// A certificate authority and a server at `tls.example` that it vouches for. Writes the authority's
/// certificate into `directory`.
fn tls_server(directory: &Path) -> SocketAddr {
    let mut authority = CertificateParams::new(Vec::<String>::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    std::fs::write(directory.join("ca.pem"), authority.pem()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["tls.example".to_owned()])
        .unwrap()
        .signed_by(&key, &authority)
        .unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    let config = Arc::new(config);
    let (address, _) = serve(move |stream| {
        let connection = ServerConnection::new(config.clone()).unwrap();
        answer(StreamOwned::new(connection, stream));
    });
    address
}

#[test]
fn a_receiver_is_trusted_by_its_own_authority_or_not_at_all() {
    let directory = tempfile::tempdir().unwrap();
    let port = tls_server(directory.path()).port();
    NAMES.lead("tls.example", &[&["127.0.0.1"]]);
    NAMES.lead("other.example", &[&["127.0.0.1"]]);
    let ca = directory.path().join("ca.pem");
    for (host, ca, expected) in [
        ("tls.example", format!("ca = '{}'", ca.display()), None),
        ("tls.example", String::new(), Some("UnknownIssuer")),
        ("other.example", format!("ca = '{}'", ca.display()), Some("not valid for name")),
    ] {
        let origin = format!("https://{host}:{port}");
        let comma = if ca.is_empty() { "" } else { ", " };
        let grants =
            format!("http = [{{ origin = '{origin}', networks = ['loopback']{comma}{ca} }}]");
        let mut errand = Errand::new(&request_to(&format!("{origin}/sealed")), &grants);
        let found = errand.run();
        match expected {
            None => assert_eq!(found, "200 /sealed"),
            Some(reason) => {
                assert!(found.starts_with("failed: "), "{found}");
                let told = errand.told().join("\n");
                assert!(told.contains(reason), "{told}");
            }
        }
    }
}

/// A proxy that leads to one place, and what it was asked for.
fn proxy(to: SocketAddr) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let heard = asked.clone();
    let (address, _) = serve(move |mut stream| {
        let mut head = BufReader::new(stream.try_clone().unwrap());
        let mut first = String::new();
        head.read_line(&mut first).unwrap();
        heard.lock().unwrap().push(first.trim().to_owned());
        let mut line = String::new();
        while head.read_line(&mut line).unwrap() > 2 {
            line.clear();
        }
        let mut there = TcpStream::connect(to).unwrap();
        stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").unwrap();
        let (mut back, mut out) = (there.try_clone().unwrap(), stream.try_clone().unwrap());
        let answers = thread::spawn(move || drop(std::io::copy(&mut back, &mut out)));
        drop(std::io::copy(&mut stream, &mut there));
        drop(answers.join());
    });
    (address, asked)
}

#[test]
fn with_a_proxy_it_is_the_proxy_that_is_connected_to() {
    let (address, _) = serve(answer);
    let (proxy, asked) = proxy(address);
    // No name that this machine could look up, and the usual port.
    let origin = "http://far.example";
    let grants = format!("http = [{{ origin = '{origin}', proxy = 'http://{proxy}' }}]");
    let mut errand = Errand::new(&request_to(&format!("{origin}/through")), &grants);
    assert_eq!(errand.run(), "200 /through");
    assert_eq!(errand.run(), "200 /through");
    assert_eq!(*asked.lock().unwrap(), ["CONNECT far.example:80 HTTP/1.1"]);
}

#[test]
fn grants_that_can_t_be_given_are_told_of_when_the_sink_opens() {
    let directory = tempfile::tempdir().unwrap();
    let empty = directory.path().join("empty.pem");
    std::fs::write(&empty, "").unwrap();
    for (ca, expected) in [
        ("/nowhere/ca.pem".to_owned(), "the certificates in `/nowhere/ca.pem`: "),
        (empty.display().to_string(), "there is no certificate in `"),
    ] {
        let grants = format!("http = [{{ origin = 'https://a.example', ca = '{ca}' }}]");
        let error = Errand::refused(&request_to("https://a.example/"), &grants);
        let start = "sink `under-test` can't be given its grants: `https://a.example`: ";
        assert!(error.starts_with(start) && error.contains(expected), "{error}");
    }
}
