//! Against servers that give what no registry should, and send elsewhere whoever asks.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use wasink_registry::{Credentials, Options, Patience, Reference, Registry, RegistryError};

use crate::server::{Answer, Request, Server};
use crate::{LIMIT, options, package, short};

const SECRET: &str = "open sesame";
/// `me:open sesame`, in Base64.
const BASIC: &str = "Basic bWU6b3BlbiBzZXNhbWU=";

/// What was asked for, and what was told about who asks.
type Notes = Arc<Mutex<Vec<(String, Option<String>)>>>;

/// The manifest of `component`.
fn manifest() -> Vec<u8> {
    format!(
        r#"{{"schemaVersion":2,"config":{{"mediaType":"application/vnd.wasm.config.v0+json",
            "digest":"{config}","size":2}},"layers":[{{"mediaType":"application/wasm",
            "digest":"{component}","size":9}}]}}"#,
        config = wasink_registry::Digest::of(b"{}"),
        component = wasink_registry::Digest::of(b"component"),
    )
    .into_bytes()
}

fn given(body: impl Into<Vec<u8>>) -> Answer {
    Answer::of("200 OK", body.into())
}

fn to(place: &str) -> Answer {
    Answer::of("307 Temporary Redirect", Vec::new()).with("Location", place)
}

/// Wants this before it answers.
fn guarded(request: &Request, header: &str, challenge: &str, answer: Answer) -> Answer {
    match request.header("authorization") {
        Some(told) if told == header => answer,
        _ => Answer::of("401 Unauthorized", Vec::new()).with("WWW-Authenticate", challenge),
    }
}

fn file(server: &Server) -> Reference {
    format!("{}/file:1", server.address()).parse().unwrap()
}

fn asked(reference: &Reference, set: impl FnOnce(&mut Options)) -> Registry {
    Registry::new(reference, &options(set)).unwrap()
}

fn known(options: &mut Options) {
    options.credentials = Some(Credentials::new("me", SECRET));
}

fn pull(reference: &Reference, set: impl FnOnce(&mut Options)) -> Result<Vec<u8>, RegistryError> {
    let mut registry = asked(reference, set);
    let artifact = registry.resolve(reference)?;
    let mut bytes = Vec::new();
    registry.fetch(&artifact, LIMIT, &mut bytes)?;
    Ok(bytes)
}

/// A server that notes what it was told about who asks, beside what for.
fn noting(answer: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> (Server, Notes) {
    let notes = Arc::new(Mutex::new(Vec::new()));
    let kept = notes.clone();
    let server = Server::plain(move |request| {
        let told = request.header("authorization").map(str::to_owned);
        kept.lock().unwrap().push((request.target.clone(), told));
        answer(request)
    });
    (server, notes)
}

#[test]
fn no_answer_is_read_without_end() {
    let manifests = Server::plain(|_| Answer::endless(true));
    let error = pull(&file(&manifests), |_| {}).unwrap_err();
    assert!(matches!(&error, RegistryError::TooLarge { what: "manifest", .. }), "{error}");

    let blobs = Server::plain(|request| match request.target.contains("/manifests/") {
        true => given(manifest()),
        false => Answer::endless(true),
    });
    let error = pull(&file(&blobs), |_| {}).unwrap_err();
    assert!(error.to_string().contains("its manifest says 9 bytes"), "{error}");

    let errors = Server::plain(|_| Answer::endless(false));
    let error = pull(&file(&errors), |_| {}).unwrap_err();
    assert!(matches!(&error, RegistryError::Forbidden { code: None, .. }), "{error}");

    let tokens = Server::plain(|_| Answer::endless(true));
    let challenge = format!("Bearer realm=\"http://{}/token\"", tokens.address());
    let sending = Server::plain(move |request| guarded(request, "", &challenge, given("")));
    let error = pull(&file(&sending), known).unwrap_err();
    assert!(error.to_string().contains("that gives none"), "{error}");
}

#[test]
fn a_server_that_says_nothing_more_is_not_waited_for() {
    let silent = Server::plain(|_| Answer::raw(Vec::new()).held());
    let error = pull(&file(&silent), |options| {
        short(options);
        options.patience = Patience { connect: Duration::from_secs(2), ..options.patience };
    });
    let error = error.unwrap_err();
    assert!(matches!(&error, RegistryError::Late { .. }), "{error}");
    let begun = Server::plain(|_| {
        Answer::raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{".to_vec()).held()
    });
    let error = pull(&file(&begun), short).unwrap_err();
    assert!(
        matches!(&error, RegistryError::Late { place, .. } if *place == begun.address().to_string()),
        "{error}"
    );
}

#[test]
fn an_answer_that_is_cut_off_or_says_another_digest_is_not_taken() {
    let cut =
        Server::plain(|_| Answer::raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{".to_vec()));
    let error = pull(&file(&cut), |_| {}).unwrap_err();
    assert!(matches!(&error, RegistryError::CutOff { .. }), "{error}");
    let garbage = Server::plain(|_| Answer::raw(b"220 mail.example\r\n".to_vec()));
    let error = pull(&file(&garbage), |_| {}).unwrap_err();
    assert!(matches!(&error, RegistryError::CutOff { .. }), "{error}");
    let other = wasink_registry::Digest::of(b"other");
    let lies =
        Server::plain(move |_| given(manifest()).with("Docker-Content-Digest", other.as_str()));
    let error = pull(&file(&lies), |_| {}).unwrap_err();
    assert!(matches!(&error, RegistryError::Digest { what: "manifest", .. }), "{error}");
}

#[test]
fn a_blob_is_fetched_where_the_registry_says_and_nobody_there_is_told_who_asks() {
    let (elsewhere, notes) = noting(|_| given("component"));
    let place = format!("http://{}/blob?signed=1", elsewhere.address());
    let (registry, own) = noting(move |request| {
        let answer = match request.target.contains("/manifests/") {
            true => given(manifest()),
            false => to(&place),
        };
        guarded(request, BASIC, "Basic realm=\"x\"", answer)
    });
    assert_eq!(pull(&file(&registry), known).unwrap(), b"component");
    assert_eq!(*notes.lock().unwrap(), [("/blob?signed=1".to_owned(), None)]);
    // Nobody is told before it is asked for.
    let own = own.lock().unwrap();
    assert_eq!(own.first().unwrap().1, None);
    assert_eq!(own.iter().filter(|(_, told)| told.as_deref() == Some(BASIC)).count(), 2);
}

#[test]
fn a_loop_of_redirects_has_an_end_and_learns_nothing() {
    let back = Arc::new(Mutex::new(String::new()));
    let there = back.clone();
    let (elsewhere, notes) = noting(move |_| to(&there.lock().unwrap()));
    let place = format!("http://{}/there", elsewhere.address());
    let (registry, own) = noting(move |request| {
        let challenge = "Basic realm=\"x\"";
        match request.target.as_str() {
            // Whoever comes back is not asked who it is.
            "/back" => to(&place),
            _ => guarded(request, BASIC, challenge, to(&place)),
        }
    });
    *back.lock().unwrap() = format!("http://{}/back", registry.address());
    let error = pull(&file(&registry), known).unwrap_err();
    assert!(error.to_string().contains("more than 5 times"), "{error}");
    assert!(notes.lock().unwrap().iter().all(|(_, told)| told.is_none()));
    let own = own.lock().unwrap();
    let told: Vec<_> = own.iter().filter(|(_, told)| told.is_some()).map(|(at, _)| at).collect();
    assert_eq!(told, ["/v2/file/manifests/1"]);
}

#[test]
fn an_answer_that_leads_out_of_what_was_allowed_is_not_followed() {
    for (place, reason) in [
        ("http://192.0.2.1/blob", "`192.0.2.1` would be spoken to without encryption"),
        ("ftp://127.0.0.1/blob", "`ftp:` is neither HTTP nor HTTPS"),
        ("http://[", "that is no address"),
    ] {
        let server = Server::plain(move |_| to(place));
        let error = pull(&file(&server), |_| {}).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
    let nowhere = Server::plain(|_| Answer::of("302 Found", Vec::new()));
    let error = pull(&file(&nowhere), |_| {}).unwrap_err().to_string();
    assert!(error.contains("it does not say where"), "{error}");

    let reference: Reference = "registry.example/file:1".parse().unwrap();
    assert!(format!("{:?}", asked(&reference, |_| {})).contains("https://registry.example/v2/"));
    let plain = asked(&reference, |options| options.plain_http = true);
    assert!(format!("{plain:?}").contains("http://registry.example/v2/"));
}

#[test]
fn nothing_that_began_encrypted_goes_on_in_the_open() {
    let directory = tempfile::tempdir().unwrap();
    let (open, notes) = noting(|_| given("component"));
    let place = format!("http://{}/blob", open.address());
    let encrypted = Server::tls(directory.path(), move |_| to(&place));
    let reference: Reference =
        format!("localhost:{}/file:1", encrypted.address().port()).parse().unwrap();
    let error = pull(&reference, |options| options.authorities = Some(directory.path().join("ca")));
    let error = error.unwrap_err().to_string();
    assert!(error.contains("would be spoken to without encryption"), "{error}");
    assert!(notes.lock().unwrap().is_empty());
}

#[test]
fn a_token_is_fetched_from_whom_the_registry_names_and_told_to_the_registry_alone() {
    let (tokens, notes) = noting(|_| given(r#"{"access_token":"abc"}"#));
    let (elsewhere, there) = noting(|_| given("component"));
    let challenge =
        format!("Bearer realm=\"http://{}/token\",service=\"the registry\"", tokens.address());
    let place = format!("http://{}/blob", elsewhere.address());
    let (registry, own) = noting(move |request| {
        let answer = match request.target.contains("/manifests/") {
            true => given(manifest()),
            false => to(&place),
        };
        guarded(request, "Bearer abc", &challenge, answer)
    });
    assert_eq!(pull(&file(&registry), known).unwrap(), b"component");
    let wanted = "/token?service=the+registry&scope=repository%3Afile%3Apull".to_owned();
    assert_eq!(*notes.lock().unwrap(), [(wanted.clone(), Some(BASIC.to_owned()))]);
    assert_eq!(there.lock().unwrap().first().unwrap().1, None);
    // The password itself is not for the registry then.
    assert!(own.lock().unwrap().iter().all(|(_, told)| told.as_deref() != Some(BASIC)));

    // One that the registry does not take is the end of it.
    let challenge = format!("Bearer realm=\"http://{}/token\"", tokens.address());
    let never = Server::plain(move |request| guarded(request, "", &challenge, given("")));
    for set in [known as fn(&mut Options), |_| {}] {
        let error = pull(&file(&never), set).unwrap_err();
        assert!(matches!(&error, RegistryError::Unauthorized { .. }), "{error}");
        assert!(error.to_string().contains("it does not take"), "{error}");
    }

    // Whoever has no name gets a token for everybody.
    notes.lock().unwrap().clear();
    assert_eq!(pull(&file(&registry), |_| {}).unwrap(), b"component");
    assert_eq!(*notes.lock().unwrap(), [(wanted, None)]);
}

#[test]
fn no_password_goes_where_it_could_be_read_on_the_way() {
    for (challenge, reason) in [
        ("Bearer realm=\"http://192.0.2.1/token\"", "would be spoken to without encryption"),
        ("Bearer realm=\"file:///etc/passwd\"", "neither HTTP nor HTTPS"),
        ("Bearer realm=\"token\"", "that is no address"),
        ("Digest realm=\"x\"", "it does not say how"),
    ] {
        let server = Server::plain(move |request| guarded(request, "", challenge, given("")));
        let error = pull(&file(&server), known).unwrap_err();
        assert!(matches!(&error, RegistryError::Unauthorized { .. }), "{error}");
        assert!(error.to_string().contains(reason), "{error}");
        assert!(!format!("{error:?}").contains(SECRET));
    }
}

#[test]
fn an_upload_that_is_sent_elsewhere_does_not_take_the_password_along() {
    let (elsewhere, notes) = noting(|_| Answer::of("201 Created", Vec::new()));
    let place = format!("http://{}/upload?state=1", elsewhere.address());
    let registry = Server::plain(move |request| {
        let answer = match request.method.as_str() {
            "HEAD" => Answer::of("404 Not Found", Vec::new()),
            "POST" => Answer::of("202 Accepted", Vec::new()).with("Location", &place),
            _ => Answer::of("201 Created", Vec::new()),
        };
        guarded(request, BASIC, "Basic realm=\"x\"", answer)
    });
    let tag = file(&registry);
    asked(&tag, known).push(&tag, &package("component")).unwrap();
    let notes = notes.lock().unwrap();
    assert_eq!(notes.len(), 2);
    for (target, told) in &*notes {
        assert!(
            target.starts_with("/upload?state=1&digest=sha256%3A") && told.is_none(),
            "{target}"
        );
    }
}

#[test]
fn what_is_sent_follows_no_redirect() {
    let (elsewhere, notes) = noting(|_| Answer::of("201 Created", Vec::new()));
    let place = format!("http://{}/", elsewhere.address());
    let registry = Server::plain(move |request| match request.method.as_str() {
        "HEAD" => Answer::of("404 Not Found", Vec::new()),
        _ => to(&place),
    });
    let tag = file(&registry);
    let error = asked(&tag, known).push(&tag, &package("component")).unwrap_err();
    assert!(matches!(&error, RegistryError::Redirect { .. }), "{error}");
    assert!(notes.lock().unwrap().is_empty());
}

#[test]
fn a_registry_that_is_read_only_and_one_that_is_ill_are_told() {
    for (status, code, told) in [
        (
            "405 Method Not Allowed",
            "UNSUPPORTED",
            "forbids that to whoever asks (405, UNSUPPORTED)",
        ),
        ("503 Service Unavailable", "UNAVAILABLE", "answers 503 (UNAVAILABLE)"),
        ("429 Too Many Requests", "\\u001b[2J", "answers 429"),
    ] {
        let body = format!(r#"{{"errors":[{{"code":"{code}","message":"m"}}]}}"#);
        let server = Server::plain(move |request| match request.method.as_str() {
            "HEAD" => Answer::of("404 Not Found", Vec::new()),
            _ => Answer::of(status, body.clone().into_bytes()),
        });
        let tag = file(&server);
        let error = asked(&tag, |_| {}).push(&tag, &package("component")).unwrap_err().to_string();
        assert!(error.ends_with(told), "{error}");
    }
}
