//! `wasink plugins pull` and `wasink plugins push`.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use serde_json::{Value, json};
use wasink::config::{Config, PluginConfig, PluginName};
use wasink::plugin::Demands;
use wasink::{PluginReport, WasmPlugins, World};
use wasink_registry::{
    Credentials, Digest, Hold, Lock, LockError, Locked, Options, Package, Reference, Registry,
    RegistryError,
};

use super::{inspected, is_file};
use crate::exit::{Exit, Failure};
use crate::flags::{Access, PASSWORD_VARIABLE, Pull, Push};
use crate::out;
use crate::show::{self, printable};

/// A plugin that is where it belongs.
struct Pulled {
    report: PluginReport,
    reference: Reference,
    path: PathBuf,
}

/// What is to be fetched.
struct Wanted<'a> {
    name: PluginName,
    reference: Reference,
    /// What it was when it was fetched last, where it has to be that.
    locked: Option<&'a Locked>,
}

pub(super) fn pull(config: &Config, plugins: &WasmPlugins, flags: &Pull) -> Result<Exit, Failure> {
    let directory = config.plugin_dirs.first().context(
        "there is no plugin directory to put it into: `plugin_dirs` is empty, and needs one",
    )?;
    let held = Hold::take(directory);
    let held = held.with_context(|| format!("the plugin directory `{}`", directory.display()))?;
    let mut lock = Lock::read(directory)?;
    let mut pulled = Vec::new();
    let before = lock.plugins().to_owned();
    for wanted in wanted(flags, &before)? {
        let check = |digest: &Digest| match flags.update {
            true => Ok(()),
            false => lock.check(wanted.name.as_str(), &wanted.reference, digest),
        };
        let one = pull_one(config, plugins, flags, &held, directory, &wanted, check)?;
        if !flags.locked {
            lock.set(one.1);
            lock.write()?;
        }
        pulled.push(one.0);
    }
    if flags.json.json {
        let object = |pulled: &Pulled| {
            json!({
                "name": pulled.report.name,
                "world": pulled.report.inspection.world,
                "version": version(&pulled.report),
                "digest": pulled.report.digest,
                "reference": pulled.reference.to_string(),
                "path": pulled.path,
            })
        };
        let objects: Vec<Value> = pulled.iter().map(object).collect();
        out::print(&show::json(&json!({ "plugins": objects, "lock": lock.path() })))?;
    } else {
        for Pulled { report, reference, path } in &pulled {
            let (name, version, digest) = (&report.name, version(report), &report.digest);
            let line = format!("{name} {version} {digest}");
            let path = path.display().to_string();
            out::print(&format!(
                "{}\n  from {reference}\n  in {}\n",
                printable(&line),
                printable(&path)
            ))?;
        }
    }
    Ok(Exit::Success)
}

pub(super) fn push(config: &Config, plugins: &WasmPlugins, flags: &Push) -> Result<Exit, Failure> {
    let Push { plugin, reference, access, json } = flags;
    // Whoever is taken here is looked at as for a swap.
    let report = match is_file(plugin) {
        true => plugins.report_file(Path::new(plugin))?,
        false => inspected(plugins, plugin, None)?.0,
    };
    let path = report.source.path();
    let component = match path {
        Some(path) => {
            let read = read(path, config.limits.component_bytes);
            read.with_context(|| format!("the file `{}`", path.display()))?
        }
        None => plugins.component(report.inspection.world, &report.name)?,
    };
    if Digest::of(&component).as_str() != report.digest {
        return Err(anyhow!("`{plugin}` has changed while it was looked at; try again").into());
    }
    let signature = path.map(wasink_registry::signature_beside).transpose();
    let signature = signature.with_context(|| format!("the signature beside `{plugin}`"))?;
    let package = Package {
        component,
        signature: signature.flatten(),
        title: report.name.to_string(),
        version: version(&report).to_owned(),
        imports: report.inspection.imports.clone(),
        exports: report.inspection.exports.clone(),
    };
    let mut registry = registry(reference, access)?;
    let digest = registry.push(reference, &package).map_err(with_way_out)?;
    let pushed = reference.at(digest);
    let text = match json.json {
        true => show::json(&json!({
            "name": report.name,
            "version": version(&report),
            "digest": report.digest,
            "reference": pushed.to_string(),
            "signed": package.signature.is_some(),
        })),
        false => pushed.to_string(),
    };
    out::print(&text)?;
    Ok(Exit::Success)
}

/// All that is to be fetched, by name.
fn wanted<'a>(flags: &Pull, locked: &'a [Locked]) -> Result<Vec<Wanted<'a>>, Failure> {
    let Some(reference) = &flags.reference else {
        if locked.is_empty() {
            return Err(anyhow!(
                "nothing has been fetched into this plugin directory yet: there is no `{}`, or \
                 nothing in it",
                wasink_registry::LOCK_FILE
            )
            .into());
        }
        let registries: BTreeSet<_> =
            locked.iter().map(|locked| locked.reference.registry()).collect();
        if flags.access.username.is_some() && registries.len() > 1 {
            return Err(anyhow!(
                "the plugins of the lock file come from {} registries, and a password is for one; \
                 put those that are needed into docker's configuration",
                registries.len()
            )
            .into());
        }
        let wanted = |locked: &'a Locked| {
            let reference = locked.reference.at(locked.manifest.clone());
            Ok(Wanted { name: PluginName::new(&locked.name)?, reference, locked: Some(locked) })
        };
        return locked.iter().map(wanted).collect();
    };
    let name = flags.name.as_deref().unwrap_or_else(|| reference.last_part());
    let name = PluginName::new(name).context("choose a name with `--name`")?;
    Ok(vec![Wanted { name, reference: reference.clone(), locked: None }])
}

/// Fetches one, looks at it and puts it into its place. What is wrong with it leaves all as it was.
fn pull_one(
    config: &Config,
    plugins: &WasmPlugins,
    flags: &Pull,
    held: &Hold,
    directory: &Path,
    wanted: &Wanted<'_>,
    check: impl FnOnce(&Digest) -> Result<(), LockError>,
) -> Result<(Pulled, Locked), Failure> {
    let Wanted { name, reference, locked } = wanted;
    let mut registry = registry(reference, &flags.access)?;
    let artifact = registry.resolve(reference).map_err(with_way_out)?;
    check(&artifact.manifest).map_err(|error| match error {
        moved @ LockError::Moved { .. } => {
            anyhow!("{moved}; `--update` takes what it is now, and `--locked` what it was")
        }
        other => other.into(),
    })?;
    if let Some(locked) = locked.filter(|locked| locked.component != artifact.component) {
        return Err(anyhow!(
            "the lock file says that `{name}` is {}, and the manifest that it names says {}; \
             somebody has written to the file",
            locked.component,
            artifact.component
        )
        .into());
    }
    let limit = config.limits.component_bytes;
    if artifact.bytes > limit {
        return Err(anyhow!(
            "the component of `{reference}` has {} bytes, and a plugin may have {limit} at most; \
             allow it more with `limits.component`",
            artifact.bytes
        )
        .into());
    }
    let not_written = || format!("`{}` can't be written to", directory.display());
    let mut candidate = held.candidate(name.as_str()).with_context(not_written)?;
    registry.fetch(&artifact, limit, candidate.file()).map_err(with_way_out)?;
    if let Some(signature) = &artifact.signature {
        candidate.sign(signature).with_context(not_written)?;
    }
    let not_installed = || format!("`{reference}` is not installed");
    let report = plugins.report_file(candidate.path()).with_context(not_installed)?;
    if report.digest != artifact.component.as_str() {
        return Err(anyhow!("somebody has written to it meanwhile")
            .context(not_installed())
            .into());
    }
    let world = report.inspection.world;
    if let Some(reason) = demands(config, world, name).refusal(&report.digest) {
        return Err(Failure::new(Exit::Plugin, anyhow!(reason).context(not_installed())));
    }
    if let Some(locked) = locked.filter(|locked| locked.kind != kind(world)) {
        return Err(anyhow!(
            "the lock file says that `{name}` is a `{}`, and it is a `{}`",
            locked.kind,
            kind(world)
        )
        .into());
    }
    let folder = world.folder().map_or_else(|| directory.to_owned(), |name| directory.join(name));
    let path = folder.join(format!("{name}.wasm"));
    let installed = candidate.install(&path);
    installed.with_context(|| format!("`{}` can't be put into its place", path.display()))?;
    let entry = Locked {
        name: name.to_string(),
        kind: kind(world).to_owned(),
        reference: reference.without_digest(),
        manifest: artifact.manifest.clone(),
        component: artifact.component,
    };
    let report = PluginReport { name: name.clone(), ..report };
    Ok((Pulled { report, reference: reference.at(artifact.manifest), path }, entry))
}

/// What the configuration allows a plugin to be.
fn demands(config: &Config, world: World, name: &PluginName) -> Demands {
    let instances: Vec<&PluginConfig> = match world {
        World::Sink => config.sinks.iter().map(|sink| &**sink).collect(),
        World::FeedSource => config.feeds.iter().map(|feed| &feed.instance).collect(),
        World::FeedSink => config.outboxes.iter().map(|outbox| &outbox.instance).collect(),
    };
    let of_it = instances.into_iter().filter(|instance| instance.plugin == *name);
    let pin = |instance: &PluginConfig| Some((instance.digest.clone()?, instance.digest_key()));
    Demands { pins: of_it.filter_map(pin).collect() }
}

/// As in the lock file.
fn kind(world: World) -> &'static str {
    match world {
        World::Sink => "sink",
        World::FeedSource => "feed-source",
        World::FeedSink => "feed-sink",
    }
}

fn version(report: &PluginReport) -> &str {
    report.description.as_ref().map_or("", |about| &about.version)
}

fn registry(reference: &Reference, access: &Access) -> Result<Registry, Failure> {
    let mut options = Options::default();
    options.credentials = credentials(reference.registry(), access)?;
    options.plain_http = access.plain_http;
    options.authorities.clone_from(&access.ca);
    Ok(Registry::new(reference, &options).map_err(with_way_out)?)
}

fn credentials(registry: &str, access: &Access) -> Result<Option<Credentials>, Failure> {
    let Some(user) = &access.username else {
        let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".docker"));
        let directory = std::env::var_os("DOCKER_CONFIG").map(PathBuf::from).or_else(home);
        let Some(directory) = directory else { return Ok(None) };
        return Ok(Credentials::of_docker(&directory.join("config.json"), registry)?);
    };
    if let Some(path) = &access.password_file {
        return Ok(Some(Credentials::with_password_file(user, path)?));
    }
    let password = std::env::var(PASSWORD_VARIABLE).ok().filter(|password| !password.is_empty());
    let password = password.with_context(|| {
        format!(
            "`--username` without a password: put that into a file for `--password-file`, or into \
             the environment's `{PASSWORD_VARIABLE}`"
        )
    })?;
    Ok(Some(Credentials::new(user, password)))
}

/// What an operator can do about it.
fn with_way_out(error: RegistryError) -> anyhow::Error {
    let way_out = match &error {
        RegistryError::Plain { .. } => "`--plain-http` allows that",
        RegistryError::Unauthorized { given: false, .. } => {
            "name a user with `--username` and `--password-file`"
        }
        RegistryError::Unauthorized { .. } => "check the user's name and the password",
        RegistryError::Forbidden { .. } => "name a user who may, with `--username`",
        RegistryError::Unreachable { reason, .. } if reason.contains("ertificate") => {
            "name the file of the authority that it has its certificate from with `--ca`"
        }
        RegistryError::Unreachable { .. } => "check its name, its port and the network",
        RegistryError::Unknown { .. } => "check the repository and the tag",
        RegistryError::Late { .. } => "try again later",
        RegistryError::Answered { status: 429 | 500.., .. } => "try again later",
        _ => return error.into(),
    };
    let text = format!("{error}; {way_out}");
    anyhow::Error::new(error).context(text)
}

/// Reads a file, but no more than is looked at.
fn read(path: &Path, limit: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(bytes)
}
