//! A node's disk: a real directory, watched at the boundary to libc.
//!
//! Rule: the storage code runs unchanged on real files; the hooks see every write and sync of this
//! thread under a mounted root, so the power can go at any of them and the next mount finds what a
//! disk would hold. Must never: let a hook touch files outside a mounted root, or count its own
//! file operations.

mod files;
mod hooks;
mod image;
mod survival;

pub use image::{Inode, PAGE, SECTOR, Tree};
pub use survival::{Damage, Survival};

use crate::rng::Rng;
use std::{
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// What goes wrong with a disk that has power.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    /// Syncs report success and do nothing.
    pub lies: bool,
    /// The next sync fails with EIO.
    pub fail_next_sync: bool,
    /// Writes fail with ENOSPC.
    pub full: bool,
}

/// What has happened to a disk, for coverage checks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DiskStats {
    /// Writes, truncations, renames, removals and syncs seen.
    pub boundaries: u64,
    /// Syncs among them.
    pub syncs: u64,
    /// Power cuts.
    pub cuts: u64,
    /// Power cuts in the middle of work, at an armed boundary.
    pub cuts_inside: u64,
    /// Failed syncs.
    pub failed_syncs: u64,
    /// What the cuts did to unsynced data.
    pub damage: Damage,
}

impl DiskStats {
    /// Adds another disk's.
    pub fn add(&mut self, other: &DiskStats) {
        self.boundaries += other.boundaries;
        self.syncs += other.syncs;
        self.cuts += other.cuts;
        self.cuts_inside += other.cuts_inside;
        self.failed_syncs += other.failed_syncs;
        self.damage.reverted += other.damage.reverted;
        self.damage.torn += other.damage.torn;
        self.damage.names += other.damage.names;
    }
}

/// A disk. Cheap to clone; lives outside the node that uses it.
#[derive(Clone)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

struct State {
    base: PathBuf,
    generation: u32,
    rng: Rng,
    mounted: Option<Mounted>,
    faults: Faults,
    stats: DiskStats,
}

struct Mounted {
    tree: Tree,
    /// Boundaries left until the power goes.
    armed: Option<u64>,
    on_cut: Box<dyn Fn() + Send>,
}

impl SimDisk {
    /// A blank disk in `base`, which is wiped.
    ///
    /// # Errors
    /// What the file system says.
    pub fn new(base: &Path, rng: Rng) -> io::Result<SimDisk> {
        let _own = hooks::Own::enter();
        wipe(base)?;
        let state = State {
            base: base.to_owned(),
            generation: 0,
            rng,
            mounted: None,
            faults: Faults::default(),
            stats: DiskStats::default(),
        };
        fs::create_dir_all(state.root(0))?;
        Ok(SimDisk { state: Arc::new(Mutex::new(state)) })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the files are now. Changes with every cut.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        let state = self.lock();
        state.root(state.generation)
    }

    /// Starts watching for the current thread. `on_cut` is called in the middle of the system call
    /// at which an armed cut strikes.
    ///
    /// # Errors
    /// What the file system says.
    pub fn mount(&self, on_cut: impl Fn() + Send + 'static) -> io::Result<()> {
        let _own = hooks::Own::enter();
        let mut state = self.lock();
        let root = state.root(state.generation);
        let tree = Tree::mount(&root, &state.base.join(format!("graves-{}", state.generation)))?;
        state.mounted = Some(Mounted { tree, armed: None, on_cut: Box::new(on_cut) });
        if state.generation > 0 {
            let former = state.generation - 1;
            wipe(&state.root(former))?;
            wipe(&state.base.join(format!("graves-{former}")))?;
        }
        drop(state);
        hooks::watch(self);
        Ok(())
    }

    /// Cuts the power at the `boundaries`-th write or sync from now (1: the next one).
    pub fn cut_after(&self, boundaries: u64) {
        if let Some(mounted) = &mut self.lock().mounted {
            mounted.armed = Some(boundaries.max(1));
        }
    }

    /// Disarms `cut_after`.
    pub fn disarm(&self) {
        if let Some(mounted) = &mut self.lock().mounted {
            mounted.armed = None;
        }
    }

    /// Cuts the power now. The next mount finds what survived. Nothing happens when it is off.
    ///
    /// # Errors
    /// What the file system says.
    pub fn cut(&self) -> io::Result<()> {
        self.end(Survival::Random)
    }

    /// The process was killed: the page cache survives, but whatever its memory still does to the
    /// files from now on is not seen again.
    ///
    /// # Errors
    /// What the file system says.
    pub fn abandon(&self) -> io::Result<()> {
        self.end(Survival::All)
    }

    fn end(&self, survival: Survival) -> io::Result<()> {
        let _own = hooks::Own::enter();
        hooks::unwatch(self);
        let mut state = self.lock();
        let Some(mounted) = state.mounted.take() else { return Ok(()) };
        state.next_generation(&mounted.tree, survival)
    }

    /// Replaces the disk by a blank one.
    ///
    /// # Errors
    /// What the file system says.
    pub fn replace(&self) -> io::Result<()> {
        let _own = hooks::Own::enter();
        hooks::unwatch(self);
        let mut state = self.lock();
        state.mounted = None;
        state.generation += 1;
        let root = state.root(state.generation);
        wipe(&root)?;
        fs::create_dir_all(root)
    }

    /// Changes what goes wrong.
    pub fn set_faults(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut self.lock().faults);
    }

    /// What has happened.
    #[must_use]
    pub fn stats(&self) -> DiskStats {
        self.lock().stats
    }

    /// Whether it is mounted (has power).
    #[must_use]
    pub fn is_mounted(&self) -> bool {
        self.lock().mounted.is_some()
    }

    /// Removes everything.
    ///
    /// # Errors
    /// What the file system says.
    pub fn scrap(&self) -> io::Result<()> {
        let _own = hooks::Own::enter();
        hooks::unwatch(self);
        let mut state = self.lock();
        state.mounted = None;
        wipe(&state.base)
    }

    /// Whether the hooks see what this disk's files undergo (for tests of the hooks).
    #[must_use]
    pub fn sees(&self, path: &Path) -> bool {
        self.lock().mounted.as_ref().is_some_and(|mounted| mounted.tree.contains(path))
    }
}

/// What a hook does to the call it sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// Carry it out.
    Proceed,
    /// Report success without doing it.
    Skip,
    /// Fail with this errno.
    Fail(i32),
}

impl State {
    fn root(&self, generation: u32) -> PathBuf {
        self.base.join(generation.to_string())
    }

    fn next_generation(&mut self, tree: &Tree, survival: Survival) -> io::Result<()> {
        let root = self.root(self.generation + 1);
        wipe(&root)?;
        let damage = tree.materialise(&root, survival, &mut self.rng)?;
        self.generation += 1;
        if survival == Survival::Random {
            self.stats.cuts += 1;
            self.stats.damage.reverted += damage.reverted;
            self.stats.damage.torn += damage.torn;
            self.stats.damage.names += damage.names;
        }
        Ok(())
    }

    /// Counts a boundary; at an armed one the power goes, and `true` says so.
    fn boundary(&mut self) -> bool {
        self.stats.boundaries += 1;
        let Some(mounted) = &mut self.mounted else { return false };
        let Some(left) = &mut mounted.armed else { return false };
        *left -= 1;
        if *left > 0 {
            return false;
        }
        let Some(mounted) = self.mounted.take() else { return false };
        self.stats.cuts_inside += 1;
        self.next_generation(&mounted.tree, Survival::Random)
            .expect("the directory of simulated disks can be written");
        (mounted.on_cut)();
        true
    }
}

fn wipe(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
