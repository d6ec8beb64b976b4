//! What survives a power cut.
//!
//! Rule: each unsynced page survives, vanishes or is torn by itself; each change of names that was
//! not synced has happened or not, and names that a rename ties together share that fate. Must
//! never: touch a synced byte or name.

use super::{
    files::{copy, extents, list, search},
    image::{FileState, Inode, PAGE, SECTOR, Tree},
};
use crate::rng::Rng;
use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

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
