//! What a disk would hold if the power went now.
//!
//! Rule: for every file, the bytes as of its last sync plus a random part of what came after, page by
//! page, torn at 512 bytes; for every directory, the names as of its last sync plus a random part of
//! the changes since. Names that a rename ties together survive or vanish together. Must never: lose
//! a synced byte or name.

use crate::rng::Rng;
use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fs::{self, File},
    io,
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
};

/// Bytes of a page, the unit that survives or not.
pub const PAGE: u64 = 4096;
/// Bytes of a sector, the unit that a device writes atomically.
pub const SECTOR: usize = 512;

/// An inode number.
pub type Inode = u64;

type Listing = BTreeMap<OsString, Inode>;

/// One file: what of it is durable, told as differences from what it holds now.
#[derive(Debug, Default, Clone)]
struct FileState {
    durable_len: u64,
    /// Pages changed since the last sync, with their durable bytes (`None`: past the durable end).
    undo: BTreeMap<u64, Option<Vec<u8>>>,
    /// Pages a failed sync has dropped: a later sync does not make them durable (they are clean).
    lost: BTreeSet<u64>,
}

/// A directory tree and what of it is durable.
#[derive(Debug)]
pub struct Tree {
    root: PathBuf,
    /// Holds the bytes of removed files whose removal is not durable, under their inode's number.
    graveyard: PathBuf,
    files: BTreeMap<Inode, FileState>,
    dirs: BTreeMap<PathBuf, Listing>,
}

/// What was done to the unsynced part.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Damage {
    /// Pages that went back to their durable bytes.
    pub reverted: u64,
    /// Pages with old and new sectors.
    pub torn: u64,
    /// Names that went back to what they were.
    pub names: u64,
}

/// How much of the unsynced part survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Survival {
    /// All of it: the process was killed, the machine lives.
    All,
    /// Whatever the random stream says.
    Random,
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

    /// Builds in `target` what a restart would find.
    ///
    /// # Errors
    /// What the file system says.
    pub fn materialise(
        &self,
        target: &Path,
        survival: Survival,
        rng: &mut Rng,
    ) -> io::Result<Damage> {
        let mut build = Build {
            tree: self,
            names: Names::default(),
            mode: match (survival, rng.below(4)) {
                (Survival::All, _) | (_, 0) => Mode::Keep,
                (_, 1) => Mode::Drop,
                _ => Mode::Mix,
            },
            rng,
            damage: Damage::default(),
        };
        build.tie_names(&self.root)?;
        build.dir(&self.root, target)?;
        Ok(build.damage)
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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Keep,
    Drop,
    Mix,
}

/// Which of two states each group of names takes. Names share a group when they share an inode, now
/// or in the durable state: a rename happened as a whole or not at all.
#[derive(Default)]
struct Names {
    parent: BTreeMap<Tied, Tied>,
    coins: BTreeMap<Tied, bool>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Tied {
    Inode(Inode),
    Name(PathBuf),
}

impl Names {
    fn find(&self, item: &Tied) -> Tied {
        let mut at = item;
        while let Some(parent) = self.parent.get(at) {
            at = parent;
        }
        at.clone()
    }

    fn tie(&mut self, a: &Tied, b: &Tied) {
        let (a, b) = (self.find(a), self.find(b));
        if a != b {
            self.parent.insert(a, b);
        }
    }
}

struct Build<'a> {
    tree: &'a Tree,
    names: Names,
    mode: Mode,
    rng: &'a mut Rng,
    damage: Damage,
}

impl Build<'_> {
    fn tie_names(&mut self, dir: &Path) -> io::Result<()> {
        let now = list(dir)?;
        let durable = self.tree.dirs.get(dir).cloned().unwrap_or_default();
        for (name, inode) in now.iter().chain(&durable) {
            let changed = now.get(name) != durable.get(name);
            if changed {
                self.names.tie(&Tied::Name(dir.join(name)), &Tied::Inode(*inode));
            }
        }
        for name in now.keys() {
            let path = dir.join(name);
            if path.is_dir() {
                self.tie_names(&path)?;
            }
        }
        Ok(())
    }

    /// Whether the change of this name has reached the disk.
    fn name_survives(&mut self, path: &Path) -> bool {
        match self.mode {
            Mode::Keep => true,
            Mode::Drop => false,
            Mode::Mix => {
                let group = self.names.find(&Tied::Name(path.to_owned()));
                let rng = &mut *self.rng;
                *self.names.coins.entry(group).or_insert_with(|| rng.chance(0.5))
            }
        }
    }

    fn dir(&mut self, source: &Path, target: &Path) -> io::Result<()> {
        fs::create_dir_all(target)?;
        let now = list(source)?;
        let durable = self.tree.dirs.get(source).cloned().unwrap_or_default();
        let names: BTreeSet<&OsString> = now.keys().chain(durable.keys()).collect();
        for name in names {
            let path = source.join(name);
            let (new, old) = (now.get(name), durable.get(name));
            let inode = if new == old || self.name_survives(&path) {
                new
            } else {
                self.damage.names += 1;
                old
            };
            let Some(inode) = inode else { continue };
            self.entry(*inode, new == Some(inode), &path, &target.join(name))?;
        }
        Ok(())
    }

    fn entry(
        &mut self,
        inode: Inode,
        in_place: bool,
        path: &Path,
        target: &Path,
    ) -> io::Result<()> {
        if in_place && path.is_dir() {
            return self.dir(path, target);
        }
        let source = if in_place { path.to_owned() } else { self.bytes_of(inode)? };
        if source.is_file() {
            self.file(inode, &source, target)?;
        }
        // A removed directory whose removal is not durable stays removed: nothing relies on it.
        Ok(())
    }

    /// Where the bytes of an inode are that does not have its durable name any more.
    fn bytes_of(&self, inode: Inode) -> io::Result<PathBuf> {
        let grave = self.tree.graveyard.join(inode.to_string());
        if grave.exists() {
            return Ok(grave);
        }
        Ok(search(&self.tree.root, inode)?.unwrap_or(grave))
    }

    fn file(&mut self, inode: Inode, source: &Path, target: &Path) -> io::Result<()> {
        let from = File::open(source)?;
        let to = File::options().read(true).write(true).create_new(true).open(target)?;
        let length = from.metadata()?.len();
        to.set_len(length)?;
        for (start, end) in extents(&from)? {
            copy(&from, &to, start, end)?;
        }
        // A file whose bytes came by a way no hook sees (a copy inside the kernel) is unsynced.
        let unknown = || FileState {
            undo: (0..length.div_ceil(PAGE)).map(|page| (page, None)).collect(),
            ..FileState::default()
        };
        let state = self.tree.files.get(&inode).cloned().unwrap_or_else(unknown);
        if self.mode == Mode::Keep {
            return Ok(());
        }
        let shrunk = length < state.durable_len;
        let restored = match self.mode {
            Mode::Mix if shrunk => self.rng.chance(0.5),
            _ => shrunk,
        };
        for (page, before) in &state.undo {
            if restored || self.mode == Mode::Drop {
                self.revert(&to, *page, before.as_deref())?;
            } else {
                self.mix(&to, *page, before.as_deref())?;
            }
        }
        let final_length = match self.mode {
            _ if restored => state.durable_len,
            Mode::Mix if length > state.durable_len => self.some_length(state.durable_len, length),
            Mode::Drop if length > state.durable_len => state.durable_len,
            _ => length,
        };
        to.set_len(final_length)
    }

    fn some_length(&mut self, durable: u64, length: u64) -> u64 {
        match self.rng.below(3) {
            0 => durable,
            1 => length,
            _ => durable + self.rng.below((length - durable) / SECTOR as u64 + 1) * SECTOR as u64,
        }
    }

    fn revert(&mut self, file: &File, page: u64, before: Option<&[u8]>) -> io::Result<()> {
        self.damage.reverted += 1;
        file.write_all_at(&full_page(before), page * PAGE)
    }

    fn mix(&mut self, file: &File, page: u64, before: Option<&[u8]>) -> io::Result<()> {
        match self.rng.below(3) {
            0 => Ok(()),
            1 => self.revert(file, page, before),
            _ => {
                self.damage.torn += 1;
                let old = full_page(before);
                // Half of the time a prefix got through, half of the time any sectors.
                let got_through = self.rng.below(PAGE / SECTOR as u64 + 1);
                let any = self.rng.chance(0.5);
                for sector in 0..PAGE / SECTOR as u64 {
                    let new = if any { self.rng.chance(0.5) } else { sector < got_through };
                    if !new {
                        let at = sector as usize * SECTOR;
                        let bytes = &old[at..at + SECTOR];
                        file.write_all_at(bytes, page * PAGE + at as u64)?;
                    }
                }
                Ok(())
            }
        }
    }
}

fn full_page(bytes: Option<&[u8]>) -> Vec<u8> {
    let mut page = bytes.unwrap_or_default().to_vec();
    page.resize(PAGE as usize, 0);
    page
}

fn list(dir: &Path) -> io::Result<Listing> {
    let mut listing = Listing::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        listing.insert(entry.file_name(), entry.metadata()?.ino());
    }
    Ok(listing)
}

fn search(dir: &Path, inode: Inode) -> io::Result<Option<PathBuf>> {
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
fn extents(file: &File) -> io::Result<Vec<(u64, u64)>> {
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

fn copy(from: &File, to: &File, start: u64, end: u64) -> io::Result<()> {
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
fn read_up_to(file: &File, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
    let mut done = 0;
    while done < bytes.len() {
        match file.read_at(&mut bytes[done..], offset + done as u64)? {
            0 => break,
            read => done += read,
        }
    }
    Ok(())
}
