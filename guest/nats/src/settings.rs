//! What an operator sets of a server.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde::de::IgnoredAny;
use wasink_guest::Error;

/// Where the servers are, and who asks.
#[derive(Debug, Clone, Deserialize)]
pub struct Server {
    /// The servers of one cluster, as `host:port`; the first that answers is taken.
    pub servers: Vec<String>,
    /// Name of the secret that holds a token.
    pub token: Option<String>,
    /// Whose password it is.
    pub user: Option<String>,
    /// Name of the secret that holds a password.
    pub password: Option<String>,
    /// Name of the secret that holds a `.creds` file: a JWT and its seed.
    pub credentials: Option<String>,
    /// The JetStream domain, where it is another than the server's own.
    pub domain: Option<String>,
    /// How long the server may take for one answer, in milliseconds.
    #[serde(default = "timeout")]
    pub timeout_ms: u64,
}

fn timeout() -> u64 {
    5_000
}

/// What is set beside all that there is to set: the last field of settings that hold a [`Server`],
/// since those can't refuse it by themselves.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Unknown(BTreeMap<String, IgnoredAny>);

impl Unknown {
    /// Refuses it.
    ///
    /// # Errors
    ///
    /// The first name.
    pub fn check(&self) -> Result<(), Error> {
        match self.0.keys().next() {
            Some(name) => Err(Error::new(format!("settings: unknown field `{name}`"))),
            None => Ok(()),
        }
    }
}

impl Server {
    /// How long the server may take for one answer.
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.servers.is_empty() {
            return Err(Error::new("setting `servers`: name one at least, as `host:port`"));
        }
        for server in &self.servers {
            let port = server.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
            if !matches!(port, Some(Ok(_))) {
                let why = "expected `host:port`, as in `nats.example:4222`";
                return Err(Error::new(format!("setting `servers`: `{server}`: {why}")));
            }
        }
        if !(1..=6_000).contains(&self.timeout_ms) {
            return Err(Error::new("setting `timeout_ms`: expected 1 to 6000"));
        }
        let ways = [self.token.is_some(), self.password.is_some(), self.credentials.is_some()];
        if ways.iter().filter(|way| **way).count() > 1 {
            let why = "`token`, `password` and `credentials` exclude each other";
            return Err(Error::new(format!("settings: {why}")));
        }
        if self.user.is_some() != self.password.is_some() {
            return Err(Error::new("settings: `user` and `password` need each other"));
        }
        Ok(())
    }
}

/// The properties of [`Server`] in a JSON Schema, for `concat!`.
#[macro_export]
macro_rules! server_properties {
    () => {
        r#"
    "servers": {
      "type": "array",
      "items": { "type": "string" },
      "minItems": 1,
      "maxItems": 3,
      "description": "The servers of one cluster, as `host:port`. The first that answers is taken."
    },
    "token": {
      "type": "string",
      "description": "Name of the secret that holds a token."
    },
    "user": {
      "type": "string",
      "description": "Whose password it is."
    },
    "password": {
      "type": "string",
      "description": "Name of the secret that holds a password."
    },
    "credentials": {
      "type": "string",
      "description": "Name of the secret that holds a `.creds` file: a JWT and its seed."
    },
    "domain": {
      "type": "string",
      "description": "The JetStream domain, where it is another than the server's own."
    },
    "timeout_ms": {
      "type": "integer",
      "minimum": 1,
      "maximum": 6000,
      "default": 5000,
      "description": "How long the server may take for one answer, in milliseconds. A call takes three times as long at the most, and the host waits for 30 seconds unless it is told otherwise."
    }"#
    };
}
