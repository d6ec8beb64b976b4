//! What of a disk is durable, told as differences from what it holds.
//!
//! Rule: a page is durable as of the last sync of its file, a name as of the last sync of its
//! directory; what is changed is remembered as it was. Must never: remember more than was changed
//! (journals are large and sparse).

use super::files::{Listing, extents, list, read_up_to};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// Bytes of a page, the unit that survives or not.
pub const PAGE: u64 = 4096;
/// Bytes of a sector, the unit that a device writes atomically.
pub const SECTOR: usize = 512;

/// An inode number.
pub type Inode = u64;

/// One file: what of it is durable, told as differences from what it holds now.
#[derive(Debug, Default, Clone)]
pub(super) struct FileState {
    pub(super) durable_len: u64,
    /// Pages changed since the last sync, with their durable bytes (`None`: past the durable end).
    pub(super) undo: BTreeMap<u64, Option<Vec<u8>>>,
    /// Pages a failed sync has dropped: a later sync does not make them durable (they are clean).
    pub(super) lost: BTreeSet<u64>,
}

/// A directory tree and what of it is durable.
#[derive(Debug)]
pub struct Tree {
    pub(super) root: PathBuf,
    /// Holds the bytes of removed files whose removal is not durable, under their inode's number.
    pub(super) graveyard: PathBuf,
    pub(super) files: BTreeMap<Inode, FileState>,
    pub(super) dirs: BTreeMap<PathBuf, Listing>,
}

impl Tree {
    /// Takes everything under `root` as durable.
    ///
    /// # Errors
    /// What the file system says.
    pub fn mount(root: &Path, graveyard: &Path) -> io::Result<Tree> {
        fs::create_dir_all(graveyard)?;
        let mut tree = Tree {
            root: root.to_owned(),
            graveyard: graveyard.to_owned(),
            files: BTreeMap::new(),
            dirs: BTreeMap::new(),
        };
        tree.mount_dir(root)?;
        Ok(tree)
    }

    fn mount_dir(&mut self, dir: &Path) -> io::Result<()> {
        let listing = list(dir)?;
        for (name, inode) in &listing {
            let path = dir.join(name);
            if path.is_dir() {
                self.mount_dir(&path)?;
            } else {
                let durable_len = fs::metadata(&path)?.len();
                self.files.insert(*inode, FileState { durable_len, ..FileState::default() });
            }
        }
        self.dirs.insert(dir.to_owned(), listing);
        Ok(())
    }

    /// Whether `path` lies in this tree.
    #[must_use]
    pub fn contains(&self, path: &Path) -> bool {
        path.starts_with(&self.root)
    }

    /// `length` bytes at `offset` of `file` are about to change.
    ///
    /// # Errors
    /// What the file system says.
    pub fn before_write(&mut self, file: &File, offset: u64, length: u64) -> io::Result<()> {
        if length == 0 {
            return Ok(());
        }
        let state = self.files.entry(file.metadata()?.ino()).or_default();
        for page in offset / PAGE..=(offset + length - 1) / PAGE {
            state.save(file, page)?;
        }
        Ok(())
    }

    /// `file` is about to have `length` bytes.
    ///
    /// # Errors
    /// What the file system says.
    pub fn before_truncate(&mut self, file: &File, length: u64) -> io::Result<()> {
        let state = self.files.entry(file.metadata()?.ino()).or_default();
        let end = state.durable_len;
        for (from, to) in extents(file)? {
            for page in from.max(length) / PAGE..to.min(end).div_ceil(PAGE) {
                state.save(file, page)?;
            }
        }
        Ok(())
    }

    /// `file` has been synced.
    ///
    /// # Errors
    /// What the file system says.
    pub fn synced(&mut self, file: &File) -> io::Result<()> {
        let metadata = file.metadata()?;
        let state = self.files.entry(metadata.ino()).or_default();
        state.durable_len = metadata.len();
        let FileState { undo, lost, .. } = state;
        undo.retain(|page, _| lost.contains(page));
        Ok(())
    }

    /// A sync of `file` has failed: the kernel has dropped its dirty pages.
    ///
    /// # Errors
    /// What the file system says.
    pub fn sync_failed(&mut self, file: &File) -> io::Result<()> {
        let state = self.files.entry(file.metadata()?.ino()).or_default();
        state.lost.extend(state.undo.keys());
        Ok(())
    }

    /// The directory at `path` has been synced.
    ///
    /// # Errors
    /// What the file system says.
    pub fn dir_synced(&mut self, path: &Path) -> io::Result<()> {
        self.dirs.insert(path.to_owned(), list(path)?);
        let named: BTreeSet<Inode> = self.dirs.values().flat_map(|d| d.values().copied()).collect();
        for (name, inode) in list(&self.graveyard)? {
            if !named.contains(&inode) {
                fs::remove_file(self.graveyard.join(name))?;
                self.files.remove(&inode);
            }
        }
        Ok(())
    }

    /// The file at `path` is about to lose this name.
    ///
    /// # Errors
    /// What the file system says.
    pub fn before_unlink(&mut self, path: &Path) -> io::Result<()> {
        let Ok(metadata) = fs::symlink_metadata(path) else { return Ok(()) };
        if metadata.is_dir() {
            return Ok(());
        }
        let inode = metadata.ino();
        let durable = self.dirs.values().any(|names| names.values().any(|known| *known == inode));
        let grave = self.graveyard.join(inode.to_string());
        if durable && !grave.exists() {
            fs::hard_link(path, grave)?;
        } else if !durable && metadata.nlink() == 1 {
            // Its number may be used again for another file.
            self.files.remove(&inode);
        }
        Ok(())
    }

    /// The directory `from` is called `to` now.
    pub fn dir_renamed(&mut self, from: &Path, to: &Path) {
        let inside: Vec<PathBuf> =
            self.dirs.keys().filter(|dir| dir.starts_with(from)).cloned().collect();
        for old in inside {
            let Some(listing) = self.dirs.remove(&old) else { continue };
            let rest = old.strip_prefix(from).expect("it starts with it");
            let new = if rest.as_os_str().is_empty() { to.to_owned() } else { to.join(rest) };
            self.dirs.insert(new, listing);
        }
    }
}

impl FileState {
    /// Remembers the durable bytes of `page` before its first change since the last sync.
    fn save(&mut self, file: &File, page: u64) -> io::Result<()> {
        self.lost.remove(&page);
        if self.undo.contains_key(&page) {
            return Ok(());
        }
        let start = page * PAGE;
        let before = if start >= self.durable_len {
            None
        } else {
            let length = PAGE.min(self.durable_len - start) as usize;
            let mut bytes = vec![0; length];
            read_up_to(file, start, &mut bytes)?;
            Some(bytes)
        };
        self.undo.insert(page, before);
        Ok(())
    }
}
