//! What the commands that talk to registries take.

use std::path::PathBuf;

use clap::Args;
use wasink_registry::Reference;

use super::{Json, plugin_name};

/// Where a password may be, beside a file. It is no key of the configuration.
pub(crate) const PASSWORD_VARIABLE: &str = "WASINK_REGISTRY_PASSWORD";

#[derive(Debug, Args)]
pub(crate) struct Pull {
    /// Where it is: `host[:port]/repository`, and `:tag`, `@sha256:…` or both
    #[arg(value_name = "REF", required_unless_present = "locked")]
    pub(crate) reference: Option<Reference>,
    /// What it is called here [default: the last part of the repository]
    #[arg(long, value_name = "NAME", value_parser = plugin_name)]
    pub(crate) name: Option<String>,
    /// Take what the tag is now, though it was something else when it was fetched last
    #[arg(long)]
    pub(crate) update: bool,
    /// Fetch all plugins of the lock file, by the digests that stand there
    #[arg(long, conflicts_with_all = ["reference", "name", "update"])]
    pub(crate) locked: bool,
    #[command(flatten)]
    pub(crate) access: Access,
    #[command(flatten)]
    pub(crate) json: Json,
}

#[derive(Debug, Args)]
pub(crate) struct Push {
    /// Its name, or a component, whether or not it is in a plugin directory
    #[arg(value_name = "NAME|FILE")]
    pub(crate) plugin: String,
    /// Where it goes: `host[:port]/repository:tag`
    #[arg(value_name = "REF")]
    pub(crate) reference: Reference,
    #[command(flatten)]
    pub(crate) access: Access,
    #[command(flatten)]
    pub(crate) json: Json,
}

/// How a registry is spoken to.
#[derive(Debug, Args)]
pub(crate) struct Access {
    /// Say that it is this user who asks [default: who docker's configuration has for the registry]
    #[arg(long, value_name = "USER")]
    pub(crate) username: Option<String>,
    /// Read the user's password from FILE [default: the environment's WASINK_REGISTRY_PASSWORD]
    #[arg(long, value_name = "FILE", requires = "username")]
    pub(crate) password_file: Option<PathBuf>,
    /// Trust the certificates in FILE (PEM), and no others
    #[arg(long, value_name = "FILE", conflicts_with = "plain_http")]
    pub(crate) ca: Option<PathBuf>,
    /// Speak to the registry without encryption, though it is not on this machine
    #[arg(long)]
    pub(crate) plain_http: bool,
}
