//! A plugin's project.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::manifest::{Contract, FILE, Manifest, NAME, is_name};
use crate::{AuthorError, Kind, Language, build, contract};

/// In templates, where the project's name is to stand.
const PLACEHOLDER: &str = "wasink-plugin-name";

/// The folder of a plugin's sources, with `wasink-plugin.toml` in it.
#[derive(Debug)]
pub struct Project {
    pub(crate) root: PathBuf,
    pub(crate) manifest: Manifest,
}

/// A component that was built.
#[derive(Debug, Serialize)]
#[non_exhaustive]
pub struct Built {
    /// Its file, in the project's folder.
    pub file: PathBuf,
    /// How large it is.
    pub bytes: u64,
    /// How long it took.
    #[serde(skip)]
    pub took: Duration,
}

impl Project {
    /// Makes the project of a plugin in a folder that is empty, or not there yet.
    ///
    /// # Errors
    ///
    /// [`AuthorError::Manifest`] for a name that no plugin can have, [`AuthorError::Occupied`] where
    /// there is something in the folder, [`AuthorError::File`] where it can't be written to.
    pub fn create(
        folder: &Path,
        name: &str,
        language: Language,
        kind: Kind,
    ) -> Result<Self, AuthorError> {
        if !is_name(name) {
            let reason = format!("`{name}` is no name of a plugin: {NAME}");
            return Err(AuthorError::Manifest { path: folder.join(FILE), reason });
        }
        let occupied = match std::fs::read_dir(folder) {
            Ok(mut entries) => entries.next().is_some(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(AuthorError::file(folder)(error)),
        };
        if occupied {
            return Err(AuthorError::Occupied { path: folder.to_owned() });
        }
        let project =
            Self { root: folder.to_owned(), manifest: Manifest::new(name, language, kind) };
        for (path, bytes) in language.template(kind) {
            let text = String::from_utf8_lossy(bytes).replace(PLACEHOLDER, name);
            contract::put(&folder.join(path), text.as_bytes())?;
        }
        build::of(language).complete(&project)?;
        contract::write(folder)?;
        contract::put(&folder.join("README.md"), build::readme(&project).as_bytes())?;
        contract::put(&folder.join(".gitignore"), build::ignored(&project).as_bytes())?;
        // Last: without it this is no project.
        project.manifest.write(folder)?;
        Ok(project)
    }

    /// The project in this folder.
    ///
    /// # Errors
    ///
    /// [`AuthorError::NoProject`] where there is none, [`AuthorError::Manifest`] where what it says of
    /// itself is not right.
    pub fn open(folder: &Path) -> Result<Self, AuthorError> {
        let root = std::path::absolute(folder).map_err(AuthorError::file(folder))?;
        let manifest = Manifest::read(&root)?;
        Ok(Self { root, manifest })
    }

    /// What the plugin is called.
    pub fn name(&self) -> &str {
        &self.manifest.name
    }

    /// The language that it is in.
    pub fn language(&self) -> Language {
        self.manifest.language
    }

    /// What it is.
    pub fn kind(&self) -> Kind {
        self.manifest.kind
    }

    /// Where its component is, once it is built.
    pub fn component(&self) -> PathBuf {
        self.root.join(format!("{}.wasm", self.manifest.name))
    }

    /// The one command that installs what its build needs beside the language itself, to be run in the
    /// project's folder; `None` where there is nothing.
    pub fn install(&self) -> Option<&'static str> {
        build::of(self.language()).install()
    }

    /// Puts this program's contract in place of the one that the project has.
    ///
    /// # Errors
    ///
    /// [`AuthorError::File`] where that can't be written.
    pub fn update_contract(&mut self) -> Result<(), AuthorError> {
        contract::write(&self.root)?;
        build::of(self.language()).complete_contract(self)?;
        self.manifest.contract = Contract::of_this_program();
        self.manifest.write(&self.root)
    }

    /// Builds the component. `told` gets each command before it is run. Nothing is installed, and
    /// nothing is downloaded by anything but cargo, for a project in Rust.
    ///
    /// # Errors
    ///
    /// [`AuthorError`]: what is missing or wrong, and the way out. A component that was built before
    /// stays as it is.
    pub fn build(&self, told: &mut dyn FnMut(&str)) -> Result<Built, AuthorError> {
        let begun = Instant::now();
        contract::check(&self.root, &self.manifest.contract.digest)?;
        let work = self.root.join("build");
        std::fs::create_dir_all(&work).map_err(AuthorError::file(&work))?;
        let made = build::of(self.language()).build(self, told)?;
        let file = self.component();
        let bytes = std::fs::read(&made).map_err(AuthorError::file(&made))?;
        self.put_in_place(&bytes, &file)?;
        Ok(Built { file, bytes: bytes.len() as u64, took: begun.elapsed() })
    }

    /// As a whole, so that whoever watches the folder finds the old one or the new one.
    fn put_in_place(&self, bytes: &[u8], file: &Path) -> Result<(), AuthorError> {
        use std::io::Write as _;
        let written = || -> io::Result<()> {
            let mut new = tempfile::NamedTempFile::new_in(&self.root)?;
            new.write_all(bytes)?;
            #[cfg(unix)]
            {
                use std::os::unix::fs::PermissionsExt as _;
                // It is made for its owner alone, and a plugin may be anybody's to read.
                new.as_file().set_permissions(std::fs::Permissions::from_mode(0o644))?;
            }
            new.persist(file)?;
            Ok(())
        };
        written().map_err(AuthorError::file(file))
    }
}
