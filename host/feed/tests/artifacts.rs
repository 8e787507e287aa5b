//! Artifacts in directories, on HTTP servers and in what speaks S3, and servers that do what they like.

#![cfg(feature = "object-store")]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test ends where it fails"
)]

#[path = "artifacts/keep.rs"]
mod keep;
#[path = "artifacts/server.rs"]
mod server;

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use keep::Keep;
use server::{Answer, Server};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use wasink_chassis::Secret;
use wasink_chassis::config::{SecretConfig, SecretSource};
use wasink_feed::artifacts::{
    ArtifactError, ArtifactStore, Artifacts as _, PublishError, StoreOpenError, StoreOptions,
};

const LIMIT: u64 = 100_000;

type Plant = Box<dyn Fn(&str, &[u8])>;

/// A store of some kind, and a way to put anything there behind its back.
struct Kind {
    name: &'static str,
    options: StoreOptions,
    plant: Plant,
    _kept: Box<dyn std::any::Any>,
}

impl Kind {
    fn all() -> Vec<Self> {
        let plain = Self::http("http", "http://", false, |_| {});
        let bearer = Self::http("https", "https://", false, |keep| keep.token = Some("to-ken"));
        let old = Self::http("s3 without conditions", "s3://", true, |keep| {
            keep.is_unconditional = true;
        });
        vec![Self::directory(), plain, bearer, Self::http("s3", "s3://", true, |_| {}), old]
    }

    fn directory() -> Self {
        let kept = tempfile::tempdir().unwrap();
        let root = kept.path().to_owned();
        let plant = move |key: &str, bytes: &[u8]| {
            let path = root.join(key);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        };
        let options = limited(format!("file://{}", kept.path().display()));
        Self { name: "file", options, plant: Box::new(plant), _kept: Box::new(kept) }
    }

    fn http(name: &'static str, scheme: &str, is_s3: bool, change: fn(&mut Keep)) -> Self {
        let secrets = tempfile::tempdir().unwrap();
        let keep = Keep::new(change);
        let kept = keep.clone();
        let server = if scheme == "https://" {
            Server::tls(secrets.path(), move |request| kept.answer(request))
        } else {
            Server::plain(move |request| kept.answer(request))
        };
        let at = server.address();
        let options = if is_s3 {
            limited("s3://bucket/a%20prefix".to_owned())
                .with_setting("endpoint", format!("http://{at}"))
                .with_setting("allow_http", "true")
                .with_secret("access_key_id", secret(secrets.path(), "id", keep::KEY_ID))
                .with_secret("secret_access_key", secret(secrets.path(), "key", keep::KEY))
        } else if scheme == "https://" {
            limited(format!("https://localhost:{}/bucket/a%20prefix/", at.port()))
                .with_setting("ca", secrets.path().join("ca").display().to_string())
                .with_secret("token", secret(secrets.path(), "token", "to-ken"))
        } else {
            limited(format!("http://{at}/bucket/a%20prefix")).with_setting("allow_http", "true")
        };
        keep.signed(is_s3);
        let planted = keep.clone();
        let plant = move |key: &str, bytes: &[u8]| {
            planted.plant(&format!("/bucket/a prefix/{key}"), bytes);
        };
        Self { name, options, plant: Box::new(plant), _kept: Box::new((server, secrets)) }
    }

    fn open(&self) -> ArtifactStore {
        ArtifactStore::open(&self.options).unwrap()
    }
}

fn limited(url: String) -> StoreOptions {
    let mut options = StoreOptions::new(url);
    options.limit = LIMIT;
    options.timeout = Duration::from_secs(60);
    options
}

fn secret(directory: &Path, name: &str, text: &str) -> Secret {
    let path = directory.join(name);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    Secret::new(SecretConfig::new(name, SecretSource::File(path)))
}

fn checksum(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .fold("sha256:".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

/// Where these bytes have to be kept.
fn key(bytes: &[u8]) -> String {
    let hex = checksum(bytes).split_off("sha256:".len());
    let (folder, _) = hex.split_at(2);
    format!("sha256/{folder}/{hex}")
}

/// A store at a plain server that answers every request so.
fn store_at(server: &Server) -> ArtifactStore {
    let url = format!("http://{}/artifacts", server.address());
    ArtifactStore::open(&limited(url).with_setting("allow_http", "true")).unwrap()
}

fn unreachable(answer: Result<impl std::fmt::Debug, ArtifactError>) -> String {
    match answer.unwrap_err() {
        ArtifactError::Unreachable { reason, .. } => reason,
        error => panic!("{error:?}"),
    }
}

#[test]
fn what_was_published_is_found_by_its_content_in_every_kind_of_store() {
    for kind in Kind::all() {
        let name = kind.name;
        let mut store = kind.open();
        for (prefix, bytes) in [("", vec![]), ("stacks/shop é", vec![7; 99_999])] {
            let published = store.put(prefix, bytes.clone()).unwrap();
            assert_eq!(published.checksum(), checksum(&bytes), "{name}");
            let key = key(&bytes);
            let key = if prefix.is_empty() { key } else { format!("{prefix}/{key}") };
            assert_eq!(published.reference, key, "{name}");
            let artifact = store.fetch(&key, &published.checksum()).unwrap();
            assert_eq!((artifact.bytes, artifact.reference), (bytes.clone(), key), "{name}");
            assert_eq!(store.put(prefix, bytes).unwrap(), published, "{name}: it is there");
        }
    }
}

#[test]
fn an_artifact_that_is_not_what_its_event_says_is_told_from_one_that_can_t_be_reached() {
    for kind in Kind::all() {
        let name = kind.name;
        let mut store = kind.open();
        (kind.plant)("a b/ü%41#x", b"right");
        (kind.plant)("limit", &vec![1; 100_000]);
        (kind.plant)("large", &vec![1; 100_001]);
        let right = checksum(b"right");
        assert_eq!(store.fetch("a b/ü%41#x", &right).unwrap().bytes, b"right", "{name}");
        let limit = checksum(&vec![1; 100_000]);
        assert_eq!(store.fetch("limit", &limit).unwrap().bytes.len(), 100_000, "{name}");
        let error = store.fetch("a b/ü%41#x", &limit).unwrap_err();
        assert!(
            matches!(&error, ArtifactError::Mismatch { found, .. } if *found == right),
            "{name}"
        );
        let error = store.fetch("large", &right).unwrap_err();
        assert!(matches!(error, ArtifactError::TooLarge { limit: LIMIT, .. }), "{name}: {error}");
        for key in ["b", "limit/below", "a b"] {
            let error = store.fetch(key, &right).unwrap_err();
            assert!(matches!(error, ArtifactError::Missing { .. }), "{name} {key}: {error:?}");
        }
        for key in ["", "../b", "/etc/passwd", "a//b", "a/./b", "a\nb"] {
            let error = store.fetch(key, &right).unwrap_err();
            assert!(matches!(error, ArtifactError::Key { .. }), "{name}: {error:?}");
            assert!(!error.to_string().contains('\n'), "{name}");
        }
    }
}

#[test]
fn other_bytes_under_a_key_are_not_written_over_and_not_published() {
    for kind in Kind::all() {
        let name = kind.name;
        let mut store = kind.open();
        let bytes = b"new".to_vec();
        let key = format!("p/{}", key(&bytes));
        for planted in [b"old".to_vec(), vec![1; 100_001]] {
            (kind.plant)(&key, &planted);
            let error = store.put("p", bytes.clone()).unwrap_err();
            assert!(matches!(error, PublishError::Taken { .. }), "{name}: {error:?}");
            let fetched = store.fetch(&key, &checksum(&planted));
            assert!(fetched.is_ok() || planted.len() > 100_000, "{name}: {fetched:?}");
        }
    }
}

#[test]
fn what_could_not_be_fetched_is_not_published() {
    let kind = Kind::directory();
    let store = kind.open();
    let error = store.put("", vec![0; 100_001]).unwrap_err();
    assert!(matches!(error, PublishError::TooLarge { length: 100_001, limit: LIMIT }), "{error}");
    for prefix in ["/", "a/", "/a", "..", "a//b", "a\nb", &"x".repeat(256)] {
        let error = store.put(prefix, b"x".as_slice()).unwrap_err();
        assert!(matches!(error, PublishError::Prefix { .. }), "{error}");
    }
}

#[test]
fn many_publish_the_same_at_once_and_each_finds_it_whole() {
    for kind in Kind::all() {
        let bytes = vec![3; 50_000];
        let stores: Vec<_> = (0..4).map(|_| kind.open()).collect();
        std::thread::scope(|scope| {
            for mut store in stores {
                let bytes = bytes.clone();
                scope.spawn(move || {
                    let published = store.put("", bytes.clone()).unwrap();
                    let fetched = store.fetch(&published.reference, &published.checksum());
                    assert_eq!(fetched.unwrap().bytes, bytes);
                });
            }
        });
    }
}

#[test]
fn a_directory_that_goes_away_is_a_store_that_can_t_be_reached() {
    let parent = tempfile::tempdir().unwrap();
    let root = parent.path().join("mounted");
    let options = StoreOptions::new(format!("file://{}", root.display()));
    let error = ArtifactStore::open(&options).unwrap_err();
    assert!(matches!(&error, StoreOpenError::Directory { path, .. } if *path == root), "{error}");
    std::fs::create_dir(&root).unwrap();
    let mut store = ArtifactStore::open(&options).unwrap();
    let published = store.put("", b"x".as_slice()).unwrap();
    std::fs::rename(&root, parent.path().join("elsewhere")).unwrap();
    let reason = unreachable(store.fetch(&published.reference, &published.checksum()));
    assert_eq!(reason, format!("there is no directory `{}`", root.display()));
    std::fs::rename(parent.path().join("elsewhere"), &root).unwrap();
    store.fetch(&published.reference, &published.checksum()).unwrap();
}

#[test]
fn nothing_unfinished_is_left_in_a_directory() {
    let directory = tempfile::tempdir().unwrap();
    let store = ArtifactStore::open(&limited(format!("file://{}", directory.path().display())));
    let mut store = store.unwrap();
    let published = store.put("", b"x".as_slice()).unwrap();
    store.put("", b"x".as_slice()).unwrap();
    let folder = directory.path().join(&published.reference);
    let names: Vec<_> = std::fs::read_dir(folder.parent().unwrap()).unwrap().collect();
    assert_eq!(names.len(), 1, "{names:?}");
    // One that a crash has left is no artifact.
    std::fs::write(directory.path().join("x#1"), "half").unwrap();
    let error = store.fetch("x#1", &checksum(b"half")).unwrap_err();
    assert!(matches!(error, ArtifactError::Missing { .. }), "{error}");
}

#[test]
fn what_a_server_answers_instead_says_nothing_of_the_event() {
    for (status, code, said) in [
        ("403 Forbidden", "AccessDenied", "the server answers 403 Forbidden (`AccessDenied`)"),
        ("401 Unauthorized", "", "the server answers 401 Unauthorized"),
        ("500 Internal Server Error", "a b", "the server answers 500 Internal Server Error"),
        ("503 Slow Down", "SlowDown", "the server answers 503 Service Unavailable (`SlowDown`)"),
        ("429 Too Many", "", "the server answers 429 Too Many Requests"),
        ("400 Bad", "", "the server answers 400 Bad Request"),
        ("404 Not Found", "NoSuchBucket", "the server answers 404 Not Found (`NoSuchBucket`)"),
        ("405 Not Allowed", "", "the server answers 405 Method Not Allowed"),
    ] {
        let server = Server::plain(move |_| {
            Answer::of(status, format!("<Error><Code>{code}</Code></Error>").into_bytes())
        });
        let reason = unreachable(store_at(&server).fetch("a", &checksum(b"x")));
        assert_eq!(reason, said);
    }
    for status in ["404 Not Found", "410 Gone"] {
        let server = Server::plain(move |_| Answer::of(status, b"nothing here".to_vec()));
        let error = store_at(&server).fetch("a", &checksum(b"x")).unwrap_err();
        assert!(matches!(error, ArtifactError::Missing { .. }), "{error}");
    }
}

#[test]
fn a_redirect_is_not_followed_wherever_it_leads() {
    let followed = Arc::new(AtomicBool::new(false));
    let seen = followed.clone();
    let other = Server::plain(move |_| {
        seen.store(true, Ordering::SeqCst);
        Answer::of("200 OK", b"x".to_vec())
    });
    let to = format!("http://{}/artifacts/a?token=secret", other.address());
    for status in ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"] {
        let to = to.clone();
        let server = Server::plain(move |_| Answer::of(status, vec![]).with("Location", &to));
        let reason = unreachable(store_at(&server).fetch("a", &checksum(b"x")));
        assert!(reason.ends_with("redirects are not followed: name the place that it leads to"));
        assert!(!reason.contains("token"), "{reason}");
    }
    assert!(!followed.load(Ordering::SeqCst));
}

#[test]
fn an_answer_that_is_cut_off_is_no_other_artifact() {
    let short = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nConnection: close\r\n\r\nshort";
    let chunks = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n";
    let open = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nshort";
    let head = b"HTTP/1.1 200 OK\r\nContent-Le";
    for raw in [&short[..], &chunks[..], &open[..], &head[..], b"", b"no HTTP at all\r\n\r\n"] {
        let server = Server::plain(move |_| Answer::raw(raw.to_vec()));
        let reason = unreachable(store_at(&server).fetch("a", &checksum(b"short")));
        assert!(!reason.is_empty() && !reason.contains('\n'), "{reason}");
    }
    // With a tag it is asked for the rest, which is as good where the server has it.
    let server = Server::plain(|request| {
        if request.header("range").is_some() {
            return Answer::of("206 Partial Content", b"st".to_vec())
                .with("ETag", "\"1\"")
                .with("Content-Range", "bytes 3-4/5");
        }
        let cut = "HTTP/1.1 200 OK\r\nETag: \"1\"\r\nContent-Length: 5\r\n\r\nfir";
        Answer::raw(cut.as_bytes().to_vec())
    });
    assert_eq!(store_at(&server).fetch("a", &checksum(b"first")).unwrap().bytes, b"first");
}

#[test]
fn an_answer_in_pieces_is_read_to_its_end() {
    let chunks = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nETag: \"1\"\r\n\r\n\
                   2\r\nsh\r\n3\r\nort\r\n0\r\n\r\n";
    let server = Server::plain(move |_| Answer::raw(chunks.to_vec()));
    assert_eq!(store_at(&server).fetch("a", &checksum(b"short")).unwrap().bytes, b"short");
}

#[test]
fn a_body_without_an_end_is_given_up_at_the_limit() {
    let server = Server::plain(|_| Answer::endless(true));
    let error = store_at(&server).fetch("a", &checksum(b"x")).unwrap_err();
    assert!(matches!(error, ArtifactError::TooLarge { limit: LIMIT, .. }), "{error}");
    // One that is said to be too large is not even read.
    let large = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000000\r\n\r\n";
    let server = Server::plain(move |_| Answer::raw(large.to_vec()).held());
    let error = store_at(&server).fetch("a", &checksum(b"x")).unwrap_err();
    assert!(matches!(error, ArtifactError::TooLarge { .. }), "{error}");
    // Nor is what an error has to say for itself.
    let server = Server::plain(|_| Answer::endless(false));
    let reason = unreachable(store_at(&server).fetch("a", &checksum(b"x")));
    assert_eq!(reason, "the server answers 403 Forbidden");
}

#[test]
fn a_server_that_takes_its_time_is_given_up_in_time() {
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n";
    // It says nothing; it says some and no more; it gives a byte now and then.
    for answer in [
        Answer::raw(vec![]).held(),
        Answer::raw(head.to_vec()).held(),
        Answer::raw(head.to_vec()).dripping(Duration::from_millis(20)),
    ] {
        let server = Server::plain(move |_| answer.clone());
        let url = format!("http://{}/artifacts", server.address());
        let mut options = limited(url).with_setting("allow_http", "true");
        options.timeout = Duration::from_millis(300);
        let mut store = ArtifactStore::open(&options).unwrap();
        let begun = Instant::now();
        let reason = unreachable(store.fetch("a", &checksum(b"x")));
        assert_eq!(reason, "it was not done within 300ms");
        assert!(begun.elapsed() >= options.timeout && begun.elapsed() < Duration::from_secs(30));
        let error = store.put("", b"x".as_slice()).unwrap_err();
        assert!(matches!(error, PublishError::Unreachable { .. }), "{error}");
    }
}

#[test]
fn a_connection_that_does_not_come_about_is_given_up_in_time() {
    // It is taken, and TLS's handshake is never answered.
    let silent = Server::plain(|_| Answer::raw(vec![]).held());
    let mut options = limited(format!("https://{}", silent.address()));
    options.connect_timeout = Duration::from_millis(200);
    let reason = unreachable(ArtifactStore::open(&options).unwrap().fetch("a", &checksum(b"x")));
    assert!(reason.contains("there was no connection within 200ms"), "{reason}");
    // Nobody is there.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let options = limited(format!("http://{free}")).with_setting("allow_http", "true");
    let reason = unreachable(ArtifactStore::open(&options).unwrap().fetch("a", &checksum(b"x")));
    assert!(reason.contains("refused"), "{reason}");
}

#[test]
fn a_certificate_of_somebody_else_is_not_taken() {
    let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let keep = Keep::new(|_| {});
    let server = Server::tls(ours.path(), move |request| keep.answer(request));
    let _other = Server::tls(theirs.path(), |_| Answer::of("200 OK", vec![]));
    let url = format!("https://localhost:{}", server.address().port());
    let ca = |directory: &TempDir| directory.path().join("ca").display().to_string();
    for options in [limited(url.clone()), limited(url.clone()).with_setting("ca", ca(&theirs))] {
        let reason =
            unreachable(ArtifactStore::open(&options).unwrap().fetch("a", &checksum(b"x")));
        assert!(reason.contains("certificate"), "{reason}");
    }
    let mut right = ArtifactStore::open(&limited(url).with_setting("ca", ca(&ours))).unwrap();
    let error = right.fetch("a", &checksum(b"x")).unwrap_err();
    assert!(matches!(error, ArtifactError::Missing { .. }), "{error}");
}

#[test]
fn what_is_signed_with_another_key_is_refused_and_the_key_is_not_told() {
    let mut kind = Kind::http("s3", "s3://", true, |_| {});
    let directory = tempfile::tempdir().unwrap();
    let wrong = secret(directory.path(), "key", "hunter2-hunter2");
    kind.options = kind.options.with_secret("secret_access_key", wrong);
    let mut store = kind.open();
    let reason = unreachable(store.fetch("a", &checksum(b"x")));
    assert_eq!(reason, "the server answers 403 Forbidden (`SignatureDoesNotMatch`)");
    // It is changed where it is kept, and the store goes on with it.
    std::fs::write(directory.path().join("key"), keep::KEY).unwrap();
    let published = store.put("", b"x".as_slice()).unwrap();
    store.fetch(&published.reference, &published.checksum()).unwrap();
    let text = format!("{:?} {store:?}", kind.options);
    assert!(!text.contains("hunter2") && !text.contains(keep::KEY), "{text}");
}

#[test]
fn a_bucket_is_in_the_path_or_in_the_host_and_is_asked_as_the_options_say() {
    let server = Server::plain(|request| {
        let header = |name| request.header(name).unwrap_or("none");
        let (signed, token) = (header("authorization"), header("x-amz-security-token"));
        let region = signed.split('/').nth(2).unwrap_or(signed);
        Answer::of("200 OK", format!("{} {region} {token}", request.target).into_bytes())
    });
    let directory = tempfile::tempdir().unwrap();
    let word = |name| secret(directory.path(), name, name);
    let s3 = |path_style: &str| {
        limited("s3://bucket/p".to_owned())
            .with_setting("endpoint", format!("http://{}/", server.address()))
            .with_setting("allow_http", "true")
            .with_setting("path_style", path_style)
    };
    let signed = s3("true")
        .with_setting("region", "eu-central-1")
        .with_secret("access_key_id", word("id"))
        .with_secret("secret_access_key", word("key"));
    for (options, seen) in [
        (s3("true").with_setting("anonymous", "true"), "/bucket/p/a none none"),
        (s3("false").with_setting("anonymous", "true"), "/p/a none none"),
        (signed.clone(), "/bucket/p/a eu-central-1 none"),
        (signed.with_secret("session_token", word("token")), "/bucket/p/a eu-central-1 token"),
    ] {
        let fetched = ArtifactStore::open(&options).unwrap().fetch("a", &checksum(seen.as_bytes()));
        assert_eq!(fetched.unwrap().bytes, seen.as_bytes());
    }
}

#[test]
fn a_secret_that_can_t_be_read_is_named() {
    let mut kind = Kind::http("s3", "s3://", true, |_| {});
    let nowhere = SecretSource::File("/nonexistent/key".into());
    let secret = Secret::new(SecretConfig::new("artifacts-key", nowhere));
    kind.options = kind.options.with_secret("secret_access_key", secret);
    let reason = unreachable(kind.open().fetch("a", &checksum(b"x")));
    assert!(reason.starts_with("secret `artifacts-key`: file `/nonexistent/key`"), "{reason}");
}

#[test]
fn options_that_can_t_be_are_refused_and_repeat_no_credential() {
    let directory = tempfile::tempdir().unwrap();
    let word = || secret(directory.path(), "word", "x");
    let s3 = || StoreOptions::new("s3://bucket").with_setting("region", "eu-central-1");
    let user = "it names a user; credentials are named among the secrets";
    for (options, said) in [
        (StoreOptions::new("https://me:hunter2@host/a"), user),
        (StoreOptions::new("s3://hunter2@bucket"), user),
        (StoreOptions::new("https://me:hunter2@ho st/"), "it is none: "),
        (StoreOptions::new("https://host/?sig=hunter2"), "it has a `?` or a `#`"),
        (StoreOptions::new("https://host/#hunter2"), "it has a `?` or a `#`"),
        (StoreOptions::new("artifacts"), "it is none: "),
        (StoreOptions::new("data:hunter2"), "it is no place"),
        (StoreOptions::new("ftp://host/a"), "`ftp` is no scheme of a store"),
        (StoreOptions::new("file:artifacts"), "a directory is named by its whole path"),
        (StoreOptions::new("file://host/artifacts"), "a directory is named by its whole path"),
        (StoreOptions::new("http://host/"), "`true` for a `url` that begins with `http://`"),
        (StoreOptions::new("s3:///prefix"), "it names no bucket"),
        (StoreOptions::new("s3://bucket/a//b"), "no prefix of keys"),
        (StoreOptions::new("s3://bucket"), "say in which region"),
        (s3(), "secret `access_key_id` of the store of artifacts: it is needed to sign"),
        (s3().with_setting("secret_access_key", "hunter2"), "it is a secret: name it among those"),
        (
            s3().with_setting("endpont", "x"),
            "setting `endpont` of the store of artifacts: it is unknown",
        ),
        (s3().with_setting("path_style", "hunter2"), "it is `true` or `false`"),
        (s3().with_setting("endpoint", "https://me:hunter2@host"), user),
        (s3().with_setting("endpoint", "http://host"), "`true` for a `endpoint` that begins"),
        (s3().with_setting("endpoint", "ftp://host"), "it has to begin with `https://`"),
        (
            s3().with_secret("token", word()),
            "secret `token` of the store of artifacts: it is unknown",
        ),
        (
            s3().with_setting("anonymous", "true").with_secret("session_token", word()),
            "nothing is signed where `anonymous` is true",
        ),
        (
            StoreOptions::new("http://host/")
                .with_setting("allow_http", "true")
                .with_secret("token", word()),
            "it is sent as it is",
        ),
        (StoreOptions::new("https://host/").with_setting("ca", "/nonexistent"), "`/nonexistent`"),
    ] {
        let error = ArtifactStore::open(&options).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
        let shown = format!("{error} {options:?}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
