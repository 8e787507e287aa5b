//! Listings of directories, read as the guest asks for them: wasmtime collects them whole in the host's
//! memory, where none of the guest's limits counts them.

use cap_std::fs::{Dir, DirEntry, FileType, FileTypeExt as _, ReadDir};
use wasmtime::StoreContextMut;
use wasmtime::component::{LinkerInstance, Resource, ResourceType};
use wasmtime_wasi::filesystem::Descriptor;
use wasmtime_wasi::p2::FsError;
use wasmtime_wasi::p2::bindings::filesystem::types::{DescriptorType, DirectoryEntry, ErrorCode};

use crate::files::answer;
use crate::host::HostState;

/// A directory that is open, and what of it has not been asked for yet.
struct Listing(ReadDir);

/// Puts our listings in the place of wasmtime's.
pub(crate) fn add_to_linker(types: &mut LinkerInstance<'_, HostState>) -> wasmtime::Result<()> {
    types.resource(
        "directory-entry-stream",
        ResourceType::host::<Listing>(),
        |mut store: StoreContextMut<'_, HostState>, handle| {
            store.data_mut().table.delete(Resource::<Listing>::new_own(handle))?;
            Ok(())
        },
    )?;
    types.func_wrap(
        "[method]descriptor.read-directory",
        |mut store, (directory,): (Resource<Descriptor>,)| {
            Ok((answer(open(store.data_mut(), &directory))?,))
        },
    )?;
    types.func_wrap(
        "[method]directory-entry-stream.read-directory-entry",
        |mut store, (listing,): (Resource<Listing>,)| {
            let state: &mut HostState = store.data_mut();
            let next = state.table.get_mut(&listing)?.0.next();
            Ok((answer(next.map(|entry| told(&entry?)).transpose())?,))
        },
    )
}

fn open(
    state: &mut HostState,
    directory: &Resource<Descriptor>,
) -> Result<Resource<Listing>, FsError> {
    let Descriptor::Dir(directory) = state.table.get(directory)? else {
        return Err(ErrorCode::NotDirectory.into());
    };
    let file = directory.dir.try_clone().map_err(ErrorCode::from)?;
    let listing = Listing(Dir::from_std_file(file).entries().map_err(ErrorCode::from)?);
    Ok(state.table.push(listing)?)
}

fn told(entry: &DirEntry) -> Result<DirectoryEntry, FsError> {
    let name = entry.file_name().into_string();
    let name = name.map_err(|_| ErrorCode::IllegalByteSequence)?;
    let kind = type_of(entry.file_type().map_err(ErrorCode::from)?);
    let type_ = match kind {
        // Some file systems don't write it beside the name.
        DescriptorType::Unknown => {
            entry.metadata().map_or(kind, |metadata| type_of(metadata.file_type()))
        }
        kind => kind,
    };
    Ok(DirectoryEntry { type_, name })
}

fn type_of(kind: FileType) -> DescriptorType {
    if kind.is_dir() {
        DescriptorType::Directory
    } else if kind.is_file() {
        DescriptorType::RegularFile
    } else if kind.is_symlink() {
        DescriptorType::SymbolicLink
    } else if kind.is_block_device() {
        DescriptorType::BlockDevice
    } else if kind.is_char_device() {
        DescriptorType::CharacterDevice
    } else if kind.is_fifo() {
        DescriptorType::Fifo
    } else {
        DescriptorType::Unknown
    }
}
