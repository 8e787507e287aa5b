//! The guest SDK's Rust bindings, generated from `wit/` once and committed, so that no build of a
//! plugin has to generate them.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use wit_bindgen_core::wit_parser::Resolve;
use wit_bindgen_core::{Files, WorldGenerator as _};
use wit_bindgen_rust::{Opts, Ownership, WithOption};

/// A generated file and the world that it is generated from.
struct Target {
    world: &'static str,
    file: &'static str,
}

/// Each interface that a plugin may export is a world of its own: were they in one, each component
/// would have to export them all. Those that a plugin has are joined when its component is linked.
const EXTRA_WORLDS: &str = "
package wasink:sdk;

world host {
  import wasink:plugin/records@0.1.0;
  import wasink:plugin/lifecycle@0.1.0;
  import wasink:plugin/batches@0.1.0;
  import wasink:plugin/log@0.1.0;
  import wasink:plugin/secrets@0.1.0;
}

world about {
  export wasink:plugin/about@0.1.0;
}

world sink {
  export wasink:plugin/sink@0.1.0;
}

world capture {
  export wasink:plugin/capture@0.1.0;
}

world feed-source {
  export wasink:plugin/feed-source@0.1.0;
}

world acks {
  export wasink:plugin/acks@0.1.0;
}

world feed-sink {
  export wasink:plugin/feed-sink@0.1.0;
}
";

/// The first has the types that the others use.
const TARGETS: [Target; 7] = [
    Target { world: "wasink:sdk/host", file: "host.rs" },
    Target { world: "wasink:sdk/about", file: "about.rs" },
    Target { world: "wasink:sdk/sink", file: "sink.rs" },
    Target { world: "wasink:sdk/capture", file: "capture.rs" },
    Target { world: "wasink:sdk/feed-source", file: "feed_source.rs" },
    Target { world: "wasink:sdk/acks", file: "acks.rs" },
    Target { world: "wasink:sdk/feed-sink", file: "feed_sink.rs" },
];

/// What the host gives, as the first of the files has it.
const HOST: [(&str, &str); 3] = [
    ("wasink:plugin/records@0.1.0", "crate::bindings::host::wasink::plugin::records"),
    ("wasink:plugin/lifecycle@0.1.0", "crate::bindings::host::wasink::plugin::lifecycle"),
    ("wasink:plugin/batches@0.1.0", "crate::bindings::host::wasink::plugin::batches"),
];

/// The types of WASI come from the crate that plugins use for everything else of WASI.
const WASI: [(&str, &str); 5] = [
    ("wasi:io/error@0.2.12", "::wasip2::io::error"),
    ("wasi:io/poll@0.2.12", "::wasip2::io::poll"),
    ("wasi:io/streams@0.2.12", "::wasip2::io::streams"),
    ("wasi:clocks/wall-clock@0.2.12", "::wasip2::clocks::wall_clock"),
    ("wasi:filesystem/types@0.2.12", "::wasip2::filesystem::types"),
];

const HEADER: &str =
    "//! Generated from `wit/` by `cargo xtask bindings`: edit the contract instead.
#![allow(
    unsafe_code,
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    clippy::pedantic,
    clippy::restriction,
    reason = \"generated\"
)]
";

/// Generates the bindings and writes them, or, to `check`, compares them with what is there.
pub(crate) fn run(check: bool) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask has no parent")?;
    let folder = root.join("guest/sdk/src/bindings");
    let mut stale = Vec::new();
    for target in &TARGETS {
        let text = generate(&root.join("wit"), target)
            .with_context(|| format!("cannot generate the bindings of `{}`", target.world))?;
        let path = folder.join(target.file);
        if std::fs::read_to_string(&path).is_ok_and(|old| old == text) {
            continue;
        }
        if check {
            stale.push(path);
        } else {
            std::fs::create_dir_all(&folder)?;
            std::fs::write(&path, text)
                .with_context(|| format!("cannot write `{}`", path.display()))?;
        }
    }
    if stale.is_empty() { Ok(()) } else { bail!("{}", complaint(&stale)) }
}

fn complaint(stale: &[PathBuf]) -> String {
    let names: Vec<_> = stale.iter().map(|path| format!("`{}`", path.display())).collect();
    format!("{} differ from what `wit/` gives; run `cargo xtask bindings`", names.join(", "))
}

fn generate(wit: &Path, target: &Target) -> Result<String> {
    let mut resolve = Resolve::default();
    let (contract, _) = resolve.push_path(wit)?;
    let extra = resolve.push_str("extra-worlds.wit", EXTRA_WORLDS)?;
    let world = resolve
        .select_world(&[contract, extra], Some(target.world))
        .with_context(|| format!("there is no world `{}`", target.world))?;
    let imports: Vec<_> = resolve.worlds.get(world).map_or(Vec::new(), |world| {
        world.imports.keys().map(|import| resolve.name_world_key(import)).collect()
    });
    let opts = Opts {
        format: true,
        // Log lines are written often; so their fields are borrowed instead of copied.
        ownership: Ownership::Borrowing { duplicate_if_necessary: false },
        with: with(target, &imports),
        generate_all: true,
        pub_export_macro: true,
        additional_derive_attributes: vec!["PartialEq".into(), "Eq".into()],
        runtime_path: Some("wit_bindgen::rt".into()),
        ..Opts::default()
    };
    let mut files = Files::default();
    opts.build().generate(&mut resolve, world, &mut files)?;
    let (_, bytes) = files.iter().next().context("the generator gave no file")?;
    Ok(format!("{HEADER}\n{}", std::str::from_utf8(bytes)?))
}

/// Where the types of imports are found that a file does not define.
fn with(target: &Target, imports: &[String]) -> Vec<(String, WithOption)> {
    let host = HOST.iter().filter(|_| target.file != "host.rs");
    WASI.iter()
        .chain(host)
        .filter(|(name, _)| imports.iter().any(|import| import == name))
        .map(|(name, path)| ((*name).to_owned(), WithOption::Path((*path).to_owned())))
        .collect()
}
