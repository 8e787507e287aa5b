//! Directories that the chassis makes and opens.

use std::io;
use std::path::Path;

use cap_std::ambient_authority;
use cap_std::fs::Dir;

/// Opens `path` as a directory, making it and its parents where they are not there: readable and
/// writable for the owner, readable for the group, closed to everybody else.
///
/// # Errors
///
/// What the file system says.
pub fn open_private(path: &Path) -> io::Result<Dir> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o750);
    builder.create(path)?;
    Dir::open_ambient_dir(path, ambient_authority())
}
