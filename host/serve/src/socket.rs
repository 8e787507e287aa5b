//! The Unix socket: private from its first moment, taken over only where nobody listens.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, fchmod};
use tokio::net::{UnixListener, UnixSocket};

use crate::ServeError;

/// Who may connect: the user that runs the server.
const MODE: u32 = 0o600;

/// Connections that wait to be accepted.
pub(crate) const BACKLOG: u32 = 1024;

/// The name of a socket, removed with this.
#[derive(Debug)]
pub(crate) struct Name {
    path: PathBuf,
    identity: (u64, u64),
}

impl Name {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        // Another server may have its own there by now.
        if fs::symlink_metadata(&self.path).is_ok_and(|found| identity(&found) == self.identity) {
            drop(fs::remove_file(&self.path));
        }
    }
}

/// Listens on a new socket. Has to be called within the runtime.
pub(crate) fn listen(path: &Path) -> Result<(UnixListener, Name), ServeError> {
    let fail = |source| ServeError::Socket { path: path.to_owned(), source };
    if SocketAddr::from_pathname(path).is_err() {
        return Err(ServeError::SocketPath { path: path.to_owned() });
    }
    make_way(path)?;
    let socket = UnixSocket::new_stream().map_err(fail)?;
    // On Linux the file is made with the mode that the socket has, so at no moment can others
    // connect. Elsewhere that is no way, and they can until the next step but one.
    match fchmod(&socket, Mode::from_raw_mode(MODE)) {
        Err(error) if cfg!(target_os = "linux") => return Err(fail(error.into())),
        _ => {}
    }
    socket.bind(path).map_err(fail)?;
    let found = fs::symlink_metadata(path).map_err(fail)?;
    let name = Name { path: path.to_owned(), identity: identity(&found) };
    fs::set_permissions(path, fs::Permissions::from_mode(MODE)).map_err(fail)?;
    let listener = socket.listen(BACKLOG).map_err(fail)?;
    Ok((listener, name))
}

/// Removes a socket that a process left behind.
fn make_way(path: &Path) -> Result<(), ServeError> {
    let fail = |source: io::Error| Err(ServeError::Socket { path: path.to_owned(), source });
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return fail(error),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(ServeError::NotASocket { path: path.to_owned() });
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
        Ok(_) => return Err(ServeError::SocketTaken { path: path.to_owned() }),
        Err(error) => return fail(error),
    }
    fs::remove_file(path).or_else(fail)
}

fn identity(found: &fs::Metadata) -> (u64, u64) {
    (found.dev(), found.ino())
}
