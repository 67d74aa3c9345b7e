//! Persistence: a store in a folder, in a server's own files.
//!
//! A command that changes something leaves a [record](record) in the [log], an append-only file of commands; a
//! [rewrite] replaces a log that has grown by one that makes the same; [load] reads it all when a store is opened. The
//! files are those of Redis 7, named by a [manifest], so a server starts on a [folder] of ours, and we on one of a
//! server's. [`commit`] is how commands wait for the disk, [`entry`] how a value becomes commands, and [`reader`]
//! tells a file that was cut from a damaged one.

mod commit;
mod entry;
mod error;
mod folder;
mod load;
mod log;
mod manifest;
mod reader;
pub(crate) mod record;
mod rewrite;
mod stream;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

pub(crate) use commit::{Commit, refusal};
#[cfg(any(fuzzing, test))]
pub(crate) use entry::write_entry;
pub use error::PersistError;
#[cfg(any(fuzzing, test))]
pub(crate) use load::load_bytes;
pub use load::{LoadProgress, Loaded, Truncated};
pub(crate) use load::{Run, load_one};
pub(crate) use log::Log;
pub(crate) use rewrite::Saving;

use crate::store::{Builder, Store};
use folder::{Folder, Steps};
use load::OnLoad;

/// When changes are made durable: a server's `appendfsync`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fsync {
    /// Before a command is acknowledged. What was acknowledged survives anything. Commands that wait at the same time
    /// share a sync.
    Always,
    /// Once a second. A machine that stops loses at most about a second; a process that is killed, a few milliseconds.
    #[default]
    EverySec,
    /// When the system finds time. A process that is killed loses a few milliseconds.
    No,
}

impl Fsync {
    const ALL: [Fsync; 3] = [Fsync::Always, Fsync::EverySec, Fsync::No];

    /// The server's name for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Fsync::Always => "always",
            Fsync::EverySec => "everysec",
            Fsync::No => "no",
        }
    }

    fn of(number: u8) -> Self {
        let is_it = |fsync: &Fsync| *fsync as u8 == number;
        Fsync::ALL.into_iter().find(is_it).unwrap_or_default()
    }
}

impl fmt::Display for Fsync {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The text is none of `always`, `everysec` and `no`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnknownFsync;

impl fmt::Display for UnknownFsync {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("appendfsync is one of always, everysec, no")
    }
}

impl std::error::Error for UnknownFsync {}

/// Parses a policy's name, in any case.
impl std::str::FromStr for Fsync {
    type Err = UnknownFsync;

    fn from_str(name: &str) -> Result<Self, UnknownFsync> {
        let is_it = |fsync: &Fsync| fsync.name().eq_ignore_ascii_case(name);
        Fsync::ALL.into_iter().find(is_it).ok_or(UnknownFsync)
    }
}

/// How to open a store in a folder: see [`Builder::persist`](crate::Builder::persist).
#[derive(Clone)]
#[must_use]
pub struct Persist {
    builder: Builder,
    path: PathBuf,
    fsync: Fsync,
    rewrite_percentage: u64,
    rewrite_min_size: u64,
    on_load: Option<OnLoad>,
    steps: Steps,
}

impl Persist {
    pub(crate) fn new(builder: Builder, path: PathBuf) -> Self {
        Persist {
            builder,
            path,
            fsync: Fsync::default(),
            rewrite_percentage: 100,
            rewrite_min_size: 64 << 20,
            on_load: None,
            steps: Steps::default(),
        }
    }

    /// When changes are made durable; the default is [`Fsync::EverySec`], as on a server. `CONFIG SET appendfsync`
    /// changes it later.
    pub fn appendfsync(mut self, fsync: Fsync) -> Self {
        self.fsync = fsync;
        self
    }

    /// When the log is rewritten by itself: when it has grown by so many percent since the last time (the default is
    /// 100; 0 means never), and is at least so many bytes long (the default is 64 MiB). These are a server's
    /// `auto-aof-rewrite-percentage` and `auto-aof-rewrite-min-size`.
    pub fn rewrite_at(mut self, percentage: u64, min_size: u64) -> Self {
        (self.rewrite_percentage, self.rewrite_min_size) = (percentage, min_size);
        self
    }

    /// Calls `f` while the files are loaded, about once a megabyte, and at the end.
    pub fn on_load(mut self, f: impl Fn(&LoadProgress) + Send + Sync + 'static) -> Self {
        self.on_load = Some(Arc::new(f));
        self
    }

    /// Calls `f` at every step that a process may be killed at.
    #[doc(hidden)]
    pub fn __at_steps(mut self, f: impl Fn(&'static str) + Send + Sync + 'static) -> Self {
        self.steps = Steps(Some(Arc::new(f)));
        self
    }

    /// Opens the store: locks the folder, and loads what is in it. A folder that does not exist is made.
    ///
    /// If the last file ends within a command, because the process was killed while it wrote, that end is cut off;
    /// [`Store::loaded`] says so.
    ///
    /// # Errors
    /// The folder is in use by another store; a file is missing, damaged, or an RDB file; the system refuses to read
    /// or write. Nothing was changed then.
    pub fn open(self) -> Result<Store, PersistError> {
        let mut folder = Folder::open(&self.path, self.steps)?;
        let store = self.builder.build();
        let loaded = load::load(&store.shared, &folder, self.on_load.as_ref())?;
        let increment = folder.open_increment()?;
        let log = Log::new(folder, increment, self.fsync);
        log.set_rewrites(self.rewrite_percentage, self.rewrite_min_size);
        let started = log.start(Arc::downgrade(&store.shared));
        started.map_err(PersistError::io("start the threads for", &self.path))?;
        store.shared.begin_to_log(log, loaded);
        Ok(store)
    }
}

impl fmt::Debug for Persist {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Persist")
            .field("path", &self.path)
            .field("fsync", &self.fsync)
            .field("builder", &self.builder)
            .finish_non_exhaustive()
    }
}
