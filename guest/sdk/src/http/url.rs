//! Addresses: what a request needs of a URL, read strictly.

use std::fmt;
use std::str::FromStr;

use super::Error;

/// How the receiver is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Without encryption.
    Http,
    /// With TLS.
    Https,
}

impl Scheme {
    /// Its name in a URL.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The port where a URL names none.
    pub fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// An absolute `http` or `https` URL without user and fragment.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Url {
    scheme: Scheme,
    host: String,
    port: Option<u16>,
    path_and_query: String,
}

impl Url {
    /// How the receiver is spoken to.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The host, in lowercase: a name, an IPv4 address, or an IPv6 address in its brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, the scheme's own where the URL names none.
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(self.scheme.default_port())
    }

    /// Host and port; without the port where it is the scheme's own.
    pub fn authority(&self) -> String {
        match self.port {
            Some(port) => format!("{}:{port}", self.host),
            None => self.host.clone(),
        }
    }

    /// Scheme, host and port: what the operator grants.
    pub fn origin(&self) -> String {
        format!("{}://{}", self.scheme.as_str(), self.authority())
    }

    /// The path, with the query where there is one.
    pub fn path_and_query(&self) -> &str {
        &self.path_and_query
    }

    /// The path alone.
    pub fn path(&self) -> &str {
        self.path_and_query.split('?').next().unwrap_or_default()
    }

    /// The same origin with another path, which begins with `/`.
    pub fn with_path(&self, path_and_query: &str) -> Result<Self, Error> {
        let path_and_query = path(path_and_query)?;
        Ok(Self { path_and_query, ..self.clone() })
    }

    /// Where a `Location` in an answer from here leads: a whole URL, or a path on the same origin.
    pub fn follow(&self, location: &str) -> Result<Self, Error> {
        let location = location.split('#').next().unwrap_or_default();
        match location.strip_prefix('/') {
            Some(rest) if rest.starts_with('/') => {
                format!("{}:{location}", self.scheme.as_str()).parse()
            }
            Some(_) => self.with_path(location),
            None => location.parse(),
        }
    }
}

impl FromStr for Url {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = |what: &str| Error::Invalid(format!("`{}`: {what}", text.escape_debug()));
        let (scheme, rest) = text.split_once("://").ok_or_else(|| {
            wrong("a URL begins with `https://` or `http://`, as in `https://example.org/events`")
        })?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return Err(wrong("only `https` and `http` are spoken")),
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at_checked(end).unwrap_or((rest, ""));
        if authority.contains('@') {
            // It may be a password, so it is not repeated.
            return Err(Error::Invalid(
                "a URL names no user and no password; credentials are granted in the host's \
                 configuration"
                    .to_owned(),
            ));
        }
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => {
                let (address, port) = rest.split_once(']').ok_or_else(|| wrong("no `]`"))?;
                if address.parse::<std::net::Ipv6Addr>().is_err() {
                    return Err(wrong("no IPv6 address between `[` and `]`"));
                }
                match port.strip_prefix(':') {
                    Some(port) => (format!("[{address}]"), Some(port)),
                    None if port.is_empty() => (format!("[{address}]"), None),
                    None => return Err(wrong("after `]` comes a `:` with the port, or the path")),
                }
            }
            None => match authority.split_once(':') {
                Some((host, port)) => (host.to_owned(), Some(port)),
                None => (authority.to_owned(), None),
            },
        };
        let host = host.to_ascii_lowercase();
        let named = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        if !host.starts_with('[') && (host.is_empty() || !host.bytes().all(named)) {
            return Err(wrong("its host is no name and no address"));
        }
        let port = match port {
            None => None,
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                let port = digits.parse::<u16>().ok().filter(|port| *port > 0);
                Some(port.ok_or_else(|| wrong("its port is not between 1 and 65535"))?)
            }
            Some(_) => return Err(wrong("its port is no number")),
        };
        let port = port.filter(|port| *port != scheme.default_port());
        let path_and_query = match rest {
            "" => "/".to_owned(),
            query if query.starts_with('?') => path(&format!("/{query}"))?,
            whole => path(whole)?,
        };
        Ok(Self { scheme, host, port, path_and_query })
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.origin(), self.path_and_query)
    }
}

fn path(text: &str) -> Result<String, Error> {
    let wrong = |what: &str| Err(Error::Invalid(format!("`{}`: {what}", text.escape_debug())));
    if !text.starts_with('/') {
        return wrong("a path begins with `/`");
    }
    if text.contains('#') {
        return wrong("a fragment, from the `#` on, is not sent to a receiver; leave it out");
    }
    let wanted = |byte: u8| (b'!'..0x7f).contains(&byte) && !b"\"<>\\^`{|}".contains(&byte);
    if !text.bytes().all(wanted) {
        return wrong("a path or query has a character that must be written with `%`");
    }
    Ok(text.to_owned())
}
