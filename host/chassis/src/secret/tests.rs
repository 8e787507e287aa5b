//! Where secrets are read, and that they are shown nowhere.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use super::{LONGEST, Secret, of_command as written_by};
use crate::config::{SecretConfig, SecretSource};

fn secret(source: SecretSource, refresh: Duration) -> Secret {
    Secret::new(SecretConfig { name: "token".to_owned(), source, refresh })
}

fn file(content: &[u8], mode: u32) -> (tempfile::TempDir, std::path::PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("secret");
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    (directory, path)
}

fn of_file(content: &[u8], mode: u32) -> Result<String, String> {
    let (_directory, path) = file(content, mode);
    let secret = secret(SecretSource::File(path.clone()), Duration::ZERO);
    let text = secret.get().map(|text| text.expose().to_owned());
    text.map_err(|error| error.to_string().replace(&path.display().to_string(), "FILE"))
}

fn of_command(command: &[&str]) -> Result<String, String> {
    let command = command.iter().map(ToString::to_string).collect();
    let secret = secret(SecretSource::Command(command), Duration::ZERO);
    secret.get().map(|text| text.expose().to_owned()).map_err(|error| error.to_string())
}

#[test]
fn a_file_is_read_without_its_line_end_and_whatever_else_is_in_it_stays() {
    for (content, expected) in [
        ("s3cret", "s3cret"),
        ("s3cret\n", "s3cret"),
        ("s3cret\r\n", "s3cret"),
        (" a\nb \n\n", " a\nb \n"),
    ] {
        assert_eq!(of_file(content.as_bytes(), 0o600).as_deref(), Ok(expected));
    }
}

#[test]
fn a_file_that_can_t_be_a_secret_is_told_of_by_what_is_wrong_with_it() {
    assert_eq!(
        of_file(b"s3cret", 0o644).unwrap_err(),
        "secret `token`: everybody may read the file `FILE` (its mode is 0644): `chmod o= FILE`"
    );
    // As container platforms mount them: for the group of the process.
    assert_eq!(of_file(b"s3cret", 0o440).as_deref(), Ok("s3cret"));
    assert_eq!(of_file(b"\n", 0o600).unwrap_err(), "secret `token`: it is empty");
    assert_eq!(
        of_file(b"s3\xff", 0o600).unwrap_err(),
        "secret `token`: it is not text (UTF-8); keep it in base64"
    );
    assert_eq!(
        of_file(&vec![b'x'; LONGEST + 1], 0o600).unwrap_err(),
        "secret `token`: file `FILE`: longer than 65536 bytes, so it is no secret"
    );
    // Opening a pipe would wait for somebody to write into it, so all that is no file is not opened.
    let directory = tempfile::tempdir().unwrap();
    let folder = secret(SecretSource::File(directory.path().into()), Duration::ZERO);
    let expected = format!("secret `token`: `{}` is not a file", directory.path().display());
    assert_eq!(folder.get().unwrap_err().to_string(), expected);
    let missing = secret(SecretSource::File("/nowhere/token".into()), Duration::ZERO);
    assert_eq!(
        missing.get().unwrap_err().to_string(),
        "secret `token`: file `/nowhere/token`: No such file or directory (os error 2)"
    );
}

#[test]
fn a_secret_of_the_environment_is_named_by_its_variable_when_it_is_missing() {
    let unset = secret(SecretSource::Environment("NO_SUCH_TOKEN".into()), Duration::ZERO);
    assert_eq!(
        unset.get().unwrap_err().to_string(),
        "secret `token`: the variable `NO_SUCH_TOKEN` is not set"
    );
    // Always set where cargo runs the test.
    let set = secret(SecretSource::Environment("CARGO_PKG_NAME".into()), Duration::ZERO);
    assert_eq!(set.get().unwrap().expose(), "wasink-chassis");
}

#[test]
fn a_program_writes_it_and_what_it_complains_of_is_not_repeated() {
    assert_eq!(of_command(&["printf", "s3cret\\n"]).as_deref(), Ok("s3cret"));
    let error = of_command(&["sh", "-c", "echo s3cret; echo s3cret >&2; exit 3"]).unwrap_err();
    assert_eq!(
        error,
        "secret `token`: the program `sh`: it ended with exit status: 3; run it by hand to see why"
    );
    let error = of_command(&["/no/such/program", "s3cret"]).unwrap_err();
    assert!(error.contains("`/no/such/program`") && !error.contains("s3cret"), "{error}");
    let error = of_command(&["sh", "-c", "yes s3cret"]).unwrap_err();
    assert!(error.contains("longer than 65536 bytes") && !error.contains("s3cret"), "{error}");
}

#[test]
fn a_program_that_does_not_end_is_not_waited_for() {
    for script in ["exec sleep 3600", "exec sleep 3600 >&-", "echo s3cret; exec sleep 3600 >&-"] {
        let command = ["sh", "-c", script].map(str::to_owned);
        let error = written_by(&command, Duration::from_millis(100)).map(drop).unwrap_err();
        assert!(!error.contains("s3cret"), "{error}");
        assert!(error.contains("run it by hand to see why"), "{script}: {error}");
    }
}

#[test]
fn a_secret_is_read_again_when_it_is_old_and_used_on_when_it_can_t_be() {
    let (_directory, path) = file(b"old", 0o600);
    let kept = secret(SecretSource::File(path.clone()), Duration::from_secs(3_600));
    let anew = secret(SecretSource::File(path.clone()), Duration::ZERO);
    assert_eq!(kept.get().unwrap().expose(), "old");
    assert_eq!(anew.get().unwrap().expose(), "old");
    fs::write(&path, "new").unwrap();
    assert_eq!(kept.get().unwrap().expose(), "old");
    assert_eq!(anew.get().unwrap().expose(), "new");
    fs::remove_file(&path).unwrap();
    assert_eq!(anew.get().unwrap().expose(), "new");
}

#[test]
fn no_form_of_a_secret_shows_it() {
    let (_directory, path) = file(b"s3cret", 0o600);
    let secret = secret(SecretSource::File(path), Duration::ZERO);
    let text = secret.get().unwrap();
    assert_eq!(
        format!("{secret:?} {text:?} {:#?}", secret.get()),
        "Secret(\"token\") SecretText Ok(\n    SecretText,\n)"
    );
}

#[test]
fn who_waited_while_it_could_not_be_read_does_not_try_again() {
    let secret = secret(SecretSource::Environment("CARGO_PKG_NAME".into()), Duration::ZERO);
    let fail = |at| secret.0.reads.lock().unwrap().failed = Some((at, "no luck".to_owned()));
    let hour = Duration::from_hours(1);
    fail(Instant::now() + hour);
    assert_eq!(secret.get().unwrap_err().to_string(), "secret `token`: no luck");
    fail(Instant::now());
    assert_eq!(secret.get().unwrap().expose(), "wasink-chassis");
}
