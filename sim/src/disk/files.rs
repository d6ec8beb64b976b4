//! The few file operations the image is made with.
//!
//! Rule: sparse files stay sparse. Must never: follow a path out of the tree.

use super::image::Inode;
use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::{self, File},
    io,
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
};

/// The names of a directory.
pub(super) type Listing = BTreeMap<OsString, Inode>;

pub(super) fn list(dir: &Path) -> io::Result<Listing> {
    let mut listing = Listing::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        listing.insert(entry.file_name(), entry.metadata()?.ino());
    }
    Ok(listing)
}

pub(super) fn search(dir: &Path, inode: Inode) -> io::Result<Option<PathBuf>> {
    for (name, found) in list(dir)? {
        let path = dir.join(name);
        if found == inode {
            return Ok(Some(path));
        }
        if path.is_dir()
            && let Some(path) = search(&path, inode)?
        {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// The parts of a file that are not holes: fjall's journals are 64 MiB of almost nothing.
pub(super) fn extents(file: &File) -> io::Result<Vec<(u64, u64)>> {
    use rustix::fs::{SeekFrom, seek};
    let mut extents = Vec::new();
    let mut at = 0;
    loop {
        let start = match seek(file, SeekFrom::Data(at)) {
            Ok(start) => start,
            Err(rustix::io::Errno::NXIO) => return Ok(extents),
            Err(error) => return Err(error.into()),
        };
        let end = seek(file, SeekFrom::Hole(start))?;
        extents.push((start, end));
        at = end;
    }
}

pub(super) fn copy(from: &File, to: &File, start: u64, end: u64) -> io::Result<()> {
    const CHUNK: u64 = 1 << 20;
    let mut buffer = vec![0; CHUNK.min(end - start) as usize];
    let mut at = start;
    while at < end {
        let part = &mut buffer[..CHUNK.min(end - at) as usize];
        from.read_exact_at(part, at)?;
        to.write_all_at(part, at)?;
        at += part.len() as u64;
    }
    Ok(())
}

/// Reads what there is; the rest stays zero (the file may be shorter now).
pub(super) fn read_up_to(file: &File, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
    let mut done = 0;
    while done < bytes.len() {
        match file.read_at(&mut bytes[done..], offset + done as u64)? {
            0 => break,
            read => done += read,
        }
    }
    Ok(())
}
