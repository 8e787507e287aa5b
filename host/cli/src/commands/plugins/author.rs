//! `wasink plugins new` and `build`: an author's project.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use serde_json::json;
use wasink_author::{AuthorError, Kind, Project};

use crate::exit::Failure;
use crate::flags::{Build, New, PluginKind};
use crate::out;
use crate::show;

impl From<PluginKind> for Kind {
    fn from(kind: PluginKind) -> Self {
        match kind {
            PluginKind::Sink => Self::Sink,
            PluginKind::FeedSource => Self::FeedSource,
            PluginKind::FeedSink => Self::FeedSink,
        }
    }
}

/// Makes a project.
pub(super) fn new(new: &New) -> Result<(), Failure> {
    let bundled = match new.kind {
        PluginKind::Sink => wasink_bundled::PLUGINS,
        PluginKind::FeedSource => wasink_bundled::FEED_SOURCES,
        PluginKind::FeedSink => wasink_bundled::FEED_SINKS,
    };
    if bundled.iter().any(|(name, _)| *name == new.name) {
        return Err(anyhow!(
            "a plugin `{}` comes with wasink, and yours would take its place; choose another name",
            new.name
        )
        .into());
    }
    let folder = new.directory.clone().unwrap_or_else(|| PathBuf::from(&new.name));
    let project = Project::create(&folder, &new.name, new.language, new.kind.into())
        .context("the project can't be made")?;
    let folder = folder.display();
    if new.json.json {
        let object = json!({
            "name": project.name(), "language": project.language(), "kind": project.kind(),
            "directory": folder.to_string(), "install": project.install(),
        });
        out::print(&show::json(&object))?;
        return Ok(());
    }
    let install = project.install();
    let install = install.map_or_else(String::new, |command| {
        format!("    {command}        # once, where that is not there yet\n")
    });
    out::print(&format!(
        "made `{folder}`, a {} in {}; go on with\n\n    cd {folder}\n{install}    wasink plugins build\n    \
         wasink plugins test\n",
        project.kind(),
        project.language(),
    ))
}

/// Builds the project in a folder.
pub(super) fn build(build: &Build) -> Result<(), Failure> {
    let mut project = open(&build.directory)?;
    if build.update_contract {
        project.update_contract().context("the contract can't be put into the project")?;
    }
    let built = project.build(&mut |command| out::tell(&format!("$ {command}\n")));
    let built = built.map_err(|error| {
        let context = format!("`{}` can't be built", project.name());
        anyhow!(error).context(context)
    })?;
    if build.json.json {
        out::print(&show::json(&json!(built)))?;
        return Ok(());
    }
    let file =
        built.file.file_name().map_or_else(String::new, |name| name.to_string_lossy().into());
    out::print(&format!(
        "built {file}: {} KiB, {:.1} s; try it by `wasink plugins test`",
        built.bytes.div_ceil(1024),
        built.took.as_secs_f64(),
    ))
}

/// The component of the project in this folder, where it is built.
pub(super) fn component() -> Result<String, Failure> {
    let project = open(Path::new("."))?;
    let file = format!("{}.wasm", project.name());
    if !Path::new(&file).is_file() {
        return Err(anyhow!("`{file}` is not there yet: `wasink plugins build` makes it").into());
    }
    Ok(file)
}

fn open(folder: &Path) -> Result<Project, Failure> {
    Project::open(folder).map_err(|error: AuthorError| anyhow!(error).into())
}
