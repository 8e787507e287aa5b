//! C and C++: clang with the libraries for WASI, else zig, which brings both.

use std::path::{Path, PathBuf};

use super::{Toolchain, missing};
use crate::tool::{Tool, find, says, version};
use crate::{AuthorError, Project, bindings, component, contract};

pub(crate) struct Clang {
    pub(crate) plus_plus: bool,
}

/// The world, as part of the bindings.
pub(super) const OBJECT: &str = "bindings/plugin_component_type.o";

/// The version of zig that was tried: what it takes differs from one to the next.
pub(super) const ZIG_MINOR: u64 = 17;

/// As distributions call it, the newest that was tried first.
const SUFFIXES: [&str; 5] = ["-19", "", "-21", "-20", "-18"];

impl Toolchain for Clang {
    fn install(&self) -> Option<&'static str> {
        Some(if self.plus_plus {
            "apt-get install clang-19 lld-19 wasi-libc libclang-rt-19-dev-wasm32 \
             libc++-19-dev-wasm32 libc++abi-19-dev-wasm32"
        } else {
            "apt-get install clang-19 lld-19 wasi-libc libclang-rt-19-dev-wasm32"
        })
    }

    fn ignored(&self) -> &'static [&'static str] {
        &["/bindings/", "/.venv/"]
    }

    fn build(&self, project: &Project, told: &mut dyn FnMut(&str)) -> Result<PathBuf, AuthorError> {
        let root = &project.root;
        generate(project)?;
        let compiler = self.compiler(root).ok_or_else(|| {
            let what = "no clang that can compile for WASI is there, nor zig in its place";
            missing(what, self.install().unwrap_or_default())
        })?;
        let source = project.kind().name().replace('-', "_");
        compiler.c(root).args(["-c", "bindings/plugin.c", "-o", "build/plugin.o"]).run(told)?;
        let (linker, source) = if self.plus_plus {
            let linker = compiler.cpp(root).args(["-std=gnu++20", "-fno-exceptions"]);
            (linker, format!("{source}.cpp"))
        } else {
            (compiler.c(root).args(["-std=gnu17"]), format!("{source}.c"))
        };
        linker
            .args(["-Wall", "-Wextra", "-mexec-model=reactor", "-s", "-Ibindings"])
            .args([&source, "build/plugin.o", OBJECT, "-o", "build/core.wasm"])
            .run(told)?;
        encoded(project)
    }
}

/// The bindings: `bindings/plugin.h`, `bindings/plugin.c`, and the world as an object to be linked.
pub(super) fn generate(project: &Project) -> Result<(), AuthorError> {
    let options = wit_bindgen_c::Opts {
        rename_world: Some("plugin".to_owned()),
        // Else each `write` has to drop its batch, and traps where it forgets to.
        autodrop_borrows: wit_bindgen_c::Enabled::Yes,
        ..wit_bindgen_c::Opts::default()
    };
    let root = &project.root;
    let world = project.kind().world();
    let folder = root.join("bindings");
    bindings::generate(options.build(), &root.join("wit"), &world, &folder)?;
    let file = folder.join("plugin.c");
    let text = std::fs::read_to_string(&file).map_err(AuthorError::file(&file))?;
    contract::put(&file, mended(&text).as_bytes())
}

/// wit-bindgen 0.61 does not free a list that another interface has a list like it: here the codes of
/// a column, which would be lost with every batch.
fn mended(text: &str) -> String {
    const LEAKS: &str = "  plugin_list_string_free(&ptr->values);\n}";
    const FREES: &str =
        "  plugin_list_string_free(&ptr->values);\n  plugin_list_u32_free(&ptr->codes);\n}";
    text.replace(LEAKS, FREES)
}

/// Makes the component of `build/core.wasm`.
pub(super) fn encoded(project: &Project) -> Result<PathBuf, AuthorError> {
    let core = project.root.join("build/core.wasm");
    let module = std::fs::read(&core).map_err(AuthorError::file(&core))?;
    let bytes = component::encode(&module).map_err(|reason| AuthorError::Component {
        language: project.language(),
        kind: project.kind(),
        reason,
    })?;
    let made = project.root.join("build/component.wasm");
    std::fs::write(&made, bytes).map_err(AuthorError::file(&made))?;
    Ok(made)
}

/// What compiles.
enum Compiler {
    Clang {
        c: PathBuf,
        cpp: PathBuf,
    },
    /// The command that is zig, of several words.
    Zig(Vec<PathBuf>),
}

impl Compiler {
    fn c(&self, root: &Path) -> Tool {
        match self {
            Self::Clang { c, .. } => Tool::new(c, root).args(["--target=wasm32-wasi", "-O2"]),
            Self::Zig(words) => zig(words, root).args(["cc", "-target", "wasm32-wasi", "-O2"]),
        }
    }

    fn cpp(&self, root: &Path) -> Tool {
        match self {
            Self::Clang { cpp, .. } => Tool::new(cpp, root).args(["--target=wasm32-wasi", "-O2"]),
            Self::Zig(words) => zig(words, root).args(["c++", "-target", "wasm32-wasi", "-O2"]),
        }
    }
}

impl Clang {
    fn compiler(&self, root: &Path) -> Option<Compiler> {
        for suffix in SUFFIXES {
            let c = find(root, &[], &format!("clang{suffix}"));
            let cpp = find(root, &[], &format!("clang++{suffix}"));
            let (Some(c), Some(cpp)) = (c, cpp) else { continue };
            // One that has no libraries for WASI is no use.
            let builtins = says(&c, root, &["--target=wasm32-wasi", "-print-libgcc-file-name"]);
            let libc = says(&c, root, &["--target=wasm32-wasi", "-print-file-name=libc++.a"]);
            let is_there = |said: Option<String>| {
                said.is_some_and(|path| {
                    Path::new(path.trim_end()).is_absolute() && Path::new(path.trim_end()).exists()
                })
            };
            if is_there(builtins) && (!self.plus_plus || is_there(libc)) {
                return Some(Compiler::Clang { c, cpp });
            }
        }
        zig_command(root).map(Compiler::Zig)
    }
}

/// Zig, however it is called.
pub(super) fn zig(words: &[PathBuf], root: &Path) -> Tool {
    let mut words = words.iter();
    let first = words.next().cloned().unwrap_or_default();
    Tool::new(&first, root).args(words)
}

/// Zig as a command: the one of the project's environment for Python, else that of the PATH; `None`
/// where there is none of the right version.
pub(super) fn zig_command(root: &Path) -> Option<Vec<PathBuf>> {
    let module = |python: PathBuf| vec![python, "-m".into(), "ziglang".into()];
    let own = Some(root.join(".venv/bin/python")).filter(|python| python.exists()).map(module);
    let on_path = find(root, &[], "zig").map(|zig| vec![zig]);
    own.into_iter().chain(on_path).find(|words| is_right(words, root))
}

fn is_right(words: &[PathBuf], root: &Path) -> bool {
    let version = || {
        let (first, rest) = words.split_first()?;
        let mut args: Vec<_> = rest.iter().filter_map(|word| word.to_str()).collect();
        args.push("version");
        let version = version(&says(first, root, &args)?)?;
        Some(version)
    };
    version().is_some_and(|version| version.major == 0 && version.minor == ZIG_MINOR)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Kind, Language};

    #[test]
    fn every_list_of_a_column_is_freed_once() {
        let folder = tempfile::tempdir().unwrap();
        let project = Project::create(folder.path(), "subject", Language::C, Kind::Sink).unwrap();
        generate(&project).unwrap();
        let text = std::fs::read_to_string(folder.path().join("bindings/plugin.c")).unwrap();
        let start = "void wasink_plugin_batches_dictionary_column_free(";
        let (_, column) = text.split_once(start).unwrap();
        let (body, _) = column.split_once("\n}").unwrap();
        for list in ["values", "codes"] {
            assert_eq!(body.matches(&format!("_free(&ptr->{list});")).count(), 1, "{body}");
        }
    }
}
