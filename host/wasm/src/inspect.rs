//! What a file says of itself before anything of it is compiled or run.

use std::fmt;

use serde::Serialize;
use wasmparser::{Encoding, Parser, Payload};

/// The version of the contract that this host speaks: of the package `wasink:plugin` in `wit/`.
pub const CONTRACT_VERSION: &str = "0.1.0";

/// Interfaces of these packages are given to every plugin.
const GIVEN_PACKAGES: [&str; 7] = [
    "wasi:cli",
    "wasi:clocks",
    "wasi:filesystem",
    "wasi:http",
    "wasi:io",
    "wasi:random",
    "wasi:sockets",
];

/// Interfaces of the contract that are given to every plugin.
const GIVEN_INTERFACES: [&str; 5] = ["batches", "lifecycle", "log", "records", "secrets"];

/// What a component can be used as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum World {
    /// A sink.
    Sink,
    /// A source of control events.
    FeedSource,
    /// A receiver of control events.
    FeedSink,
}

impl World {
    /// All there are.
    pub const ALL: [Self; 3] = [Self::Sink, Self::FeedSource, Self::FeedSink];

    /// The folder of a plugin directory that holds its plugins; `None`: the directory itself.
    pub fn folder(self) -> Option<&'static str> {
        match self {
            Self::Sink => None,
            Self::FeedSource => Some("feed-sources"),
            Self::FeedSink => Some("feed-sinks"),
        }
    }
}

impl fmt::Display for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sink => "sink",
            Self::FeedSource => "feed source",
            Self::FeedSink => "feed sink",
        })
    }
}

/// What a component says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Inspection {
    /// What it can be used as.
    pub world: World,
    /// The version of the contract that it was built for.
    pub contract: String,
    /// The interfaces that it wants from its host, as they are named in the file.
    pub imports: Vec<String>,
    /// The interfaces that it offers.
    pub exports: Vec<String>,
}

impl Inspection {
    /// Reads the outermost level of a component.
    ///
    /// # Errors
    ///
    /// Why the file can't be a plugin of this host, and the way out, for people.
    pub(crate) fn of(bytes: &[u8]) -> Result<Self, String> {
        let (imports, exports) = names(bytes)?;
        let (world, contract) = world(&exports)?;
        check_version(&contract)?;
        let missing: Vec<_> = imports.iter().filter(|import| !is_given(import)).cloned().collect();
        if !missing.is_empty() {
            let missing = quoted(&missing);
            return Err(format!(
                "it imports {missing}, which this host does not give; build it without, or use a \
                 host that has it"
            ));
        }
        Ok(Self { world, contract, imports, exports })
    }
}

/// Names of the outermost imports and exports.
fn names(bytes: &[u8]) -> Result<(Vec<String>, Vec<String>), String> {
    const MAGIC: &[u8] = b"\0asm";
    if bytes.is_empty() {
        return Err("the file is empty".to_owned());
    }
    if !bytes.starts_with(MAGIC) {
        return Err("it is not WebAssembly (its first bytes are not `\\0asm`); a plugin is a \
                    component, in the binary format"
            .to_owned());
    }
    let broken = |error: wasmparser::BinaryReaderError| {
        format!("it is broken or cut short: {} (at byte {})", error.message(), error.offset())
    };
    let (mut imports, mut exports) = (Vec::new(), Vec::new());
    let mut depth = 0_u32;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(broken)? {
            Payload::Version { encoding: Encoding::Module, .. } if depth == 0 => {
                return Err("it is a core module, not a component; build it for the target \
                            `wasm32-wasip2`, or turn it into a component with `wasm-tools \
                            component new`"
                    .to_owned());
            }
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    imports.push(import.map_err(broken)?.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                for export in section {
                    exports.push(export.map_err(broken)?.name.name.to_owned());
                }
            }
            _ => {}
        }
    }
    imports.sort_unstable();
    exports.sort_unstable();
    Ok((imports, exports))
}

/// What the exports make of it, and for which version of the contract.
fn world(exports: &[String]) -> Result<(World, String), String> {
    let version = |interface: &str| {
        exports.iter().find_map(|export| {
            let (name, version) = export.split_once('@')?;
            (name == interface).then(|| version.to_owned())
        })
    };
    let worlds = [
        (World::Sink, "wasink:plugin/sink"),
        (World::FeedSource, "wasink:plugin/feed-source"),
        (World::FeedSink, "wasink:plugin/feed-sink"),
    ];
    let found = worlds.into_iter().find_map(|(world, name)| Some((world, version(name)?)));
    match (found, version("wasink:plugin/about")) {
        (Some(found), Some(_)) => Ok(found),
        (Some((world, contract)), None) => Err(format!(
            "it is a {world}, but does not export `wasink:plugin/about@{contract}`, with which a \
             plugin describes itself"
        )),
        (None, _) => {
            let exports = if exports.is_empty() { "nothing".to_owned() } else { quoted(exports) };
            Err(format!(
                "it is a component of another world: it exports {exports}, and a sink exports \
                 `wasink:plugin/about@{CONTRACT_VERSION}` and `wasink:plugin/sink@{CONTRACT_VERSION}`"
            ))
        }
    }
}

/// Whether a plugin for `contract` can run here: the same major version (the same minor one below
/// 1.0), and not newer.
fn check_version(contract: &str) -> Result<(), String> {
    let parse = |version: &str| -> Option<(u64, u64, u64)> {
        let mut parts = version.split('.').map(|part| part.parse().ok());
        let parsed = (parts.next()??, parts.next()??, parts.next()??);
        parts.next().is_none().then_some(parsed)
    };
    let ours = parse(CONTRACT_VERSION);
    let Some(theirs) = parse(contract) else {
        return Err(format!("its contract version `{contract}` is none that this host knows"));
    };
    let track =
        |(major, minor, _): (u64, u64, u64)| if major == 0 { (0, minor) } else { (major, 0) };
    match ours {
        Some(ours) if theirs > ours => Err(format!(
            "it was built for contract {contract}, which is newer than {CONTRACT_VERSION}, the one \
             this host speaks; update wasink, or build the plugin with an SDK for \
             {CONTRACT_VERSION}"
        )),
        Some(ours) if track(theirs) != track(ours) => Err(format!(
            "it was built for contract {contract}, which this host, at {CONTRACT_VERSION}, no \
             longer speaks; build it again with a newer SDK"
        )),
        _ => Ok(()),
    }
}

fn is_given(import: &str) -> bool {
    let Some((package, interface)) = import.split_once('/') else { return false };
    let interface = interface.split('@').next().unwrap_or(interface);
    match package {
        "wasink:plugin" => GIVEN_INTERFACES.contains(&interface),
        package => GIVEN_PACKAGES.contains(&package),
    }
}

fn quoted(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
