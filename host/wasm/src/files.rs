//! Files of guests: the data directory, private modes, whole appends.
//!
//! WASI has no notion of a file's mode, and wasmtime makes files for everybody to read. What guests
//! make here is for the owner alone (files 0600) or for the owner and the group (directories 0750),
//! so making files and directories is taken over from wasmtime; all the rest is wasmtime's own.

use std::io;
use std::sync::Arc;

use cap_std::fs::{Dir, DirBuilder, OpenOptions};
use wasmtime::component::{Linker, LinkerInstance, Resource};
use wasmtime_wasi::filesystem::{self, Descriptor, WasiFilesystemView as _};
use wasmtime_wasi::p2::bindings::filesystem::types::{
    DescriptorFlags, ErrorCode, HostDescriptor, OpenFlags, PathFlags,
};
use wasmtime_wasi::p2::{DynOutputStream, FsError, IoError};
use wasmtime_wasi::{FsPerms, OpenMode};

use crate::bindings::wasink::plugin::batches::AppendError;
use crate::host::HostState;
use crate::listing;
use crate::quota::{self, ENTRY, Metered, Quota};

/// Where a plugin sees its data directory.
const DATA: &str = "/data";

/// The directory that an instance was granted.
#[derive(Clone)]
pub(crate) struct DataDirectory {
    pub(crate) directory: Arc<Dir>,
    pub(crate) quota: Arc<Quota>,
}

/// Puts our functions in the place of wasmtime's. To be called after those are there.
pub(crate) fn add_to_linker(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    linker
        .instance("wasi:filesystem/preopens@0.2.12")?
        .func_wrap("get-directories", |mut store, (): ()| Ok((preopens(store.data_mut())?,)))?;
    let mut types = linker.instance("wasi:filesystem/types@0.2.12")?;
    types.func_wrap_async(
        "[method]descriptor.open-at",
        |mut store,
         (directory, path_flags, path, open_flags, flags): (
            Resource<Descriptor>,
            PathFlags,
            String,
            OpenFlags,
            DescriptorFlags,
        )| {
            Box::new(async move {
                let state = store.data_mut();
                let opened = open_at(state, directory, path_flags, path, open_flags, flags).await;
                Ok((answer(opened)?,))
            })
        },
    )?;
    types.func_wrap_async(
        "[method]descriptor.create-directory-at",
        |mut store, (directory, path): (Resource<Descriptor>, String)| {
            Box::new(async move {
                let made = create_directory_at(store.data_mut(), &directory, &path);
                Ok((answer(made)?,))
            })
        },
    )?;
    add_growing(&mut types)?;
    listing::add_to_linker(&mut types)?;
    linker.allow_shadowing(false);
    Ok(())
}

/// The functions by which a directory grows: wasmtime's, once there is room.
fn add_growing(types: &mut LinkerInstance<'_, HostState>) -> wasmtime::Result<()> {
    types.func_wrap_async(
        "[method]descriptor.write",
        |mut store, (file, bytes, offset): (Resource<Descriptor>, Vec<u8>, u64)| {
            Box::new(async move {
                let state: &mut HostState = store.data_mut();
                let written = async {
                    let length = bytes.len() as u64;
                    let cost = match state.table.get(&file)? {
                        Descriptor::File(file) => quota::cost(&file.file, offset, length),
                        Descriptor::Dir(_) => length,
                    };
                    take(state, cost)?;
                    HostDescriptor::write(&mut state.filesystem(), file, bytes, offset).await
                };
                Ok((answer(written.await)?,))
            })
        },
    )?;
    types.func_wrap(
        "[method]descriptor.write-via-stream",
        |mut store, (file, offset): (Resource<Descriptor>, u64)| {
            let state: &mut HostState = store.data_mut();
            let at = place(state, &file, offset)?;
            let stream = HostDescriptor::write_via_stream(&mut state.filesystem(), file, offset);
            Ok((answer(metered(state, stream, at))?,))
        },
    )?;
    types.func_wrap(
        "[method]descriptor.append-via-stream",
        |mut store, (file,): (Resource<Descriptor>,)| {
            let state: &mut HostState = store.data_mut();
            let stream = HostDescriptor::append_via_stream(&mut state.filesystem(), file);
            Ok((answer(metered(state, stream, None))?,))
        },
    )?;
    types.func_wrap_async(
        "[method]descriptor.set-size",
        |mut store, (file, size): (Resource<Descriptor>, u64)| {
            Box::new(async move {
                let state: &mut HostState = store.data_mut();
                let set = async {
                    let old = match state.table.get(&file)? {
                        Descriptor::File(file) => file.file.metadata().map_or(0, |old| old.len()),
                        Descriptor::Dir(_) => 0,
                    };
                    take(state, size.saturating_sub(old))?;
                    HostDescriptor::set_size(&mut state.filesystem(), file, size).await
                };
                Ok((answer(set.await)?,))
            })
        },
    )?;
    types.func_wrap("filesystem-error-code", |mut store, (error,): (Resource<IoError>,)| {
        let state: &mut HostState = store.data_mut();
        let error = state.table.get(&error)?.downcast_ref::<io::Error>();
        Ok((error.map(code),))
    })?;
    types.func_wrap_async(
        "[method]descriptor.symlink-at",
        |mut store, (directory, old, new): (Resource<Descriptor>, String, String)| {
            Box::new(async move {
                let state: &mut HostState = store.data_mut();
                let made = async {
                    take(state, ENTRY)?;
                    HostDescriptor::symlink_at(&mut state.filesystem(), directory, old, new).await
                };
                Ok((answer(made.await)?,))
            })
        },
    )?;
    types.func_wrap_async(
        "[method]descriptor.link-at",
        |mut store,
         (directory, flags, old, to, new): (
            Resource<Descriptor>,
            PathFlags,
            String,
            Resource<Descriptor>,
            String,
        )| {
            Box::new(async move {
                let state: &mut HostState = store.data_mut();
                let made = async {
                    take(state, ENTRY)?;
                    let mut view = state.filesystem();
                    HostDescriptor::link_at(&mut view, directory, flags, old, to, new).await
                };
                Ok((answer(made.await)?,))
            })
        },
    )
}

/// Takes room in the data directory.
fn take(state: &HostState, bytes: u64) -> Result<(), FsError> {
    let Some(data) = &state.data else { return Ok(()) };
    data.quota.take(bytes).map_err(|error| code(&error).into())
}

/// What a guest is told of an error. wasmtime knows none of a quota.
fn code(error: &io::Error) -> ErrorCode {
    match error.kind() {
        io::ErrorKind::QuotaExceeded => ErrorCode::Quota,
        _ => ErrorCode::from(error),
    }
}

/// Where a stream that does not append begins.
fn place(
    state: &HostState,
    file: &Resource<Descriptor>,
    offset: u64,
) -> wasmtime::Result<Option<(Arc<std::fs::File>, u64)>> {
    Ok(match state.table.get(file)? {
        Descriptor::File(file) => Some((file.file.clone(), offset)),
        Descriptor::Dir(_) => None,
    })
}

/// A stream into a file that takes room before it writes.
fn metered(
    state: &mut HostState,
    stream: Result<Resource<DynOutputStream>, FsError>,
    at: Option<(Arc<std::fs::File>, u64)>,
) -> Result<Resource<DynOutputStream>, FsError> {
    let stream = stream?;
    let Some(DataDirectory { quota, .. }) = state.data.clone() else { return Ok(stream) };
    let inner = state.table.delete(stream)?;
    let metered: DynOutputStream = Box::new(Metered { inner, quota, at });
    Ok(state.table.push(metered)?)
}

fn preopens(state: &mut HostState) -> wasmtime::Result<Vec<(Resource<Descriptor>, String)>> {
    let Some(DataDirectory { directory, .. }) = &state.data else { return Ok(Vec::new()) };
    let directory = directory.try_clone()?.into_std_file();
    let directory = filesystem::Dir::new(directory, FsPerms::ReadWrite, OpenMode::READ, true);
    let handle = state.table.push(Descriptor::Dir(directory))?;
    Ok(vec![(handle, DATA.to_owned())])
}

async fn open_at(
    state: &mut HostState,
    directory: Resource<Descriptor>,
    path_flags: PathFlags,
    path: String,
    mut open_flags: OpenFlags,
    flags: DescriptorFlags,
) -> Result<Resource<Descriptor>, FsError> {
    if open_flags.contains(OpenFlags::CREATE) && !open_flags.contains(OpenFlags::DIRECTORY) {
        let made = create_file(state, &directory, &path);
        match made {
            // It is ours now, so there is nothing left to make or to exclude. Left in, it would
            // let a guest write that has opened a file to be read.
            Ok(()) => open_flags &= !(OpenFlags::CREATE | OpenFlags::EXCLUSIVE),
            Err(Creation::Refused(error)) => return Err(error),
            Err(Creation::Taken) if open_flags.contains(OpenFlags::EXCLUSIVE) => {
                return Err(ErrorCode::Exist.into());
            }
            // Nothing but the above makes files: where a link leads nowhere, wasmtime would make
            // what it leads to, for everybody to read.
            Err(Creation::Taken) => open_flags &= !OpenFlags::CREATE,
            // What is there already, and what is wrong with the path, is wasmtime's to tell.
            Err(Creation::NotDone) => {}
        }
    }
    let mut view = state.filesystem();
    let opened =
        HostDescriptor::open_at(&mut view, directory, path_flags, path, open_flags, flags).await?;
    if let (Some(DataDirectory { quota, .. }), Descriptor::File(file)) =
        (&state.data, state.table.get(&opened)?)
    {
        quota.opened(&file.file);
    }
    Ok(opened)
}

enum Creation {
    /// Something else: a directory that is not there, a path that leads out.
    NotDone,
    /// There is something of this name.
    Taken,
    Refused(FsError),
}

/// Makes an empty file that only the owner may read and write.
fn create_file(
    state: &HostState,
    directory: &Resource<Descriptor>,
    path: &str,
) -> Result<(), Creation> {
    let directory = writable(state, directory).map_err(Creation::Refused)?;
    if directory.symlink_metadata(path).is_ok() {
        return Err(Creation::Taken);
    }
    take(state, ENTRY).map_err(Creation::Refused)?;
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    cap_std::fs::OpenOptionsExt::mode(&mut options, 0o600);
    directory.open_with(path, &options).map(drop).map_err(|error| match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Creation::Refused(ErrorCode::from(error).into())
        }
        io::ErrorKind::AlreadyExists => Creation::Taken,
        _ => Creation::NotDone,
    })
}

fn create_directory_at(
    state: &HostState,
    directory: &Resource<Descriptor>,
    path: &str,
) -> Result<(), FsError> {
    let directory = writable(state, directory)?;
    take(state, ENTRY)?;
    let builder = {
        #[cfg_attr(not(unix), expect(unused_mut, reason = "only unix has modes"))]
        let mut builder = DirBuilder::new();
        #[cfg(unix)]
        cap_std::fs::DirBuilderExt::mode(&mut builder, 0o750);
        builder
    };
    directory.create_dir_with(path, &builder).map_err(|error| ErrorCode::from(error).into())
}

/// The guest's directory as one that paths can't lead out of.
fn writable(state: &HostState, directory: &Resource<Descriptor>) -> Result<Dir, FsError> {
    let Descriptor::Dir(directory) = state.table.get(directory)? else {
        return Err(ErrorCode::NotDirectory.into());
    };
    if directory.perms.write_not_permitted() {
        return Err(ErrorCode::NotPermitted.into());
    }
    let file = directory.dir.try_clone().map_err(ErrorCode::from)?;
    Ok(Dir::from_std_file(file))
}

/// What the guest is told: an error of the file system is an answer, anything else ends the guest.
pub(crate) fn answer<T>(result: Result<T, FsError>) -> wasmtime::Result<Result<T, ErrorCode>> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(error) => Ok(Err(error.downcast()?)),
    }
}

/// Appends `bytes` from the `skip`th on, and returns how many there are in all.
///
/// Linux appends what one call takes as a whole, at the end as it is at that moment, whatever other
/// processes do. A short write (a full disk, a signal) is gone on with; an error says how far it got.
pub(crate) fn append(
    descriptor: &Descriptor,
    bytes: &[u8],
    skip: u64,
    quota: Option<&Quota>,
) -> Result<u64, AppendError> {
    let length = bytes.len() as u64;
    let fail = |written: u64, code: ErrorCode| Err(AppendError { written, code });
    let file = match descriptor {
        Descriptor::File(file) => file,
        Descriptor::Dir(_) => return fail(skip, ErrorCode::IsDirectory),
    };
    if file.perms.write_not_permitted() || !file.open_mode.contains(OpenMode::WRITE) {
        return fail(skip, ErrorCode::NotPermitted);
    }
    let mut written = usize::try_from(skip).unwrap_or(usize::MAX);
    if written > bytes.len() {
        return fail(skip, ErrorCode::Invalid);
    }
    if let Some(Err(error)) = quota.map(|quota| quota.take(length - skip)) {
        return fail(skip, code(&error));
    }
    while let Some(rest) = bytes.get(written..)
        && !rest.is_empty()
    {
        match append_once(&file.file, rest) {
            Ok(0) => return fail(written as u64, ErrorCode::InsufficientSpace),
            Ok(more) => written += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return fail(written as u64, error.into()),
        }
    }
    Ok(length)
}

#[cfg(target_os = "linux")]
fn append_once(file: &std::fs::File, bytes: &[u8]) -> io::Result<usize> {
    use rustix::io::{ReadWriteFlags, pwritev2};

    let bytes = [io::IoSlice::new(bytes)];
    Ok(pwritev2(file, &bytes, 0, ReadWriteFlags::APPEND)?)
}

#[cfg(not(target_os = "linux"))]
fn append_once(mut file: &std::fs::File, bytes: &[u8]) -> io::Result<usize> {
    use std::io::{Seek as _, Write as _};

    file.seek(io::SeekFrom::End(0))?;
    file.write(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_be_written_to_is_appended_to_and_no_more_than_there_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let file = std::fs::File::options().create_new(true).append(true).open(&path).unwrap();
        let descriptor = |mode: OpenMode, perms: FsPerms| {
            let file = file.try_clone().unwrap();
            Descriptor::File(filesystem::File::new(file, perms, mode, true))
        };
        let append = |descriptor: &Descriptor, skip: u64| {
            append(descriptor, b"abc", skip, None).map_err(|error| (error.written, error.code))
        };
        let both = descriptor(OpenMode::READ | OpenMode::WRITE, FsPerms::ReadWrite);
        assert_eq!(append(&both, 1), Ok(3));
        assert_eq!(append(&both, 3), Ok(3));
        assert_eq!(append(&both, 4), Err((4, ErrorCode::Invalid)));
        for (mode, perms) in [
            (OpenMode::READ, FsPerms::ReadWrite),
            (OpenMode::READ | OpenMode::WRITE, FsPerms::ReadOnly),
        ] {
            assert_eq!(append(&descriptor(mode, perms), 0), Err((0, ErrorCode::NotPermitted)));
        }
        assert_eq!(std::fs::read(&path).unwrap(), b"bc");
    }
}
