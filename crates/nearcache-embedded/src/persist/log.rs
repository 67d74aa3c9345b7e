//! The append-only log: from the buffer that commands append to, to the disk.
//!
//! A command appends its record while its shards are locked, so the records of a key are in the order of its changes.
//! That only copies bytes. They are written by a thread, a moment later; under `always` by the commands themselves,
//! after they have released their shards: one writes and syncs for all that came in meanwhile (see
//! [`super::commit`]).
//!
//! Invariants:
//! 1. **Lock order.** Shards, then `buffer`. Without a shard: `io`, then `folder`, `buffer` or `tail`. The buffer's lock
//!    is held only to copy or to swap bytes, never during I/O.
//! 2. Whatever was appended is in the buffer, in `Io::pending`, or in the file, and is written in the order in which it
//!    was appended. A record that was written in part is cut off the file before it is written again.
//! 3. `durable` is a position up to which everything is on the disk.
//! 4. After a sync has failed nobody knows what is on the disk, and another sync would not say so. So nothing counts as
//!    durable until the whole key space was written anew.
//! 5. Records before a [rotation](Log::rotate) are in the old file, which is synced before the new one is in the
//!    manifest, and those after it are in the new one: only the last file of a manifest can be cut.

use std::fs::File;
use std::io::{self, Write};
use std::mem;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};

use super::Fsync;
use super::commit::Waiting;
use super::error::{PersistError, plain};
use super::folder::Folder;
use super::manifest;
use super::record::Batch;
use super::rewrite::Rewrites;
use crate::store::Shared;

/// While records come in, they are written this often.
const MOMENT: Duration = Duration::from_millis(1);
/// After so many moments without a record the thread sleeps until there is one.
const IDLE_MOMENTS: u32 = 8;
/// How long the thread waits before it tries again to write to a disk that has failed.
const RETRY: Duration = Duration::from_millis(100);
const SECOND: Duration = Duration::from_secs(1);
/// How far the disk may lag behind before writers wait for it: a server waits as long.
const LAG_MS: i64 = 2000;
/// How many bytes may wait to be written before writers wait.
const MOST_BUFFERED: usize = 64 << 20;
/// A buffer that is larger than this is not kept.
const KEPT_BUFFER: usize = 1 << 20;

pub(crate) struct Log {
    buffer: Mutex<Buffer>,
    pub(super) io: Mutex<Io>,
    pub(super) folder: Mutex<Folder>,
    tail: Mutex<Tail>,
    fsync: AtomicU8,
    /// Up to here everything is on the disk.
    pub(super) durable: AtomicU64,
    /// Why the disk cannot be written to. Writes are refused as long as this is set.
    failing: AtomicBool,
    why: Mutex<String>,
    pub(super) waiting: Waiting,
    /// Whether writers must wait, because the disk lags behind.
    pub(super) lagging: AtomicBool,
    /// When the sync that is under way began, in milliseconds since `born`; -1 if there is none.
    syncing_since: AtomicI64,
    born: Instant,
    /// Whether the thread sleeps until it is woken.
    idle: AtomicBool,
    threads: Mutex<Vec<Thread>>,
    writer: OnceLock<Thread>,
    closed: AtomicBool,
    pub(super) store: OnceLock<Weak<Shared>>,
    pub(super) rewrites: Rewrites,
    pub(crate) dir: PathBuf,
    /// How large the base was when it was written, and the increments since then.
    pub(super) base_size: AtomicU64,
    pub(super) size: AtomicU64,
    pub(crate) delayed: AtomicU64,
}

struct Buffer {
    bytes: Vec<u8>,
    /// How many bytes have ever been appended: the position of the end.
    end: u64,
    /// The database that the log's reader has selected at the end.
    selected: Option<u32>,
    /// A new file begins at this byte of the buffer.
    rotation: Option<usize>,
}

pub(super) struct Io {
    file: Arc<File>,
    /// How long the file is, without what was written in part.
    pub(super) size: u64,
    /// Bytes that were taken from the buffer, and how many of them are written.
    pending: Vec<u8>,
    written: usize,
    rotation: Option<usize>,
    /// The position of the end of `pending`.
    end: u64,
    /// Whether a sync has failed.
    suspect: bool,
    /// The file for the next rotation.
    pub(super) next: Option<(File, manifest::File)>,
    /// How the last rotation went.
    pub(super) rotated: Option<Result<(), PersistError>>,
}

/// The end of what was written, for the thread that syncs.
struct Tail {
    file: Arc<File>,
    end: u64,
    /// Counts the files that the log was written to anew because of a failed sync.
    suspect: bool,
}

impl Log {
    /// The log of a folder that was read, and the file that is appended to.
    pub(super) fn new(folder: Folder, (file, size): (File, u64), fsync: Fsync) -> Arc<Self> {
        let file = Arc::new(file);
        let sum = |names: &mut dyn Iterator<Item = &manifest::File>| -> u64 {
            names.map(|file| folder.size(&file.name)).sum()
        };
        let base_size = sum(&mut folder.manifest.base.iter());
        let total = sum(&mut folder.manifest.files());
        Arc::new(Log {
            buffer: Mutex::new(Buffer {
                bytes: Vec::new(),
                end: 0,
                selected: None,
                rotation: None,
            }),
            tail: Mutex::new(Tail {
                file: file.clone(),
                end: 0,
                suspect: false,
            }),
            dir: folder.dir().to_owned(),
            folder: Mutex::new(folder),
            io: Mutex::new(Io {
                file,
                size,
                pending: Vec::new(),
                written: 0,
                rotation: None,
                end: 0,
                suspect: false,
                next: None,
                rotated: None,
            }),
            fsync: AtomicU8::new(fsync as u8),
            durable: AtomicU64::new(0),
            failing: AtomicBool::new(false),
            why: Mutex::default(),
            waiting: Waiting::default(),
            lagging: AtomicBool::new(false),
            syncing_since: AtomicI64::new(-1),
            born: Instant::now(),
            idle: AtomicBool::new(false),
            threads: Mutex::default(),
            writer: OnceLock::new(),
            closed: AtomicBool::new(false),
            store: OnceLock::new(),
            rewrites: Rewrites::default(),
            base_size: AtomicU64::new(base_size),
            size: AtomicU64::new(total),
            delayed: AtomicU64::new(0),
        })
    }

    /// Starts the threads that write and sync.
    pub(super) fn start(self: &Arc<Self>, store: Weak<Shared>) -> io::Result<()> {
        let _ = self.store.set(store);
        let spawn = |name: &str, run: fn(&Log)| {
            let log = self.clone();
            let handle = thread::Builder::new()
                .name(name.into())
                .spawn(move || run(&log))?;
            let thread = handle.thread().clone();
            self.threads.lock().push(thread.clone());
            io::Result::Ok(thread)
        };
        let started = spawn("nearcache-log", Log::write_on).and_then(|writer| {
            let _ = self.writer.set(writer);
            spawn("nearcache-sync", Log::sync_on)
        });
        if started.is_err() {
            self.close();
        }
        started.map(drop)
    }

    pub(super) fn set_rewrites(&self, percentage: u64, min_size: u64) {
        let rewrites = &self.rewrites;
        rewrites.percentage.store(percentage, Ordering::Relaxed);
        rewrites.min_size.store(min_size, Ordering::Relaxed);
    }

    pub(crate) fn rewrites(&self) -> &Rewrites {
        &self.rewrites
    }

    pub(crate) fn fsync(&self) -> Fsync {
        Fsync::of(self.fsync.load(Ordering::Relaxed))
    }

    pub(crate) fn set_fsync(&self, fsync: Fsync) {
        self.fsync.store(fsync as u8, Ordering::Relaxed);
        self.wake();
    }

    /// Appends what a command changed. Called while the shards of the command are locked. Returns the position that
    /// must be durable, or written, before the command is acknowledged; `None` if it need not wait.
    #[inline]
    pub(crate) fn append(&self, batch: &Batch) -> Option<u64> {
        let end = self.push(batch);
        let always = self.fsync() == Fsync::Always;
        if !always {
            self.rouse();
        }
        (always || self.lagging.load(Ordering::Relaxed)).then_some(end)
    }

    /// Appends what the store did by itself, and nobody waits for.
    pub(crate) fn append_own(&self, batch: &Batch) {
        if !batch.is_empty() {
            self.push(batch);
            self.rouse();
        }
    }

    fn push(&self, batch: &Batch) -> u64 {
        let mut buffer = self.buffer.lock();
        let Buffer {
            bytes, selected, ..
        } = &mut *buffer;
        let before = bytes.len();
        batch.write(bytes, selected);
        buffer.end += (buffer.bytes.len() - before) as u64;
        if buffer.bytes.len() > MOST_BUFFERED {
            self.lagging.store(true, Ordering::Relaxed);
        }
        buffer.end
    }

    /// Begins a new file: what is appended from now on goes there. Called while all shards are locked; the file is
    /// made when the log is written the next time.
    pub(super) fn rotate(&self) {
        let mut buffer = self.buffer.lock();
        buffer.rotation = Some(buffer.bytes.len());
        buffer.selected = None;
    }

    /// Takes back a rotation that was not made yet.
    pub(super) fn cancel_rotation(&self, io: &mut Io) {
        io.rotation = None;
        io.next = None;
        self.buffer.lock().rotation = None;
    }

    /// Wakes the thread, if it sleeps because nothing was appended.
    #[inline]
    fn rouse(&self) {
        if self.idle.load(Ordering::SeqCst) && self.idle.swap(false, Ordering::SeqCst) {
            self.wake();
        }
    }

    pub(super) fn wake(&self) {
        if let Some(writer) = self.writer.get() {
            writer.unpark();
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Why writes are refused, if they are.
    #[inline]
    pub(crate) fn refuses(&self) -> Option<String> {
        self.failing
            .load(Ordering::Relaxed)
            .then(|| self.why.lock().clone())
    }

    #[inline]
    pub(crate) fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
    }

    fn has_buffered(&self) -> bool {
        let buffer = self.buffer.lock();
        !buffer.bytes.is_empty() || buffer.rotation.is_some()
    }

    pub(crate) fn buffered(&self) -> usize {
        self.buffer.lock().bytes.len()
    }

    pub(crate) fn current_size(&self) -> (u64, u64) {
        (
            self.size.load(Ordering::Relaxed),
            self.base_size.load(Ordering::Relaxed),
        )
    }

    /// Writes everything that was appended. Returns whether there was anything.
    pub(super) fn flush(&self, io: &mut Io) -> io::Result<bool> {
        if self.is_closed() {
            // The files may be another store's by now.
            return Ok(false);
        }
        let left = !io.pending.is_empty();
        if left {
            self.write_pending(io)?;
        }
        {
            let mut buffer = self.buffer.lock();
            if buffer.bytes.is_empty() && buffer.rotation.is_none() {
                return Ok(left);
            }
            mem::swap(&mut io.pending, &mut buffer.bytes);
            io.rotation = buffer.rotation.take();
            io.end = buffer.end;
        }
        self.write_pending(io)?;
        Ok(true)
    }

    fn write_pending(&self, io: &mut Io) -> io::Result<()> {
        if let Some(end) = io.rotation {
            self.write_up_to(io, end)?;
            let rotated = self.make_increment(io);
            io.rotated = Some(rotated);
            io.rotation = None;
        }
        self.write_up_to(io, io.pending.len())?;
        io.pending.clear();
        io.written = 0;
        if io.pending.capacity() > KEPT_BUFFER {
            io.pending = Vec::new();
        }
        let mut tail = self.tail.lock();
        tail.end = io.end;
        if !Arc::ptr_eq(&tail.file, &io.file) {
            tail.file = io.file.clone();
        }
        Ok(())
    }

    fn write_up_to(&self, io: &mut Io, end: usize) -> io::Result<()> {
        let (start, mut done) = (io.written, io.written);
        while done < end {
            match (&*io.file).write(&io.pending[done..end]) {
                Ok(0) => return self.undo(io, done - start, io::ErrorKind::WriteZero.into()),
                Ok(written) => done += written,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return self.undo(io, done - start, error),
            }
        }
        io.written = end;
        io.size += (end - start) as u64;
        self.size.fetch_add((end - start) as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Cuts off what was written in part. If that is impossible, what follows must continue there.
    fn undo(&self, io: &mut Io, written: usize, error: io::Error) -> io::Result<()> {
        if written > 0 && io.file.set_len(io.size).is_err() {
            io.written += written;
            io.size += written as u64;
            self.size.fetch_add(written as u64, Ordering::Relaxed);
        }
        Err(error)
    }

    /// Finishes the file, and goes on in the next one. If that is impossible, the old one goes on.
    fn make_increment(&self, io: &mut Io) -> Result<(), PersistError> {
        let Some((file, increment)) = io.next.take() else {
            return Err(PersistError::Busy);
        };
        let mut folder = self.folder.lock();
        if !io.suspect
            && let Err(error) = io.file.sync_data()
        {
            self.doubt(io);
            return Err(PersistError::io("sync", &folder.increment())(error));
        }
        folder.steps.at("old increment synced");
        let mut manifest = folder.manifest.clone();
        manifest.increments.push(increment);
        folder.replace(manifest)?;
        folder.steps.at("new increment in the manifest");
        io.file = Arc::new(file);
        io.size = 0;
        Ok(())
    }

    /// A sync has failed.
    fn doubt(&self, io: &mut Io) {
        io.suspect = true;
        self.tail.lock().suspect = true;
    }

    /// Makes everything durable that was written.
    pub(super) fn sync(&self, io: &mut Io) -> io::Result<()> {
        if io.suspect {
            return Err(io::Error::other("an earlier sync has failed"));
        }
        let synced = io.file.sync_data();
        if synced.is_err() {
            self.doubt(io);
        } else {
            self.durable.fetch_max(io.end, Ordering::SeqCst);
        }
        synced
    }

    /// Writes and syncs for everyone who waits.
    pub(super) fn lead(&self) {
        let mut io = self.io.lock();
        let done = self.flush(&mut io).and_then(|_| {
            if self.durable.load(Ordering::SeqCst) < io.end {
                self.sync(&mut io)
            } else {
                Ok(())
            }
        });
        self.judge(&io, done);
        drop(io);
        if self.has_grown() {
            self.wake();
        }
    }

    /// Takes note of how writing went, and tells those who wait.
    pub(super) fn judge(&self, io: &Io, done: io::Result<()>) {
        match done {
            Ok(()) if io.suspect => self.fail(io, "an earlier sync has failed"),
            Ok(()) => {
                self.failing.store(false, Ordering::SeqCst);
                self.waiting.succeed(self.durable.load(Ordering::SeqCst));
            }
            Err(error) => self.fail(io, &plain(&error)),
        }
    }

    /// The same, and returns the error.
    pub(super) fn judged(&self, io: &Io, done: io::Result<bool>) -> Option<io::Error> {
        let copy = |error: &io::Error| io::Error::new(error.kind(), plain(error));
        let error = done.as_ref().err().map(copy);
        self.judge(io, done.map(drop));
        error
    }

    fn fail(&self, io: &Io, why: &str) {
        why.clone_into(&mut self.why.lock());
        self.failing.store(true, Ordering::SeqCst);
        self.waiting.fail(io.end, why);
        self.rouse();
    }

    /// The whole key space was written anew and is on the disk, with this increment after it: what was before does
    /// not matter any more.
    pub(super) fn is_whole_again(&self, io: &mut Io) {
        if mem::take(&mut io.suspect) {
            self.tail.lock().suspect = false;
            // What was written to the new file since the rotation has never been synced.
            let synced = self.sync(io);
            self.judge(io, synced);
        }
    }

    /// The writing thread.
    fn write_on(&self) {
        let mut quiet = 0;
        let mut lingers = false;
        while !self.is_closed() {
            let always = self.fsync() == Fsync::Always;
            let busy = if self.is_failing() {
                self.retry();
                thread::park_timeout(RETRY);
                continue;
            } else if always {
                // What nobody waits for yet has a moment: those who append it are at work, and will be acknowledged
                // by one sync, not by one for each time that this thread looks.
                let buffered = self.has_buffered();
                let due = self.waiting.is_awaited() || buffered && lingers;
                if due {
                    self.lead();
                }
                lingers = buffered && !due;
                due || buffered
            } else {
                self.write_once()
            };
            self.notice_lag();
            self.rewrite_if_grown();
            quiet = if busy { 0 } else { quiet + 1 };
            if always && self.waiting.is_awaited() {
                continue;
            }
            if quiet < IDLE_MOMENTS {
                thread::park_timeout(MOMENT);
                continue;
            }
            quiet = 0;
            self.idle.store(true, Ordering::SeqCst);
            // Whoever appends after this sees that the thread is idle.
            if !self.has_buffered() && !self.is_closed() && !self.waiting.is_awaited() {
                thread::park();
            }
            self.idle.store(false, Ordering::SeqCst);
        }
    }

    /// Writes what was appended; the other thread syncs.
    fn write_once(&self) -> bool {
        let mut io = self.io.lock();
        let flushed = self.flush(&mut io);
        let busy = *flushed.as_ref().unwrap_or(&true);
        if busy {
            self.judge(&io, flushed.map(drop));
        }
        busy
    }

    /// Tries to write again after a failure.
    fn retry(&self) {
        let mut io = self.io.lock();
        if io.suspect {
            drop(io);
            self.mend();
            return;
        }
        // A sync that succeeds says nothing about the room on the disk, but a write does. So as long as there is
        // nothing to write, the next command finds out.
        let done = self.flush(&mut io).and_then(|_| self.sync(&mut io));
        self.judge(&io, done);
    }

    fn now_ms(&self) -> i64 {
        i64::try_from(self.born.elapsed().as_millis()).unwrap_or(i64::MAX)
    }

    /// Lets writers wait while a sync takes too long, or too much waits to be written.
    fn notice_lag(&self) {
        let since = self.syncing_since.load(Ordering::Relaxed);
        let slow = since >= 0 && self.now_ms() - since > LAG_MS;
        let lags = slow || self.buffered() > MOST_BUFFERED;
        if self.lagging.swap(lags, Ordering::Relaxed) != lags {
            if lags {
                self.delayed.fetch_add(1, Ordering::Relaxed);
            } else {
                self.waiting.wake_all();
            }
        }
    }

    /// The syncing thread, for `everysec`.
    fn sync_on(&self) {
        while !self.is_closed() {
            thread::park_timeout(SECOND);
            if self.fsync() == Fsync::EverySec {
                self.sync_tail();
            }
        }
    }

    fn sync_tail(&self) {
        let (file, end, suspect) = {
            let tail = self.tail.lock();
            (tail.file.clone(), tail.end, tail.suspect)
        };
        if suspect || end <= self.durable.load(Ordering::SeqCst) {
            return;
        }
        self.syncing_since.store(self.now_ms(), Ordering::Relaxed);
        let synced = file.sync_data();
        self.syncing_since.store(-1, Ordering::Relaxed);
        if let Err(error) = synced {
            let mut io = self.io.lock();
            // If a rotation came in between, that has synced the file, or failed to.
            if Arc::ptr_eq(&io.file, &file) {
                self.doubt(&mut io);
                self.fail(&io, &plain(&error));
            }
            return;
        }
        self.durable.fetch_max(end, Ordering::SeqCst);
        if self.lagging.load(Ordering::Relaxed) {
            self.wake();
        }
    }

    /// Writes and syncs everything, whatever the policy.
    pub(crate) fn sync_now(&self) -> Result<(), PersistError> {
        let mut io = self.io.lock();
        let done = self.flush(&mut io).and_then(|_| self.sync(&mut io));
        let path = self.folder.lock().increment();
        match self.judged(&io, done.map(|()| true)) {
            None => Ok(()),
            Some(error) => Err(PersistError::io("write", &path)(error)),
        }
    }

    /// Hands everything to the system. Called when a handle is dropped that may be the last one: if one of the store's
    /// own threads is at work just then, it closes the log a moment later, and the process may end before.
    pub(crate) fn hand_over(&self) {
        if self.has_buffered() && !self.is_failing() {
            self.write_once();
        }
    }

    /// Writes everything that is left, and gives the folder free.
    pub(crate) fn close(&self) {
        let mut io = self.io.lock();
        if self.is_closed() {
            return;
        }
        // Nobody is left to be told of an error.
        let _ = self.flush(&mut io).and_then(|_| io.file.sync_all());
        let folder = self.folder.lock();
        self.closed.store(true, Ordering::SeqCst);
        folder.unlock();
        drop(folder);
        drop(io);
        self.waiting.fail(u64::MAX, "the store is closed");
        self.threads.lock().iter().for_each(Thread::unpark);
    }

    /// The folder, unless it was given free.
    pub(super) fn open_folder(&self) -> Result<MutexGuard<'_, Folder>, PersistError> {
        let folder = self.folder.lock();
        if self.is_closed() {
            return Err(PersistError::Busy);
        }
        Ok(folder)
    }
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log")
            .field("dir", &self.dir)
            .field("fsync", &self.fsync())
            .finish_non_exhaustive()
    }
}
