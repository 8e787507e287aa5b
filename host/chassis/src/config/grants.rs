//! What a sink's plugin may reach, resolved: origins, targets, networks, secrets.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::PathBuf,
    time::Duration,
};

use ipnet::IpNet;
use serde::Serialize;
use serde_json::{Map, Value};

use super::{
    PluginConfig, error::ConfigError, nearest::quoted_list, path::KeyPath, raw, resolve::Resolver,
};
use crate::plugin::{Ask, Need};

/// What a sink's plugin may reach outside of its sandbox. The default is nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct GrantsConfig {
    /// Its data directory, which the plugin sees as `/data`. It may not be there yet.
    pub directory: Option<PathBuf>,
    /// Whether its standard error is the process's own.
    pub stderr: bool,
    /// Whether its log lines are not limited.
    pub log: bool,
    /// Names of environment variables that it may see.
    pub environment: Vec<String>,
    /// Secrets that it may ask for.
    pub secrets: Vec<SecretConfig>,
    /// Where it may connect to over TCP.
    pub tcp: Vec<TcpTarget>,
    /// Where it may send HTTP requests to.
    pub http: Vec<HttpGrant>,
}

/// A secret: where it is kept, never what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SecretConfig {
    /// Its own among all secrets.
    pub name: String,
    /// Where it is kept.
    pub source: SecretSource,
    /// For how long it is used before it is read again.
    pub refresh: Duration,
}

impl SecretConfig {
    /// A secret of this name that is kept there, and read again whenever it is asked for.
    pub fn new(name: impl Into<String>, source: SecretSource) -> Self {
        Self { name: name.into(), source, refresh: Duration::ZERO }
    }
}

/// Where a secret is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// In a file that holds nothing else.
    File(PathBuf),
    /// In an environment variable.
    Environment(String),
    /// A program writes it to its standard output: the program, and its arguments.
    Command(Vec<String>),
}

/// An origin that requests may be sent to, and what they carry.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HttpGrant {
    /// The origin.
    pub origin: HttpOrigin,
    /// Addresses that its name may lead to although they are not public.
    pub networks: Vec<IpNet>,
    /// What the host puts on each request.
    pub credential: Option<Credential>,
    /// The secret that the host signs each request with.
    pub signature: Option<SecretConfig>,
    /// File with the certificates of the authorities that are trusted, instead of the system's.
    pub ca: Option<PathBuf>,
    /// The proxy that requests go through.
    pub proxy: Option<HttpOrigin>,
}

/// What proves to a receiver who sends.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Credential {
    /// `Authorization: Bearer …` (RFC 6750).
    Bearer(SecretConfig),
    /// `Authorization: Basic …` (RFC 7617).
    Basic {
        /// The user's name.
        user: String,
        /// The password.
        password: SecretConfig,
    },
    /// A header of its own.
    Header {
        /// The header's name, in lower case.
        name: String,
        /// Its value.
        key: SecretConfig,
    },
}

impl Credential {
    /// The secret in it.
    pub fn secret(&self) -> &SecretConfig {
        match self {
            Self::Bearer(secret)
            | Self::Basic { password: secret, .. }
            | Self::Header { key: secret, .. } => secret,
        }
    }
}

/// Scheme, host and port of a URL.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HttpOrigin {
    /// Whether it is HTTPS; HTTP otherwise.
    pub https: bool,
    /// The host.
    pub host: Host,
    /// The port.
    pub port: u16,
}

/// A host as it is named.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Host {
    /// By a name, in lower case.
    Name(String),
    /// By its address.
    Address(IpAddr),
}

/// Where TCP connections may go to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TcpTarget {
    /// The hosts.
    pub hosts: TcpHosts,
    /// The port.
    pub port: u16,
}

/// Hosts of a [`TcpTarget`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TcpHosts {
    /// The one of this name, in lower case.
    Name(String),
    /// All of a network.
    Network(IpNet),
}

impl HttpOrigin {
    /// Reads `scheme://host` or `scheme://host:port`.
    ///
    /// # Errors
    ///
    /// What was expected instead, for people.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const EXPECTED: &str = "scheme, host and port, as in `https://api.example.com`";
        let (https, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (_, Some(rest)) => (false, rest),
            _ => return Err(EXPECTED),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains('@') {
            return Err("an origin without a user; credentials are named by `bearer`, `user` and \
                        `password`, or `header` and `key`");
        }
        if rest.contains(['/', '?', '#']) {
            return Err("an origin without a path: scheme, host and port");
        }
        let (host, port) = match split_port(rest) {
            (host, None) => (host, if https { 443 } else { 80 }),
            (host, Some(port)) => (host, port.parse().map_err(|_| EXPECTED)?),
        };
        if port == 0 {
            return Err(EXPECTED);
        }
        Ok(Self { https, host: Host::parse(host)?, port })
    }

    /// The origin of a URL.
    ///
    /// # Errors
    ///
    /// As for [`parse`](Self::parse).
    pub fn of_url(url: &str) -> Result<Self, &'static str> {
        let start = url.find("://").map_or(0, |at| at + 3);
        let after = url.get(start..).unwrap_or_default();
        let end = after.find(['/', '?', '#']).map_or(url.len(), |at| start + at);
        Self::parse(url.get(..end).unwrap_or_default())
    }
}

impl fmt::Display for HttpOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, usual) = if self.https { ("https", 443) } else { ("http", 80) };
        write!(f, "{scheme}://{}", self.host)?;
        if self.port == usual { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}

impl Host {
    fn parse(text: &str) -> Result<Self, &'static str> {
        if let Some(address) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
            let address: Ipv6Addr =
                address.parse().map_err(|_| "an IPv6 address between `[` and `]`")?;
            return Ok(Self::Address(IpAddr::V6(address).to_canonical()));
        }
        if let Ok(address) = text.parse::<Ipv4Addr>() {
            return Ok(Self::Address(address.into()));
        }
        let name = text.to_ascii_lowercase();
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        if name.len() > 253 || !name.split('.').all(label) {
            return Err(
                "the name or the address of a host; a name with other letters than ASCII's \
                        is written in its `xn--` form",
            );
        }
        // What some resolvers take for an address in another notation (`127.1`, `0x7f000001`).
        let last = name.rsplit('.').next().unwrap_or_default();
        if last.starts_with("0x") || last.bytes().all(|b| b.is_ascii_digit()) {
            return Err("the name of a host, or an address with all its four numbers");
        }
        Ok(Self::Name(name))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
            Self::Address(IpAddr::V4(address)) => write!(f, "{address}"),
        }
    }
}

impl TcpTarget {
    /// Reads `host:port` or `addresses:port`.
    ///
    /// # Errors
    ///
    /// What was expected instead, for people.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const EXPECTED: &str = "`host:port` or `addresses:port`, as in `db.example.com:5432`, \
                                `10.1.0.0/16:5432` or `[fd00::]/8:5432`";
        let (hosts, port) = text.rsplit_once(':').ok_or(EXPECTED)?;
        let port = port.parse().ok().filter(|port| *port > 0).ok_or(EXPECTED)?;
        let hosts = match hosts.split_once('/') {
            Some((address, bits)) => {
                let Host::Address(address) = Host::parse(address)? else { return Err(EXPECTED) };
                let bits = bits.parse().map_err(|_| EXPECTED)?;
                TcpHosts::Network(IpNet::new(address, bits).map_err(|_| EXPECTED)?.trunc())
            }
            None => match Host::parse(hosts)? {
                Host::Address(address) => TcpHosts::Network(address.into()),
                Host::Name(name) => TcpHosts::Name(name),
            },
        };
        Ok(Self { hosts, port })
    }
}

impl fmt::Display for TcpTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.hosts {
            TcpHosts::Name(name) => write!(f, "{name}")?,
            TcpHosts::Network(network) => {
                write!(f, "{}", Host::Address(network.addr()))?;
                if network.prefix_len() < network.max_prefix_len() {
                    write!(f, "/{}", network.prefix_len())?;
                }
            }
        }
        write!(f, ":{}", self.port)
    }
}

/// The host, and the port where there is one.
fn split_port(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once(':') {
        // The last colon of an IPv6 address is within its brackets.
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (text, None),
    }
}

/// Networks by their word or their notation.
fn networks(text: &str) -> Result<Vec<IpNet>, &'static str> {
    const EXPECTED: &str = "`loopback`, `private`, `link-local` or a network, as in `10.1.0.0/16`";
    let list: &[(IpAddr, u8)] = match text {
        "loopback" => {
            &[(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8), (IpAddr::V6(Ipv6Addr::LOCALHOST), 128)]
        }
        // RFC 1918, RFC 6598 and RFC 4193.
        "private" => &[
            (IpAddr::V4(Ipv4Addr::new(10, 0, 0, 0)), 8),
            (IpAddr::V4(Ipv4Addr::new(172, 16, 0, 0)), 12),
            (IpAddr::V4(Ipv4Addr::new(192, 168, 0, 0)), 16),
            (IpAddr::V4(Ipv4Addr::new(100, 64, 0, 0)), 10),
            (IpAddr::V6(Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0)), 7),
        ],
        // RFC 3927 and RFC 4291.
        "link-local" => &[
            (IpAddr::V4(Ipv4Addr::new(169, 254, 0, 0)), 16),
            (IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0)), 10),
        ],
        _ => {
            let network = match text.parse::<IpNet>() {
                Ok(network) => network.trunc(),
                Err(_) => text.parse::<IpAddr>().map_err(|_| EXPECTED)?.into(),
            };
            return Ok(vec![network]);
        }
    };
    list.iter().map(|&(address, bits)| IpNet::new(address, bits).map_err(|_| EXPECTED)).collect()
}

/// A sink's grants where they are written, and the secrets that they may name.
pub(super) struct Written<'a> {
    pub(super) at: KeyPath,
    pub(super) raw: &'a raw::Grants,
    /// The directory that `true` stands for.
    pub(super) own: PathBuf,
}

impl Resolver<'_> {
    /// All secrets, checked.
    pub(super) fn secrets(&mut self, raw: &[raw::Secret]) {
        for (index, secret) in raw.iter().enumerate() {
            let at = KeyPath::of(["secret"]).index(index);
            let name = &secret.name;
            if let Some(first) = raw.iter().take(index).position(|other| other.name == *name) {
                let message =
                    format!("`{name}` is the name of secret[{first}] already; choose another");
                self.wrong(&at.key("name"), message);
            }
            let file = secret.file.as_ref().map(|path| SecretSource::File(path.into()));
            let variable = secret.environment.clone().map(SecretSource::Environment);
            let command = secret.command.clone().map(SecretSource::Command);
            let mut sources: Vec<_> = [file, variable, command].into_iter().flatten().collect();
            let (Some(source), true) = (sources.pop(), sources.is_empty()) else {
                let message =
                    format!("secret `{name}` needs one of `file`, `environment` and `command`");
                self.wrong(&at, message);
                continue;
            };
            let refresh = secret.refresh.0;
            self.secrets.push(SecretConfig { name: name.clone(), source, refresh });
        }
    }

    /// What a sink is granted.
    pub(super) fn grants(&mut self, written: Written<'_>) -> GrantsConfig {
        let Written { at, raw, own } = written;
        let directory = match &raw.directory {
            raw::DirectoryGrant::Whether(false) => None,
            raw::DirectoryGrant::Whether(true) => Some(own),
            raw::DirectoryGrant::At(path) => Some(PathBuf::from(path)),
        };
        let key = at.key("secrets");
        let named = raw.secrets.iter().enumerate();
        let secrets = named.filter_map(|(n, name)| self.secret(&key.index(n), name)).collect();
        let mut tcp = Vec::new();
        for (index, target) in raw.tcp.iter().enumerate() {
            match TcpTarget::parse(target) {
                Ok(target) => tcp.push(target),
                Err(expected) => self.expected(&at.key("tcp").index(index), expected, target),
            }
        }
        let mut http: Vec<HttpGrant> = Vec::new();
        for (index, grant) in raw.http.iter().enumerate() {
            let at = at.key("http").index(index);
            let Some(grant) = self.http_grant(&at, grant) else { continue };
            if http.iter().any(|other| other.origin == grant.origin) {
                let message = format!("`{}` is granted already", grant.origin);
                self.wrong(&at.key("origin"), message);
            }
            http.push(grant);
        }
        let raw::Grants { stderr, log, ref environment, .. } = *raw;
        GrantsConfig {
            directory,
            stderr,
            log,
            environment: environment.clone(),
            secrets,
            tcp,
            http,
        }
    }

    fn http_grant(&mut self, at: &KeyPath, raw: &raw::HttpGrant) -> Option<HttpGrant> {
        let origin = self.origin(&at.key("origin"), &raw.origin);
        let mut allowed = Vec::new();
        for (index, text) in raw.networks.iter().enumerate() {
            match networks(text) {
                Ok(networks) => allowed.extend(networks),
                Err(expected) => self.expected(&at.key("networks").index(index), expected, text),
            }
        }
        let proxy = match &raw.proxy {
            Some(proxy) => {
                let at = at.key("proxy");
                let proxy = self.origin(&at, proxy)?;
                if proxy.https {
                    self.wrong(&at, "expected a proxy that is spoken to over `http://`".to_owned());
                }
                if !raw.networks.is_empty() {
                    let message = "with a `proxy` it is the proxy that looks names up: leave \
                                   `networks` out";
                    self.wrong(&at, message.to_owned());
                }
                Some(proxy)
            }
            None => None,
        };
        Some(HttpGrant {
            origin: origin?,
            networks: allowed,
            credential: self.credential(at, raw),
            signature: self.optional_secret(&at.key("signature"), raw.signature.as_ref()),
            ca: raw.ca.as_ref().map(PathBuf::from),
            proxy,
        })
    }

    fn credential(&mut self, at: &KeyPath, raw: &raw::HttpGrant) -> Option<Credential> {
        let pairs = [
            ("user", raw.user.is_some(), "password", raw.password.is_some()),
            ("header", raw.header.is_some(), "key", raw.key.is_some()),
        ];
        for (one, has_one, other, has_other) in pairs {
            if has_one != has_other {
                let (there, missing) = if has_one { (one, other) } else { (other, one) };
                self.wrong(&at.key(there), format!("it needs `{missing}` beside it"));
            }
        }
        let bearer = self.optional_secret(&at.key("bearer"), raw.bearer.as_ref());
        let password = self.optional_secret(&at.key("password"), raw.password.as_ref());
        let key = self.optional_secret(&at.key("key"), raw.key.as_ref());
        let basic = raw.user.clone().zip(password);
        let header = raw.header.as_ref().map(|name| name.to_ascii_lowercase()).zip(key);
        if let Some((name, _)) = &header
            && FORBIDDEN.contains(&name.as_str())
        {
            let message = format!("`{name}` belongs to the connection, or is the host's own");
            self.wrong(&at.key("header"), message);
        }
        let bearer = bearer.map(Credential::Bearer);
        let basic = basic.map(|(user, password)| Credential::Basic { user, password });
        let header = header.map(|(name, key)| Credential::Header { name, key });
        let mut all: Vec<_> = [bearer, basic, header].into_iter().flatten().collect();
        let credential = all.pop();
        if !all.is_empty() {
            let message =
                "expected one of `bearer`, `user` with `password`, and `header` with `key`";
            self.wrong(at, message.to_owned());
        }
        credential
    }

    fn origin(&mut self, at: &KeyPath, text: &str) -> Option<HttpOrigin> {
        HttpOrigin::parse(text).map_err(|expected| self.expected(at, expected, text)).ok()
    }

    fn optional_secret(&mut self, at: &KeyPath, name: Option<&String>) -> Option<SecretConfig> {
        name.and_then(|name| self.secret(at, name))
    }

    pub(super) fn secret(&mut self, at: &KeyPath, name: &str) -> Option<SecretConfig> {
        let found = self.secrets.iter().find(|secret| secret.name == name).cloned();
        if found.is_none() {
            let known: Vec<_> = self.secrets.iter().map(|secret| secret.name.as_str()).collect();
            let known = match known.is_empty() {
                true => "there is none; make it a `[[secret]]`".to_owned(),
                false => format!("there are: {}", quoted_list(known)),
            };
            self.wrong(at, format!("no secret is named `{}`; {known}", name.escape_debug()));
        }
        found
    }

    fn expected(&mut self, at: &KeyPath, expected: &str, got: &str) {
        let got = super::check::shown(&got.into());
        self.wrong(at, format!("expected {expected}, got {got}"));
    }
}

/// Headers that no credential may be put into: they frame the message, or the host sets them.
const FORBIDDEN: [&str; 12] = [
    "connection",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Whether a sink is granted what its plugin asks for and can do nothing without.
///
/// # Errors
///
/// Each grant that is missing, with the line to write.
pub fn check_asks(asks: &[Ask], sink: &PluginConfig) -> Result<(), Vec<ConfigError>> {
    let required = asked(asks, sink).into_iter().filter(|asked| asked.ask.required);
    let missing = required.filter_map(|asked| Some((asked.write?, asked.what, asked.ask.reason)));
    let errors: Vec<_> = missing
        .map(|(write, what, reason)| {
            let at = sink.grants_key();
            let reason = match reason.as_str() {
                "" => String::new(),
                reason => format!(" ({})", reason.escape_debug()),
            };
            let message = format!(
                "plugin `{}` needs {what}{reason}; write `{write}` into `{at}`",
                sink.plugin
            );
            ConfigError::new(sink.origins.around(&at), &at, message)
        })
        .collect();
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

/// What a plugin asks for, and whether its sink is granted it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Asked {
    /// What it asks for.
    #[serde(flatten)]
    pub ask: Ask,
    /// The same in words, with what the sink's settings say.
    pub what: String,
    /// The line to write into the sink's grants, where it is not granted.
    pub write: Option<String>,
}

/// What of a plugin's asks its sink is granted. What its settings have nothing for is left out.
pub fn asked(asks: &[Ask], sink: &PluginConfig) -> Vec<Asked> {
    let asked = |ask: &Ask| {
        let (what, granted, line) = weigh(&ask.need, sink)?;
        Some(Asked { ask: ask.clone(), what, write: (!granted).then_some(line) })
    };
    asks.iter().filter_map(asked).collect()
}

/// What is needed, in words; whether it is granted; the line that grants it.
fn weigh(need: &Need, sink: &PluginConfig) -> Option<(String, bool, String)> {
    let grants = &sink.grants;
    Some(match need {
        Need::Directory => (
            "a data directory".to_owned(),
            grants.directory.is_some(),
            "directory = true".to_owned(),
        ),
        Need::Stderr => {
            ("the standard error".to_owned(), grants.stderr, "stderr = true".to_owned())
        }
        Need::Log => {
            let what = "to write as many log lines as it likes";
            (what.to_owned(), grants.log, "log = true".to_owned())
        }
        Need::Environment(name) => {
            let name = meant(name, &sink.settings)?;
            let line = format!("environment = [{}]", Value::from(&*name));
            (format!("the variable `{name}`"), grants.environment.contains(&name), line)
        }
        Need::Secret(name) => {
            let name = meant(name, &sink.settings)?;
            let granted = grants.secrets.iter().any(|secret| secret.name == name);
            let line = format!("secrets = [{}]", Value::from(&*name));
            (format!("the secret `{name}`"), granted, line)
        }
        Need::Http(url) => {
            let url = meant(url, &sink.settings)?;
            // A URL that is none is the plugin's to complain about.
            let origin = HttpOrigin::of_url(&url).ok()?;
            let granted = grants.http.iter().any(|grant| grant.origin == origin);
            let line = format!("http = [{{ origin = \"{origin}\" }}]");
            (format!("to send requests to `{origin}`"), granted, line)
        }
        Need::Tcp(target) => {
            let target = TcpTarget::parse(&meant(target, &sink.settings)?).ok()?;
            let covered = |grant: &TcpTarget| match (&grant.hosts, &target.hosts) {
                (TcpHosts::Network(all), TcpHosts::Network(one)) => all.contains(one),
                (all, one) => all == one,
            };
            let granted =
                grants.tcp.iter().any(|grant| grant.port == target.port && covered(grant));
            let line = format!("tcp = [\"{target}\"]");
            (format!("to connect to `{target}`"), granted, line)
        }
    })
}

/// The text itself, or what the settings have where it points to.
fn meant(text: &str, settings: &Map<String, Value>) -> Option<String> {
    if !text.starts_with('/') {
        return Some(text.to_owned());
    }
    let settings = Value::Object(settings.clone());
    settings.pointer(text)?.as_str().map(str::to_owned)
}
