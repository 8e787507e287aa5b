//! What a sink's plugin may reach and use, as it is written.

use std::{num::NonZeroU32, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::{
    super::{
        name::NAME_PATTERN,
        units::{Period, Size, Timeout},
    },
    path_schema, size,
};

/// What the name of an environment variable is made of, as POSIX has it.
const VARIABLE_PATTERN: &str = "^[A-Za-z_][A-Za-z0-9_]*$";
/// What a header's name is made of (RFC 9110, section 5.1).
const HEADER_PATTERN: &str = "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$";

/// What the plugin may reach outside of its sandbox: nothing but this.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in super::super) struct Grants {
    /// A data directory, which the plugin sees as `/data`: `true` for one of the sink's own in
    /// `<data_dir>/sinks`, or a path. It is made at the start.
    #[schemars(schema_with = "directory_schema")]
    pub(in super::super) directory: DirectoryGrant,
    /// Whether the plugin's standard error is that of wasink. Otherwise what it writes there goes to
    /// the log, at `debug`.
    pub(in super::super) stderr: bool,
    /// Whether the plugin may write as many lines to the log as it likes. Otherwise `limits.log_rate`
    /// holds.
    pub(in super::super) log: bool,
    /// Names of environment variables that the plugin may see.
    #[schemars(schema_with = "variables_schema")]
    pub(in super::super) environment: Vec<String>,
    /// Names of secrets, each of a `[[secret]]`, that the plugin may ask for. Credentials of `http`
    /// need not be here: the plugin never sees those.
    #[schemars(schema_with = "secrets_schema")]
    pub(in super::super) secrets: Vec<String>,
    /// Where the plugin may connect to over TCP: `host:port` or `addresses:port`, as in
    /// `db.example.com:5432`, `10.1.0.0/16:5432`, `[fd00::]/8:5432`. A host's name must lead to a
    /// public address, or to one of the addresses that are listed as well.
    #[schemars(schema_with = "targets_schema")]
    pub(in super::super) tcp: Vec<String>,
    /// Where the plugin may send HTTP requests to.
    pub(in super::super) http: Vec<HttpGrant>,
}

/// Whether there is a data directory, and where.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(in super::super) enum DirectoryGrant {
    Whether(bool),
    At(String),
}

impl Default for DirectoryGrant {
    fn default() -> Self {
        Self::Whether(false)
    }
}

/// An origin that the plugin may send HTTP requests to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct HttpGrant {
    /// Scheme, host, and port where it is not the usual one: `https://api.example.com`.
    #[schemars(schema_with = "origin_schema")]
    pub(in super::super) origin: String,
    /// Addresses that the host's name may lead to although they are not public: `loopback`,
    /// `private`, `link-local`, or networks, as in `10.1.0.0/16`. An origin that is an address needs
    /// none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "networks_schema")]
    pub(in super::super) networks: Vec<String>,
    /// Name of the secret that each request carries as its bearer token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "secret_schema")]
    pub(in super::super) bearer: Option<String>,
    /// The user name that each request carries, with the secret named by `password`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub(in super::super) user: Option<String>,
    /// Name of the secret that is the password of `user`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "secret_schema")]
    pub(in super::super) password: Option<String>,
    /// Name of the header that carries the secret named by `key`: `X-Api-Key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "header_schema")]
    pub(in super::super) header: Option<String>,
    /// Name of the secret that the header named by `header` carries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "secret_schema")]
    pub(in super::super) key: Option<String>,
    /// Name of the secret that each request is signed with, as Standard Webhooks has it: the headers
    /// `webhook-id`, `webhook-timestamp` and `webhook-signature`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "secret_schema")]
    pub(in super::super) signature: Option<String>,
    /// A file with the certificates, PEM, of the authorities that this origin's must come from. Those
    /// of the system where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "path_schema")]
    pub(in super::super) ca: Option<String>,
    /// The proxy that requests go through: `http://proxy.example.com:3128`. It is the proxy then that
    /// looks names up, so `networks` can't hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "origin_schema")]
    pub(in super::super) proxy: Option<String>,
}

/// A secret and where it is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Secret {
    /// The name by which grants name it.
    #[schemars(schema_with = "secret_schema")]
    pub(in super::super) name: String,
    /// A file that holds it, and nothing else but a line's end. Not everybody may be able to read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "path_schema")]
    pub(in super::super) file: Option<String>,
    /// The environment variable that holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "variable_schema")]
    pub(in super::super) environment: Option<String>,
    /// A program that writes it to its standard output, and its arguments. No shell is asked. It has
    /// 10 seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "command_schema")]
    pub(in super::super) command: Option<Vec<String>>,
    /// For how long it is used before it is read again.
    #[serde(default = "refresh")]
    pub(in super::super) refresh: Period,
}

fn refresh() -> Period {
    Period(Duration::from_secs(60))
}

/// How much plugins may use, unless a sink has limits of its own.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in super::super) struct Limits {
    /// The largest component file.
    pub(in super::super) component: Size,
    /// How long a component may take to compile.
    pub(in super::super) compile: Timeout,
    /// How long a component may take to describe itself.
    pub(in super::super) describe: Timeout,
    /// The most linear memory of an instance.
    pub(in super::super) memory: Size,
    /// The most elements of a table.
    pub(in super::super) table: NonZeroU32,
    /// The most modules, memories and tables of an instance, each.
    pub(in super::super) instances: NonZeroU32,
    /// The most files, sockets, streams, requests and other things of the host that an instance may
    /// hold at a time.
    pub(in super::super) handles: NonZeroU32,
    /// The most bytes that a call may move between plugin and host: what a call of the host is given,
    /// and what a call of the plugin answers with.
    pub(in super::super) host_call: Size,
    /// The longest text in an answer, such as the reason of a rejection. The rest is cut off.
    pub(in super::super) text: Size,
    /// The longest message, name or value of a log line. The rest is cut off.
    pub(in super::super) log_line: Size,
    /// The most fields of a log line. The rest is left out.
    pub(in super::super) log_fields: NonZeroU32,
    /// The most log lines in a second, ten times as many at once. The rest is counted and left out.
    pub(in super::super) log_rate: NonZeroU32,
    /// The most bytes that the data directory may hold, 4 KiB for each file and directory counted in.
    pub(in super::super) directory: Size,
    /// The most HTTP requests of a sink that may wait for their answers at a time. Others wait for
    /// those.
    pub(in super::super) http_requests: NonZeroU32,
    /// The most bytes of the headers of a request, and of those of an answer.
    pub(in super::super) http_headers: Size,
    /// The most bytes of a request's body.
    pub(in super::super) http_request: Size,
    /// The most bytes of an answer's body.
    pub(in super::super) http_answer: Size,
    /// How long an HTTP request may take, from looking the name up to the last byte of the answer.
    pub(in super::super) http_time: Timeout,
}

impl Default for Limits {
    fn default() -> Self {
        let limits = crate::limits::Limits::default();
        let bytes = |bytes: usize| size(bytes as u64);
        Self {
            component: size(limits.component_bytes),
            compile: Timeout(limits.compile_time),
            describe: Timeout(limits.describe_time),
            memory: bytes(limits.memory_bytes),
            table: number(limits.table_elements),
            instances: number(limits.instances),
            handles: number(limits.handles),
            host_call: bytes(limits.host_call_bytes),
            text: bytes(limits.text_bytes),
            log_line: bytes(limits.log_bytes),
            log_fields: number(limits.log_fields),
            log_rate: number(limits.log_rate),
            directory: size(limits.directory_bytes),
            http_requests: number(limits.http_requests),
            http_headers: bytes(limits.http_header_bytes),
            http_request: size(limits.http_request_bytes),
            http_answer: size(limits.http_answer_bytes),
            http_time: Timeout(limits.http_time),
        }
    }
}

fn number(number: usize) -> NonZeroU32 {
    u32::try_from(number).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MAX)
}

/// Limits of one sink, where they are not as `[limits]` has them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in super::super) struct SinkLimits {
    /// As `limits.memory`, which it is where it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Size")]
    pub(in super::super) memory: Option<Size>,
    /// As `limits.table`, which it is where it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "NonZeroU32")]
    pub(in super::super) table: Option<NonZeroU32>,
    /// As `limits.instances`, which it is where it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "NonZeroU32")]
    pub(in super::super) instances: Option<NonZeroU32>,
    /// As `limits.handles`, which it is where it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "NonZeroU32")]
    pub(in super::super) handles: Option<NonZeroU32>,
    /// As `limits.host_call`, which it is where it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Size")]
    pub(in super::super) host_call: Option<Size>,
    /// As `limits.text`, which it is where it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Size")]
    pub(in super::super) text: Option<Size>,
    /// As `limits.log_line`, which it is where it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Size")]
    pub(in super::super) log_line: Option<Size>,
    /// As `limits.log_fields`, which it is where it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "NonZeroU32")]
    pub(in super::super) log_fields: Option<NonZeroU32>,
    /// As `limits.log_rate`, which it is where it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "NonZeroU32")]
    pub(in super::super) log_rate: Option<NonZeroU32>,
    /// As `limits.directory`, which it is where it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Size")]
    pub(in super::super) directory: Option<Size>,
    /// As `limits.http_requests`, which it is where it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "NonZeroU32")]
    pub(in super::super) http_requests: Option<NonZeroU32>,
    /// As `limits.http_headers`, which it is where it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Size")]
    pub(in super::super) http_headers: Option<Size>,
    /// As `limits.http_request`, which it is where it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Size")]
    pub(in super::super) http_request: Option<Size>,
    /// As `limits.http_answer`, which it is where it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Size")]
    pub(in super::super) http_answer: Option<Size>,
    /// As `limits.http_time`, which it is where it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Timeout")]
    pub(in super::super) http_time: Option<Timeout>,
}

impl SinkLimits {
    pub(in super::super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// These over those of all sinks.
    pub(in super::super) fn over(&self, all: &Limits) -> crate::limits::Limits {
        let bytes = |own: Option<Size>, all: Size| own.unwrap_or(all).0.get();
        let memory =
            |own: Option<Size>, all: Size| usize::try_from(bytes(own, all)).unwrap_or(usize::MAX);
        let number = |own: Option<NonZeroU32>, all: NonZeroU32| {
            usize::try_from(own.unwrap_or(all).get()).unwrap_or(usize::MAX)
        };
        crate::limits::Limits {
            component_bytes: all.component.0.get(),
            compile_time: all.compile.0,
            describe_time: all.describe.0,
            memory_bytes: memory(self.memory, all.memory),
            table_elements: number(self.table, all.table),
            instances: number(self.instances, all.instances),
            handles: number(self.handles, all.handles),
            host_call_bytes: memory(self.host_call, all.host_call),
            text_bytes: memory(self.text, all.text),
            log_bytes: memory(self.log_line, all.log_line),
            log_fields: number(self.log_fields, all.log_fields),
            log_rate: number(self.log_rate, all.log_rate),
            directory_bytes: bytes(self.directory, all.directory),
            http_requests: number(self.http_requests, all.http_requests),
            http_header_bytes: memory(self.http_headers, all.http_headers),
            http_request_bytes: bytes(self.http_request, all.http_request),
            http_answer_bytes: bytes(self.http_answer, all.http_answer),
            http_time: self.http_time.unwrap_or(all.http_time).0,
        }
    }
}

fn directory_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "anyOf": [{ "type": "boolean" }, { "type": "string", "minLength": 1 }],
        "default": false,
        "x-expected": "`true`, `false` or a path",
    })
}

fn variable_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "pattern": VARIABLE_PATTERN,
        "x-expected": "the name of an environment variable",
    })
}

fn variables_schema(generator: &mut SchemaGenerator) -> Schema {
    list(variable_schema(generator), "a list of names of environment variables, each once")
}

fn secret_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "pattern": NAME_PATTERN,
        "x-expected": "the name of a secret (`a`-`z`, `0`-`9`, `-`)",
    })
}

fn secrets_schema(generator: &mut SchemaGenerator) -> Schema {
    list(secret_schema(generator), "a list of names of secrets, each once")
}

fn targets_schema(_: &mut SchemaGenerator) -> Schema {
    list(
        json_schema!({
            "type": "string",
            "minLength": 1,
            "x-expected": "`host:port` or `addresses:port`",
        }),
        "a list of `host:port` or `addresses:port`, each once",
    )
}

fn networks_schema(_: &mut SchemaGenerator) -> Schema {
    list(
        json_schema!({
            "type": "string",
            "minLength": 1,
            "x-expected": "`loopback`, `private`, `link-local` or a network",
        }),
        "a list of `loopback`, `private`, `link-local` or networks, each once",
    )
}

fn list(items: Schema, expected: &str) -> Schema {
    json_schema!({
        "type": "array",
        "items": items,
        "uniqueItems": true,
        "default": [],
        "x-expected": expected,
    })
}

fn origin_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "minLength": 1,
        "x-expected": "scheme, host and port, as in `https://api.example.com`",
    })
}

fn header_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "pattern": HEADER_PATTERN,
        "x-expected": "the name of a header",
    })
}

fn command_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "items": { "type": "string" },
        "minItems": 1,
        "x-expected": "a list: the program, and its arguments",
    })
}
