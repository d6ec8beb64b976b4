//! The few file operations a store is made of, with errors that name the place.
//!
//! Rule: a name is durable only after its directory was synced. Must never: return an error without
//! the path it is about.

use crate::storage::StorageError;
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::Path,
};

/// What the system said about a path, with what to do about it.
pub(super) fn io_error(doing: &str, path: &Path, error: &io::Error) -> StorageError {
    let cure = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "free some space and restart",
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "give this user write access to RAFT_DIR"
        }
        _ => "check the disk and restart",
    };
    StorageError::Io(format!("cannot {doing} {}: {error}; {cure}", path.display()))
}

/// Makes the names in a directory durable.
pub(super) fn sync_dir(path: &Path) -> Result<(), StorageError> {
    File::open(path)
        .and_then(|dir| dir.sync_all())
        .map_err(|error| io_error("sync directory", path, &error))
}

/// Makes everything under a directory durable, names included.
pub(super) fn sync_tree(path: &Path) -> Result<(), StorageError> {
    for name in names(path)? {
        let child = path.join(name);
        if child.is_dir() {
            sync_tree(&child)?;
        } else {
            File::open(&child)
                .and_then(|file| file.sync_all())
                .map_err(|error| io_error("sync", &child, &error))?;
        }
    }
    sync_dir(path)
}

/// The names in a directory, sorted.
pub(super) fn names(path: &Path) -> Result<Vec<String>, StorageError> {
    let read = || {
        let mut names = Vec::new();
        for entry in fs::read_dir(path)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    };
    read().map_err(|error| io_error("list", path, &error))
}

/// Makes a directory and those above it; whatever is new is durable afterwards.
pub(super) fn make_dir(path: &Path) -> Result<(), StorageError> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    if let Some(parent) = parent {
        make_dir(parent)?;
    }
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(io_error("create directory", path, &error));
        }
        _ => {}
    }
    sync_dir(parent.unwrap_or(Path::new(".")))
}

/// Writes a whole file so that after a crash it is there completely or not at all.
pub(super) fn write_atomically(path: &Path, contents: &[u8]) -> Result<(), StorageError> {
    let beside = path.with_extension("tmp");
    let written = || {
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).open(&beside)?;
        file.write_all(contents)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    written().map_err(|error| io_error("write", path, &error))?;
    path.parent().map_or(Ok(()), sync_dir)
}

/// Removes a file or a tree, if it is there.
pub(super) fn remove(path: &Path) -> Result<(), StorageError> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(io_error("remove", path, &error))
        }
        _ => Ok(()),
    }
}
