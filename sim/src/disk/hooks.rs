//! The boundary to libc: this crate's own `write`, `fsync` and so on, found before libc's.
//!
//! Rule: a hook looks whether the call concerns a disk watched by this thread, lets the disk see it
//! (and decide), and then makes the real call. Must never: be entered by the watcher's own file
//! operations (`Own`), or change a call on anything that is not watched.
//!
//! This is the only module of the project with `unsafe`: symbols of libc cannot be defined, and the
//! real ones not called, without it.

use super::{SimDisk, State, Verdict};
use libc::{c_char, c_int, c_void, mode_t, off_t, size_t, ssize_t};
use std::{
    cell::{Cell, RefCell},
    ffi::{CStr, OsStr},
    fs::File,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

thread_local! {
    static OWN: Cell<u32> = const { Cell::new(0) };
    static WATCHED: RefCell<Vec<SimDisk>> = const { RefCell::new(Vec::new()) };
}

/// While it lives, this thread's calls are the watcher's own and pass unseen.
pub(super) struct Own;

impl Own {
    pub(super) fn enter() -> Own {
        OWN.with(|own| own.set(own.get() + 1));
        Own
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        OWN.with(|own| own.set(own.get() - 1));
    }
}

pub(super) fn watch(disk: &SimDisk) {
    WATCHED.with_borrow_mut(|disks| {
        disks.retain(|other| !Arc::ptr_eq(&other.state, &disk.state));
        disks.push(disk.clone());
    });
}

pub(super) fn unwatch(disk: &SimDisk) {
    WATCHED.with_borrow_mut(|disks| disks.retain(|d| !Arc::ptr_eq(&d.state, &disk.state)));
}

/// Shows a call on `path` to the disk it concerns, if any.
fn seen(path: &Path, judge: impl FnOnce(&mut State) -> std::io::Result<Verdict>) -> Verdict {
    let found = WATCHED.with_borrow(|disks| disks.iter().find(|disk| disk.sees(path)).cloned());
    let Some(disk) = found else { return Verdict::Proceed };
    let mut state = disk.lock();
    judge(&mut state).expect("the directory of simulated disks can be read and written")
}

/// Whether this thread's calls matter at all. False in a thread that ends or that watches nothing.
fn concerned() -> bool {
    OWN.try_with(|own| own.get() == 0).unwrap_or(false)
        && WATCHED
            .try_with(|w| w.try_borrow().is_ok_and(|disks| !disks.is_empty()))
            .unwrap_or(false)
}

fn path_of(fd: c_int) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/self/fd/{fd}")).ok()
}

/// The same file, readable, whatever the descriptor was opened for.
fn reopened(fd: c_int) -> std::io::Result<File> {
    File::open(format!("/proc/self/fd/{fd}"))
}

fn on_write(fd: c_int, offset: Option<u64>, length: usize) -> Verdict {
    if fd <= 2 || !concerned() {
        return Verdict::Proceed;
    }
    let _own = Own::enter();
    let Some(path) = path_of(fd) else { return Verdict::Proceed };
    seen(&path, |state| {
        if state.boundary() {
            return Ok(Verdict::Proceed);
        }
        if state.faults.full {
            return Ok(Verdict::Fail(libc::ENOSPC));
        }
        let Some(mounted) = &mut state.mounted else { return Ok(Verdict::Proceed) };
        let file = reopened(fd)?;
        let offset = match offset {
            Some(offset) => offset,
            None => position(fd, &file)?,
        };
        mounted.tree.before_write(&file, offset, length as u64)?;
        Ok(Verdict::Proceed)
    })
}

/// Where a plain write would go.
fn position(fd: c_int, file: &File) -> std::io::Result<u64> {
    // SAFETY: F_GETFL takes no pointer; a bad descriptor gives -1.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFL) };
    if flags >= 0 && flags & libc::O_APPEND != 0 {
        return Ok(file.metadata()?.len());
    }
    // SAFETY: lseek takes no pointer; a bad descriptor gives -1.
    let at = unsafe { libc::lseek(fd, 0, libc::SEEK_CUR) };
    Ok(u64::try_from(at).unwrap_or(0))
}

fn on_truncate(fd: c_int, length: u64) -> Verdict {
    if !concerned() {
        return Verdict::Proceed;
    }
    let _own = Own::enter();
    let Some(path) = path_of(fd) else { return Verdict::Proceed };
    seen(&path, |state| {
        if state.boundary() {
            return Ok(Verdict::Proceed);
        }
        if let Some(mounted) = &mut state.mounted {
            mounted.tree.before_truncate(&reopened(fd)?, length)?;
        }
        Ok(Verdict::Proceed)
    })
}

fn on_sync(fd: c_int) -> Verdict {
    if !concerned() {
        return Verdict::Proceed;
    }
    let _own = Own::enter();
    let Some(path) = path_of(fd) else { return Verdict::Proceed };
    seen(&path, |state| {
        state.stats.syncs += 1;
        // With the power gone, nobody is left to hear the answer.
        if state.boundary() || state.faults.lies {
            return Ok(Verdict::Skip);
        }
        let Some(mounted) = &mut state.mounted else { return Ok(Verdict::Skip) };
        let file = reopened(fd)?;
        let is_dir = file.metadata()?.is_dir();
        if std::mem::take(&mut state.faults.fail_next_sync) {
            state.stats.failed_syncs += 1;
            if !is_dir {
                mounted.tree.sync_failed(&file)?;
            }
            return Ok(Verdict::Fail(libc::EIO));
        }
        if is_dir {
            mounted.tree.dir_synced(&path)?;
        } else {
            mounted.tree.synced(&file)?;
        }
        // What counts as durable is kept by the tree; the real disk need not be bothered.
        Ok(Verdict::Skip)
    })
}

/// The path of the file or directory `path` names, relative to the directory behind `dir`.
fn absolute(dir: c_int, path: *const c_char) -> Option<PathBuf> {
    if path.is_null() {
        return None;
    }
    // SAFETY: the caller of libc promises a string that ends with a zero byte.
    let bytes = unsafe { CStr::from_ptr(path) }.to_bytes();
    let path = Path::new(OsStr::from_bytes(bytes));
    if path.is_absolute() {
        return Some(path.to_owned());
    }
    let start = if dir == libc::AT_FDCWD { std::env::current_dir().ok()? } else { path_of(dir)? };
    Some(start.join(path))
}

fn on_unlink(dir: c_int, path: *const c_char) -> Verdict {
    if !concerned() {
        return Verdict::Proceed;
    }
    let _own = Own::enter();
    let Some(path) = absolute(dir, path) else { return Verdict::Proceed };
    seen(&path, |state| {
        if !state.boundary()
            && let Some(mounted) = &mut state.mounted
        {
            mounted.tree.before_unlink(&path)?;
        }
        Ok(Verdict::Proceed)
    })
}

fn on_rename(from: Option<PathBuf>, to: Option<PathBuf>) -> Verdict {
    let (Some(from), Some(to)) = (from, to) else { return Verdict::Proceed };
    seen(&to, |state| {
        if !state.boundary()
            && let Some(mounted) = &mut state.mounted
        {
            mounted.tree.before_unlink(&to)?;
            if from.is_dir() {
                mounted.tree.dir_renamed(&from, &to);
            }
        }
        Ok(Verdict::Proceed)
    })
}

/// An `open` that empties a file is a truncation.
fn on_open(dir: c_int, path: *const c_char, flags: c_int) {
    if flags & libc::O_TRUNC == 0 || !concerned() {
        return;
    }
    let _own = Own::enter();
    let Some(path) = absolute(dir, path) else { return };
    seen(&path, |state| {
        if let Some(mounted) = &mut state.mounted
            && let Ok(file) = File::open(&path)
        {
            mounted.tree.before_truncate(&file, 0)?;
        }
        Ok(Verdict::Proceed)
    });
}

fn fail(errno: i32) {
    // SAFETY: libc gives every thread a valid place for errno.
    unsafe { *libc::__errno_location() = errno };
}

/// The next definition of a symbol after ours: libc's.
fn real(cell: &'static OnceLock<usize>, name: &CStr) -> usize {
    *cell.get_or_init(|| {
        // SAFETY: the name ends with a zero byte; dlsym keeps no reference to it.
        let address = unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) };
        assert!(!address.is_null(), "libc has {name:?}");
        address as usize
    })
}

/// Defines one symbol of libc: `judge` decides, and unless it skips or fails the real one is called.
macro_rules! hook {
    ($name:ident($($arg:ident: $type:ty),*) -> $result:ty, $judge:expr, $skipped:expr) => {
        /// Stands before libc's function of this name.
        ///
        /// # Safety
        /// As libc's.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name($($arg: $type),*) -> $result {
            static REAL: OnceLock<usize> = OnceLock::new();
            let address = real(&REAL, const {
                match CStr::from_bytes_with_nul(concat!(stringify!($name), "\0").as_bytes()) {
                    Ok(name) => name,
                    Err(_) => panic!("a symbol's name holds no zero byte"),
                }
            });
            match $judge {
                Verdict::Proceed => {
                    // SAFETY: the address is libc's function of this very name and signature (a
                    // variadic one receives its arguments in the same registers on this platform),
                    // and the arguments are the caller's, unchanged.
                    unsafe {
                        let real = std::mem::transmute::<
                            usize,
                            unsafe extern "C" fn($($type),*) -> $result,
                        >(address);
                        real($($arg),*)
                    }
                }
                Verdict::Skip => $skipped,
                Verdict::Fail(errno) => {
                    fail(errno);
                    -1
                }
            }
        }
    };
}

fn at(offset: off_t) -> Option<u64> {
    Some(u64::try_from(offset).unwrap_or(0))
}

fn on_rename_at(from_dir: c_int, from: *const c_char, to_dir: c_int, to: *const c_char) -> Verdict {
    if !concerned() {
        return Verdict::Proceed;
    }
    let _own = Own::enter();
    on_rename(absolute(from_dir, from), absolute(to_dir, to))
}

fn opened(dir: c_int, path: *const c_char, flags: c_int) -> Verdict {
    on_open(dir, path, flags);
    Verdict::Proceed
}

const HERE: c_int = libc::AT_FDCWD;

hook!(write(fd: c_int, data: *const c_void, length: size_t) -> ssize_t,
    on_write(fd, None, length), length as ssize_t);
hook!(pwrite64(fd: c_int, data: *const c_void, length: size_t, offset: off_t) -> ssize_t,
    on_write(fd, at(offset), length), length as ssize_t);
hook!(pwrite(fd: c_int, data: *const c_void, length: size_t, offset: off_t) -> ssize_t,
    on_write(fd, at(offset), length), length as ssize_t);
hook!(writev(fd: c_int, parts: *const libc::iovec, count: c_int) -> ssize_t,
    on_write(fd, None, vector_length(parts, count)), 0);
hook!(ftruncate64(fd: c_int, length: off_t) -> c_int,
    on_truncate(fd, at(length).unwrap_or(0)), 0);
hook!(ftruncate(fd: c_int, length: off_t) -> c_int,
    on_truncate(fd, at(length).unwrap_or(0)), 0);
hook!(fsync(fd: c_int) -> c_int, on_sync(fd), 0);
hook!(fdatasync(fd: c_int) -> c_int, on_sync(fd), 0);
hook!(unlink(path: *const c_char) -> c_int, on_unlink(HERE, path), 0);
hook!(unlinkat(dir: c_int, path: *const c_char, flags: c_int) -> c_int,
    on_unlink(dir, path), 0);
hook!(rename(from: *const c_char, to: *const c_char) -> c_int,
    on_rename_at(HERE, from, HERE, to), 0);
hook!(renameat(from_dir: c_int, from: *const c_char, to_dir: c_int, to: *const c_char) -> c_int,
    on_rename_at(from_dir, from, to_dir, to), 0);
hook!(open(path: *const c_char, flags: c_int, mode: mode_t) -> c_int,
    opened(HERE, path, flags), 0);
hook!(open64(path: *const c_char, flags: c_int, mode: mode_t) -> c_int,
    opened(HERE, path, flags), 0);
hook!(openat(dir: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int,
    opened(dir, path, flags), 0);
hook!(openat64(dir: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int,
    opened(dir, path, flags), 0);

fn vector_length(parts: *const libc::iovec, count: c_int) -> usize {
    let count = usize::try_from(count).unwrap_or(0);
    if parts.is_null() || count == 0 {
        return 0;
    }
    // SAFETY: the caller of libc promises `count` vectors at `parts`.
    let parts = unsafe { std::slice::from_raw_parts(parts, count) };
    parts.iter().map(|part| part.iov_len).sum()
}
