//! The world that a component is made for where its tool takes no more than one.

use crate::{AuthorError, Project, contract, files};

/// Puts the contract into `build/wit`, with a world `plugin` that has a call of WASI's beside it: the one
/// that gives the data directory, for who appends to files by the host or has no files of the language's.
pub(super) fn put(project: &Project) -> Result<(), AuthorError> {
    let folder = project.root.join("build/wit");
    match std::fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(AuthorError::file(folder)(error));
        }
        _ => {}
    }
    for (path, _) in files::CONTRACT {
        let from = project.root.join(contract::FOLDER).join(path);
        let to = if path.starts_with("deps/") {
            folder.join(path)
        } else {
            folder.join("deps/wasink-plugin").join(path)
        };
        contract::put(&to, &std::fs::read(&from).map_err(AuthorError::file(from))?)?;
    }
    let version = &project.manifest.contract.version;
    let text = format!(
        "package local:plugin;\n\nworld plugin {{\n  include wasink:plugin/{}@{version};\n  import \
         wasi:filesystem/preopens@0.2.12;\n}}\n",
        project.kind().world()
    );
    contract::put(&folder.join("world.wit"), text.as_bytes())
}
