//! Saving the whole key space as commands, while commands go on; and rewriting the log with that.
//!
//! The log of a store holds every change, so it grows without end. A rewrite replaces all but the newest of it by a new
//! base: commands that make what the store held at one moment. The steps:
//!
//! 1. With all shards locked, a [cut](crate::keyspace::cut) begins, and the log goes on in a new increment. This is
//!    the only time at which writers stop, and it takes microseconds.
//! 2. The old increment is finished and synced, and the new one enters the manifest.
//! 3. The cut is written to a temporary file: shard by shard, a few entries at a time; what changes before its turn is
//!    handed over by those who change it.
//! 4. The file is synced and renamed, and a manifest with the new base, and the old files as history, replaces the old.
//! 5. The history is deleted, and leaves the manifest.
//!
//! Invariants:
//! 1. The base holds exactly what the records before the new increment have made, and nothing of what is in that.
//!    So commands that add up (`INCR`, `APPEND`, `LPUSH`, `XADD`) have their effect once, and the order of the records
//!    is all that matters for any other.
//! 2. At every step, the manifest on the disk names a complete history: either the old base and all increments, or the
//!    new base and the new increment. Killing the process anywhere loses nothing that was in the log.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::entry::write_entry;
use super::error::PersistError;
use super::folder::{self, Folder};
use super::log::Log;
use crate::keyspace::cut::Keeper;
use crate::keyspace::entry::Entry;
use crate::keyspace::table::Table;
use crate::store::Shared;

/// About how many bytes are written of one shard before its lock is released.
const CHUNK: usize = 32 << 10;
const WRITE_AT_ONCE: usize = 1 << 20;

/// When rewrites begin by themselves, and how they went.
pub(crate) struct Rewrites {
    running: AtomicBool,
    started: Mutex<Option<Instant>>,
    /// By how many percent the log must have grown since the last rewrite; 0 means never.
    pub(crate) percentage: AtomicU64,
    /// How large it must be.
    pub(crate) min_size: AtomicU64,
    pub(crate) last_failed: AtomicBool,
    pub(crate) last_seconds: AtomicI64,
    pub(crate) count: AtomicU64,
    pub(crate) failures: AtomicU64,
    /// After a failure, the next one does not begin by itself before then.
    not_before: Mutex<Option<Instant>>,
}

impl Default for Rewrites {
    fn default() -> Self {
        Rewrites {
            running: AtomicBool::new(false),
            started: Mutex::default(),
            percentage: AtomicU64::new(100),
            min_size: AtomicU64::new(64 << 20),
            last_failed: AtomicBool::new(false),
            last_seconds: AtomicI64::new(-1),
            count: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            not_before: Mutex::default(),
        }
    }
}

impl Rewrites {
    pub(crate) fn is_running(&self) -> bool {
        self.running.load(Ordering::SeqCst)
    }

    /// For how many seconds the current one has been running; -1 if there is none.
    pub(crate) fn running_for(&self) -> i64 {
        let started = *self.started.lock();
        started.map_or(-1, |started| seconds(started.elapsed()))
    }

    fn end(&self, failed: bool) {
        let started = self.started.lock().take();
        self.last_failed.store(failed, Ordering::Relaxed);
        let took = started.map_or(-1, |started| seconds(started.elapsed()));
        self.last_seconds.store(took, Ordering::Relaxed);
        if failed {
            let failures = self.failures.fetch_add(1, Ordering::Relaxed);
            let pause = Duration::from_secs(1 << failures.min(6));
            *self.not_before.lock() = Some(Instant::now() + pause);
        } else {
            self.failures.store(0, Ordering::Relaxed);
            *self.not_before.lock() = None;
        }
        self.running.store(false, Ordering::SeqCst);
    }
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

impl Log {
    pub(super) fn has_grown(&self) -> bool {
        let rewrites = &self.rewrites;
        let percentage = rewrites.percentage.load(Ordering::Relaxed);
        let (size, base) = self.current_size();
        let grown = size.saturating_sub(base.max(1)).saturating_mul(100) / base.max(1);
        percentage > 0
            && size > rewrites.min_size.load(Ordering::Relaxed)
            && grown >= percentage
            && !rewrites.is_running()
    }

    /// Begins a rewrite if the log has grown enough.
    pub(super) fn rewrite_if_grown(&self) {
        if self.has_grown() {
            self.start_rewrite_when_due();
        }
    }

    fn start_rewrite_when_due(&self) -> bool {
        let not_before = *self.rewrites.not_before.lock();
        not_before.is_none_or(|not_before| Instant::now() >= not_before) && self.start_rewrite()
    }

    /// After a failed sync, everything must be written anew.
    pub(super) fn mend(&self) {
        self.start_rewrite_when_due();
    }

    /// Begins a rewrite in the background. False if one is running, or none can begin.
    pub(crate) fn start_rewrite(&self) -> bool {
        let Some(store) = self.store.get().cloned() else {
            return false;
        };
        if !self.claim() {
            return false;
        }
        let run = move || {
            let log = store.upgrade().and_then(|shared| {
                shared
                    .log()
                    .map(|log| (log.clone(), Arc::downgrade(&shared)))
            });
            if let Some((log, store)) = log {
                // How it went is in INFO.
                let _ = log.rewrite(&store);
            }
        };
        let spawned = thread::Builder::new()
            .name("nearcache-rewrite".into())
            .spawn(run);
        if spawned.is_err() {
            self.rewrites.end(true);
        }
        spawned.is_ok()
    }

    fn claim(&self) -> bool {
        if self.rewrites.running.swap(true, Ordering::SeqCst) {
            return false;
        }
        *self.rewrites.started.lock() = Some(Instant::now());
        true
    }

    /// Rewrites the log now.
    pub(crate) fn rewrite_now(&self, store: &Weak<Shared>) -> Result<(), PersistError> {
        if !self.claim() {
            return Err(PersistError::Busy);
        }
        self.rewrite(store)
    }

    fn rewrite(&self, store: &Weak<Shared>) -> Result<(), PersistError> {
        self.rewrites.count.fetch_add(1, Ordering::Relaxed);
        let done = self.make_base(store);
        self.rewrites.end(done.is_err());
        done
    }

    fn make_base(&self, store: &Weak<Shared>) -> Result<(), PersistError> {
        let shared = store.upgrade().ok_or(PersistError::Busy)?;
        let cutting = Cutting::begin(&shared)?;
        let (steps, next) = {
            let folder = self.open_folder()?;
            let increment = folder.manifest.next_increment();
            let file = folder.create(&increment.name)?;
            folder.steps.at("new increment made");
            (folder.steps.clone(), (file, increment))
        };
        {
            let mut io = self.io.lock();
            (io.next, io.rotated) = (Some(next), None);
        }
        let spill = Arc::new(Spill::default());
        let keeper: Arc<dyn Keeper> = spill.clone();
        shared.keyspace.begin_cut(&keeper, || self.rotate());
        drop(shared);
        steps.at("cut begun");
        self.finish_rotation()?;

        let (temporary, base) = {
            let folder = self.open_folder()?;
            let temporary = folder.path(&Folder::temporary());
            (temporary, folder.manifest.next_base())
        };
        let written = write_cut(&temporary, store, &spill, &|| self.is_closed());
        drop(cutting);
        let installed = written.and_then(|size| {
            steps.at("new base written");
            let mut folder = self.open_folder()?;
            let path = folder.path(&base.name);
            fs::rename(&temporary, &path).map_err(PersistError::io("rename", &path))?;
            steps.at("new base renamed");
            folder
                .sync()
                .map_err(PersistError::io("sync the folder of", &path))?;
            let mut manifest = folder.manifest.clone();
            let last = manifest.increments.pop();
            manifest.history.extend(manifest.base.replace(base));
            manifest.history.append(&mut manifest.increments);
            manifest.increments.extend(last);
            folder.replace(manifest)?;
            steps.at("new base in the manifest");
            Ok(size)
        });
        if installed.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        let size = installed?;
        {
            let mut io = self.io.lock();
            let size = size + io.size;
            self.size.store(size, Ordering::Relaxed);
            self.base_size.store(size, Ordering::Relaxed);
            self.is_whole_again(&mut io);
        }
        if let Some(shared) = store.upgrade() {
            shared.note_saved();
        }
        self.open_folder()?.remove_history()
    }

    /// Writes what was before the cut, and sees to it that the log went on in the new file.
    fn finish_rotation(&self) -> Result<(), PersistError> {
        let mut io = self.io.lock();
        let flushed = self.flush(&mut io);
        let flushed = self.judged(&io, flushed);
        match io.rotated.take() {
            Some(rotated) => rotated,
            None => {
                self.cancel_rotation(&mut io);
                let path = self.folder.lock().increment();
                let error = flushed.unwrap_or_else(|| io::Error::other("the log was not written"));
                Err(PersistError::io("write", &path)(error))
            }
        }
    }
}

/// The only cut of a store. It ends when this is dropped.
struct Cutting(Weak<Shared>);

impl Cutting {
    fn begin(shared: &Arc<Shared>) -> Result<Self, PersistError> {
        if shared.saving.cutting.swap(true, Ordering::SeqCst) {
            return Err(PersistError::Busy);
        }
        Ok(Cutting(Arc::downgrade(shared)))
    }
}

impl Drop for Cutting {
    fn drop(&mut self) {
        if let Some(shared) = self.0.upgrade() {
            shared.keyspace.end_cut();
            shared.saving.cutting.store(false, Ordering::SeqCst);
        }
    }
}

/// What a store knows of its own saves.
#[derive(Debug, Default)]
pub(crate) struct Saving {
    cutting: AtomicBool,
    /// When everything was last saved, in unix seconds.
    pub(crate) last: AtomicI64,
}

impl Shared {
    pub(crate) fn note_saved(&self) {
        self.saving
            .last
            .store(self.clock.now_ms() / 1000, Ordering::Relaxed);
    }

    /// Writes everything to one file, in one step.
    pub(crate) fn save(self: &Arc<Self>, path: &Path) -> Result<(), PersistError> {
        let cutting = Cutting::begin(self)?;
        let spill = Arc::new(Spill::default());
        let keeper: Arc<dyn Keeper> = spill.clone();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let temporary = path.with_file_name(format!("temp-{}-{name}", std::process::id()));
        self.keyspace.begin_cut(&keeper, || ());
        let saved = write_cut(&temporary, &Arc::downgrade(self), &spill, &|| false);
        drop(cutting);
        let renamed = saved.and_then(|_| {
            let parent = path
                .parent()
                .filter(|parent| !parent.as_os_str().is_empty());
            fs::rename(&temporary, path)
                .and_then(|()| folder::sync_folder(parent.unwrap_or(Path::new("."))))
                .map_err(PersistError::io("write", path))
        });
        if renamed.is_err() {
            let _ = fs::remove_file(&temporary);
        } else {
            self.note_saved();
        }
        renamed
    }
}

/// Writes a cut to a file, which is then on the disk. Returns its size.
fn write_cut(
    path: &Path,
    store: &Weak<Shared>,
    spill: &Spill,
    stop: &dyn Fn() -> bool,
) -> Result<u64, PersistError> {
    let file = File::create(path).map_err(PersistError::io("make", path))?;
    let mut out = BufWriter::with_capacity(WRITE_AT_ONCE, file);
    let mut chunk = Vec::with_capacity(CHUNK * 2);
    let mut index = 0;
    while let Some(shared) = store.upgrade().filter(|_| !stop()) {
        if index == shared.keyspace.shards() {
            drop(shared);
            let mut write = || {
                spill.finish(&mut out)?;
                out.flush()?;
                out.get_ref().sync_all()?;
                out.get_ref().metadata()
            };
            return write()
                .map(|file| file.len())
                .map_err(PersistError::io("write", path));
        }
        let mut selected = None;
        let shard = shared.keyspace.read(index);
        let more = shard.walk_cut(|db, entry| {
            write_entry(&mut chunk, &mut selected, db, entry);
            chunk.len() < CHUNK
        });
        drop(shard);
        index += usize::from(!more);
        spill
            .pour(&mut out)
            .and_then(|()| out.write_all(&chunk))
            .map_err(PersistError::io("write", path))?;
        chunk.clear();
    }
    Err(PersistError::Busy)
}

/// What changed before its turn.
#[derive(Default)]
struct Spill(Mutex<Spilled>);

#[derive(Default)]
struct Spilled {
    bytes: Vec<u8>,
    selected: Option<u32>,
    tables: Vec<Table>,
}

impl Keeper for Spill {
    fn keep(&self, db: u32, entry: &Entry) {
        let mut spilled = self.0.lock();
        let Spilled {
            bytes, selected, ..
        } = &mut *spilled;
        write_entry(bytes, selected, db, entry);
    }

    fn keep_table(&self, table: Table) {
        self.0.lock().tables.push(table);
    }
}

impl Spill {
    /// Writes what was spilled since the last time.
    fn pour(&self, out: &mut impl Write) -> io::Result<()> {
        let mut spilled = self.0.lock();
        if spilled.bytes.is_empty() {
            return Ok(());
        }
        let bytes = std::mem::take(&mut spilled.bytes);
        // Other bytes may come before what is spilled next.
        spilled.selected = None;
        drop(spilled);
        out.write_all(&bytes)
    }

    /// Writes the rest, when all shards were walked: so nothing more is spilled.
    fn finish(&self, out: &mut impl Write) -> io::Result<()> {
        self.pour(out)?;
        let tables = std::mem::take(&mut self.0.lock().tables);
        let mut chunk = Vec::new();
        for table in tables {
            loop {
                let mut selected = None;
                let more = table.walk_cut(|db, entry| {
                    write_entry(&mut chunk, &mut selected, db, entry);
                    chunk.len() < CHUNK
                });
                out.write_all(&chunk)?;
                chunk.clear();
                if !more {
                    break;
                }
            }
        }
        Ok(())
    }
}
