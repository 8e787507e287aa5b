//! Grants, secrets and limits: what is accepted, what is refused, and what a plugin's asks come to.

use std::path::Path;
use std::time::Duration;

use super::load_file;
use crate::config::{
    Config, Credential, HttpOrigin, SecretSource, SinkConfig, TcpTarget, check_asks,
};
use crate::plugin::{Ask, Need};

const ALL: &str = r#"
[limits]
memory = "64MiB"
log_rate = 5

[[secret]]
name = "token"
file = "/run/secrets/token"

[[secret]]
name = "password"
environment = "DB_PASSWORD"
refresh = "0s"

[[secret]]
name = "signing"
command = ["pass", "show", "signing"]

[[sink]]
name = "billing"
plugin = "http"
streams = ["usage"]

[sink.limits]
memory = "1GiB"
http_time = "10s"

[sink.grants]
directory = "/srv/billing"
stderr = true
log = true
environment = ["TZ"]
secrets = ["password"]
tcp = ["DB.example.com:5432", "10.1.2.3/16:5432", "10.9.9.9:1", "[fd00::1]/8:2", "[::1]:3"]

[[sink.grants.http]]
origin = "https://API.example.com/"
bearer = "token"
signature = "signing"
networks = ["loopback", "10.1.0.0/16"]
ca = "ca.pem"

[[sink.grants.http]]
origin = "http://[::1]:8080"
user = "meter"
password = "password"
proxy = "http://proxy:3128"

[[sink.grants.http]]
origin = "http://api.example.com"
header = "X-Api-Key"
key = "token"
"#;

fn billing(text: &str) -> SinkConfig {
    let config = Config::from_toml(text).unwrap_or_else(|errors| panic!("{errors}"));
    config.sinks.into_iter().find(|sink| sink.name == "billing").unwrap()
}

#[test]
fn everything_that_can_be_granted_arrives() {
    let sink = billing(ALL);
    let grants = &sink.grants;
    assert_eq!(grants.directory.as_deref(), Some(Path::new("/srv/billing")));
    assert!(grants.stderr && grants.log);
    assert_eq!(grants.environment, ["TZ"]);
    assert_eq!(grants.secrets[0].name, "password");
    assert_eq!(grants.secrets[0].source, SecretSource::Environment("DB_PASSWORD".to_owned()));
    assert_eq!(grants.secrets[0].refresh, Duration::ZERO);
    let tcp: Vec<_> = grants.tcp.iter().map(ToString::to_string).collect();
    assert_eq!(
        tcp,
        ["db.example.com:5432", "10.1.0.0/16:5432", "10.9.9.9:1", "[fd00::]/8:2", "[::1]:3"]
    );
    let origins: Vec<_> = grants.http.iter().map(|grant| grant.origin.to_string()).collect();
    assert_eq!(origins, ["https://api.example.com", "http://[::1]:8080", "http://api.example.com"]);
    let [first, second, third] = &grants.http[..] else { panic!("{:?}", grants.http) };
    assert!(
        matches!(&first.credential, Some(Credential::Bearer(secret)) if secret.name == "token")
    );
    assert_eq!(first.signature.as_ref().unwrap().name, "signing");
    let networks: Vec<_> = first.networks.iter().map(ToString::to_string).collect();
    assert_eq!(networks, ["127.0.0.0/8", "::1/128", "10.1.0.0/16"]);
    assert_eq!(first.ca.as_deref(), Some(Path::new("ca.pem")));
    assert!(matches!(&second.credential, Some(Credential::Basic { user, .. }) if user == "meter"));
    assert_eq!(second.proxy.as_ref().unwrap().to_string(), "http://proxy:3128");
    assert!(
        matches!(&third.credential, Some(Credential::Header { name, .. }) if name == "x-api-key")
    );
}

#[test]
fn a_sink_s_limits_go_before_those_of_all() {
    let config = Config::from_toml(ALL).unwrap();
    assert_eq!((config.limits.memory_bytes, config.limits.log_rate), (64 << 20, 5));
    let limits = billing(ALL).limits;
    assert_eq!((limits.memory_bytes, limits.log_rate), (1 << 30, 5));
    assert_eq!(limits.http_time, Duration::from_secs(10));
    assert_eq!(Config::default().limits, crate::limits::Limits::default());
}

#[test]
fn nothing_of_a_secret_but_where_it_is_kept_is_in_the_configuration() {
    let config = Config::from_toml(ALL).unwrap();
    let printed = config.explain_toml();
    assert!(printed.contains("file = \"/run/secrets/token\""), "{printed}");
    let again = Config::from_toml(&printed).unwrap_or_else(|errors| panic!("{errors}\n{printed}"));
    assert_eq!(again, config);
}

#[test]
fn what_is_wrong_with_grants_is_told_at_its_place() {
    for (line, expected) in [
        ("tcp = ['db:0']", "tcp[0]: expected `host:port` or `addresses:port`, as in"),
        ("tcp = ['db']", "tcp[0]: expected `host:port`"),
        ("tcp = ['db/8:1']", "tcp[0]: expected `host:port`"),
        (
            "tcp = ['127.1:80']",
            "tcp[0]: expected the name of a host, or an address with all its four",
        ),
        ("tcp = ['a b:80']", "tcp[0]: expected the name or the address of a host"),
        ("secrets = ['tokn']", "secrets[0]: no secret is named `tokn`; there are: `token`"),
        ("http = [{ origin = 'api' }]", "http[0].origin: expected scheme, host and port, as in"),
        ("http = [{ origin = 'ftp://api' }]", "http[0].origin: expected scheme, host and port"),
        ("http = [{ origin = 'http://api/v1' }]", "expected an origin without a path"),
        ("http = [{ origin = 'http://me@api' }]", "expected an origin without a user"),
        ("http = [{ origin = 'http://0x7f000001' }]", "expected the name of a host, or an address"),
        ("http = [{ origin = 'http://2130706433' }]", "expected the name of a host, or an address"),
        ("http = [{ origin = 'http://münchen.de' }]", "is written in its `xn--` form"),
        (
            "http = [{ origin = 'http://a:99999' }]",
            "http[0].origin: expected scheme, host and port",
        ),
        (
            "http = [{ origin = 'http://a' }, { origin = 'http://A:80' }]",
            "`http://a` is granted already",
        ),
        (
            "http = [{ origin = 'http://a', bearer = 'no' }]",
            "http[0].bearer: no secret is named `no`",
        ),
        (
            "http = [{ origin = 'http://a', user = 'u' }]",
            "http[0].user: it needs `password` beside it",
        ),
        (
            "http = [{ origin = 'http://a', key = 'token' }]",
            "http[0].key: it needs `header` beside it",
        ),
        (
            "http = [{ origin = 'http://a', bearer = 'token', user = 'u', password = 'token' }]",
            "http[0]: expected one of `bearer`, `user` with `password`, and `header` with `key`",
        ),
        (
            "http = [{ origin = 'http://a', header = 'Host', key = 'token' }]",
            "http[0].header: `host` belongs to the connection, or is the host's own",
        ),
        (
            "http = [{ origin = 'http://a', networks = ['lan'] }]",
            "networks[0]: expected `loopback`, ",
        ),
        ("http = [{ origin = 'http://a:0' }]", "http[0].origin: expected scheme, host and port"),
        (
            "http = [{ origin = 'http://a', proxy = 'https://p' }]",
            "expected a proxy that is spoken to",
        ),
        (
            "http = [{ origin = 'http://a', proxy = 'http://p', networks = ['private'] }]",
            "http[0].proxy: with a `proxy` it is the proxy that looks names up",
        ),
        ("environment = ['A=B']", "environment[0]: expected the name of an environment variable"),
        ("directory = 3", "grants.directory: expected `true`, `false` or a path, got `3`"),
        ("nework = 1", "unknown key `nework`"),
    ] {
        let text = format!(
            "[[secret]]\nname = 'token'\nfile = 'f'\n[[sink]]\nname = 'a'\nplugin = 'p'\n\
             streams = ['usage']\n[sink.grants]\n{line}"
        );
        let errors = load_file("w.toml", &text, &[], &[]).unwrap_err();
        assert!(errors.starts_with("w.toml:9: sink[0].grants"), "{line}: {errors}");
        assert!(errors.contains(expected), "{line}: {errors}");
    }
}

#[test]
fn a_word_for_networks_means_those_and_no_others() {
    for (word, expected) in [
        ("loopback", &["127.0.0.0/8", "::1/128"][..]),
        (
            "private",
            &["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"],
        ),
        ("link-local", &["169.254.0.0/16", "fe80::/10"]),
        ("10.1.2.3", &["10.1.2.3/32"]),
        ("10.1.2.3/16", &["10.1.0.0/16"]),
    ] {
        let text = format!(
            "[[sink]]\nname = 'a'\nplugin = 'p'\nstreams = ['usage']\n\
             grants.http = [{{ origin = 'http://a', networks = ['{word}'] }}]"
        );
        let config = Config::from_toml(&text).unwrap();
        let sink = config.sinks.iter().find(|sink| sink.name == "a").unwrap();
        let networks: Vec<_> =
            sink.grants.http[0].networks.iter().map(ToString::to_string).collect();
        assert_eq!(networks, expected, "{word}");
    }
}

#[test]
fn a_secret_has_one_name_and_one_place() {
    let text = "[[secret]]\nname = 'a'\n[[secret]]\nname = 'a'\nfile = 'f'\nenvironment = 'E'\n\
                [[secret]]\nname = 'A'\nfile = 'f'\n";
    let errors = load_file("w.toml", text, &[], &[]).unwrap_err();
    let lines: Vec<_> = errors.lines().collect();
    assert_eq!(
        lines,
        [
            "w.toml:8: secret[2].name: expected the name of a secret (`a`-`z`, `0`-`9`, `-`), got `\"A\"`"
        ]
    );
    let text = text.replace("'A'", "'b'");
    let errors = load_file("w.toml", &text, &[], &[]).unwrap_err();
    for expected in [
        "secret[0]: secret `a` needs one of `file`, `environment` and `command`",
        "secret[1]: secret `a` needs one of `file`, `environment` and `command`",
        "secret[1].name: `a` is the name of secret[0] already; choose another",
    ] {
        assert!(errors.contains(expected), "{errors}");
    }
}

#[test]
fn neither_grants_in_a_list_nor_secrets_come_from_the_environment() {
    for (variable, expected) in [
        (
            "WASINK_SECRET__FILE",
            "a `[[secret]]` can't be set by the environment; write it to the file",
        ),
        ("WASINK_USAGE__GRANTS__HTTP", "a `[[http]]` can't be set by the environment"),
    ] {
        let errors = super::load(&[(variable, "x")], &[]).unwrap_err().to_string();
        assert!(errors.contains(expected), "{errors}");
    }
    let config = super::load(&[("WASINK_USAGE__GRANTS__DIRECTORY", "/d")], &[]).unwrap();
    assert_eq!(config.sinks[1].grants.directory.as_deref(), Some(Path::new("/d")));
    for (text, expected) in [("true", Some(Path::new("wasink-data/sinks/usage"))), ("false", None)]
    {
        let config = super::load(&[("WASINK_USAGE__GRANTS__DIRECTORY", text)], &[]).unwrap();
        assert_eq!(config.sinks[1].grants.directory.as_deref(), expected);
    }
}

#[test]
fn the_directory_of_file_is_set_by_its_path_alone() {
    let text = "[metering]\nbackend = 'file'\ngrants.directory = true";
    let errors = load_file("w.toml", text, &[], &[]).unwrap_err();
    assert_eq!(
        errors,
        "w.toml:3: metering.grants.directory: the directory of `file` is that of `metering.file.path`"
    );
}

fn asks(need: Need) -> Vec<Ask> {
    vec![Ask { need, required: true, reason: "to bill".to_owned() }]
}

/// A sink that is granted nothing, with these settings.
fn bare(settings: &str) -> SinkConfig {
    billing(&format!(
        "[[sink]]\nname = 'billing'\nplugin = 'http'\nstreams = ['usage']\nsettings = {settings}"
    ))
}

#[test]
fn a_missing_grant_is_told_of_with_the_line_to_write() {
    let sink = bare("{ url = 'https://API.example.com/v1/events?x=1', db = 'db:5432', s = 'tok' }");
    for (need, expected) in [
        (Need::Directory, "a data directory (to bill); write `directory = true`"),
        (Need::Stderr, "the standard error (to bill); write `stderr = true`"),
        (Need::Log, "to write as many log lines as it likes (to bill); write `log = true`"),
        (
            Need::Http("/url".into()),
            "to send requests to `https://api.example.com` (to bill); write \
             `http = [{ origin = \"https://api.example.com\" }]`",
        ),
        (Need::Tcp("/db".into()), "to connect to `db:5432` (to bill); write `tcp = [\"db:5432\"]`"),
        (Need::Secret("/s".into()), "the secret `tok` (to bill); write `secrets = [\"tok\"]`"),
        (
            Need::Environment("TZ".into()),
            "the variable `TZ` (to bill); write `environment = [\"TZ\"]`",
        ),
    ] {
        let errors = check_asks(&asks(need.clone()), &sink).unwrap_err();
        let [error] = &errors[..] else { panic!("{errors:?}") };
        let error = error.to_string();
        let expected = format!("plugin `http` needs {expected} into `sink[0].grants`");
        assert!(error.contains(&expected), "{error}");
        assert!(error.starts_with("configuration:1: sink[0].grants: "), "{error}");
        let mut optional = asks(need);
        optional[0].required = false;
        assert_eq!(check_asks(&optional, &sink), Ok(()));
    }
}

#[test]
fn what_is_written_as_the_message_says_is_granted() {
    let sink = billing(&format!("{ALL}\n[sink.settings]\nurl = 'https://api.example.com/v1'\n"));
    for need in [
        Need::Directory,
        Need::Stderr,
        Need::Log,
        Need::Http("/url".into()),
        Need::Http("http://[::1]:8080/x".into()),
        // Not in the settings, so not asked for.
        Need::Http("/nowhere".into()),
        Need::Tcp("db.example.com:5432".into()),
        Need::Tcp("10.1.200.1:5432".into()),
        Need::Secret("password".into()),
        Need::Environment("TZ".into()),
    ] {
        assert_eq!(check_asks(&asks(need.clone()), &sink), Ok(()), "{need:?}");
    }
    // A credential of the host's is not the plugin's to ask for.
    for need in [Need::Secret("token".into()), Need::Tcp("10.2.0.1:5432".into())] {
        assert!(check_asks(&asks(need.clone()), &sink).is_err(), "{need:?}");
    }
}

#[test]
fn an_origin_is_the_same_however_it_is_written_and_no_other_is() {
    let origin = |text: &str| HttpOrigin::of_url(text).unwrap();
    assert_eq!(origin("https://a.b/x?y#z"), origin("https://A.b:443"));
    assert_eq!(origin("http://[::ffff:10.0.0.1]/"), origin("http://10.0.0.1"));
    assert_ne!(origin("https://a.b"), origin("http://a.b:443"));
    assert_ne!(origin("https://a.b"), origin("https://a.b.c"));
    for wrong in
        ["", "https://", "https:///x", "https://a.b@c/", "//a", "https://a..b", "https://a:/"]
    {
        assert!(HttpOrigin::of_url(wrong).is_err(), "{wrong}");
    }
    assert_eq!(TcpTarget::parse("[::1]:80").unwrap().to_string(), "[::1]:80");
}
