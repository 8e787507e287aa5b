//! Bindings for the languages whose generators are libraries.

use std::path::Path;

use wit_bindgen_core::{Files, WorldGenerator};

use crate::{AuthorError, component, contract};

/// Generates into `folder`, in place of what is there.
pub(crate) fn generate(
    mut generator: Box<dyn WorldGenerator>,
    contract: &Path,
    world: &str,
    folder: &Path,
) -> Result<(), AuthorError> {
    let wrong = |reason: String| AuthorError::Contract { path: contract.to_owned(), reason };
    let (mut resolve, world) = component::world(contract, world).map_err(wrong)?;
    let mut files = Files::default();
    let generated = generator.generate(&mut resolve, world, &mut files);
    generated.map_err(|error| wrong(format!("{error:#}")))?;
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(AuthorError::file(folder)(error));
        }
        _ => {}
    }
    files.iter().try_for_each(|(name, bytes)| contract::put(&folder.join(name), bytes))
}
