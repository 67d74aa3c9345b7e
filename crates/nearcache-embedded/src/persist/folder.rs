//! The folder of a store: its lock, its manifest, and the files that the manifest names.
//!
//! It is laid out as a server's `dir`: the files are in `appendonlydir`, and beside that is a lock file of our own.
//!
//! Invariants:
//! 1. One process, and one store in it, has the folder open: whoever holds the lock on `nearcache.lock`.
//! 2. The manifest is replaced in one step, and only when everything that it names is on the disk.
//! 3. A file is deleted only when the manifest on the disk does not need it any more.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::error::PersistError;
use super::manifest::{self, Manifest};

const LOCK: &str = "nearcache.lock";
/// A server's `appenddirname`.
pub(crate) const FILES: &str = "appendonlydir";
const TEMPORARY: &str = "temp-";

pub(crate) struct Folder {
    dir: PathBuf,
    files: PathBuf,
    lock: File,
    pub(crate) manifest: Manifest,
    pub(crate) steps: Steps,
}

/// Called at every step after which the process may be killed: a test kills it there.
#[derive(Clone, Default)]
pub(crate) struct Steps(pub(crate) Option<Arc<dyn Fn(&'static str) + Send + Sync>>);

impl Steps {
    pub(crate) fn at(&self, step: &'static str) {
        if let Some(hook) = &self.0 {
            hook(step);
        }
    }
}

impl Folder {
    /// Opens a folder, which is made if there is none, and locks it. Nothing in it is changed yet, except that what
    /// an interrupted step left behind is removed.
    pub(crate) fn open(dir: &Path, steps: Steps) -> Result<Self, PersistError> {
        if dir.join(Manifest::name()).exists() {
            return Err(PersistError::Unsupported {
                path: dir.to_owned(),
                why: format!("this is the '{FILES}' of a folder: open the folder in which it is"),
            });
        }
        fs::create_dir_all(dir).map_err(PersistError::io("make the folder", dir))?;
        let lock = lock(dir)?;
        let mut folder = Folder {
            dir: dir.to_owned(),
            files: dir.join(FILES),
            lock,
            manifest: Manifest::default(),
            steps,
        };
        let path = folder.path(&Manifest::name());
        match fs::read(&path) {
            Ok(text) => {
                folder.manifest =
                    Manifest::read(&text).map_err(|(offset, why)| PersistError::Damaged {
                        file: path,
                        offset,
                        why,
                    })?;
                folder.check()?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => folder.refuse_leftovers()?,
            Err(error) => return Err(PersistError::io("read", &path)(error)),
        }
        Ok(folder)
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.files.join(name)
    }

    /// Every file that the manifest needs must be there, and be commands.
    fn check(&self) -> Result<(), PersistError> {
        for file in self.manifest.files() {
            let path = self.path(&file.name);
            let mut start = Vec::new();
            File::open(&path)
                .and_then(|file| file.take(5).read_to_end(&mut start))
                .map_err(|error| match error.kind() {
                    io::ErrorKind::NotFound => PersistError::Unsupported {
                        path: path.clone(),
                        why: "the manifest names this file, but it is missing; nothing was changed"
                            .into(),
                    },
                    _ => PersistError::io("read", &path)(error),
                })?;
            if start == b"REDIS" {
                return Err(PersistError::Unsupported {
                    path,
                    why: rdb("BGREWRITEAOF"),
                });
            }
        }
        Ok(())
    }

    /// Without a manifest there must be nothing that looks like data.
    fn refuse_leftovers(&self) -> Result<(), PersistError> {
        for (name, why) in [
            (
                manifest::NAME,
                "an append-only file of a server before version 7. Start redis-server 7 with `--appendonly yes` on \
                 this folder once, and then run `CONFIG SET aof-use-rdb-preamble no` and `BGREWRITEAOF`"
                    .to_owned(),
            ),
            ("dump.rdb", rdb("CONFIG SET appendonly yes")),
        ] {
            let path = self.dir.join(name);
            if path.exists() {
                return Err(PersistError::Unsupported { path, why });
            }
        }
        let Ok(entries) = fs::read_dir(&self.files) else {
            return Ok(());
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let is_ours = name.to_string_lossy().starts_with(manifest::NAME);
            // Empty files are left behind when a folder was being made, and lose nothing.
            if is_ours && entry.metadata().is_ok_and(|file| file.len() > 0) {
                return Err(PersistError::Unsupported {
                    path: entry.path(),
                    why: format!(
                        "there is data, but no {}: restore the manifest from a copy, or move the file away",
                        Manifest::name()
                    ),
                });
            }
        }
        Ok(())
    }

    /// The file that is appended to.
    pub(crate) fn increment(&self) -> PathBuf {
        let last = self.manifest.increments.last();
        self.path(last.map_or("", |file| &file.name))
    }

    /// Makes a new folder's files, removes what is not needed any more, and opens the last increment.
    pub(crate) fn open_increment(&mut self) -> Result<(File, u64), PersistError> {
        fs::create_dir_all(&self.files)
            .map_err(PersistError::io("make the folder", &self.files))?;
        self.remove_temporary();
        let mut manifest = self.manifest.clone();
        if manifest.base.is_none() && manifest.increments.is_empty() {
            let base = manifest.next_base();
            self.create(&base.name)?;
            manifest.base = Some(base);
        }
        if manifest.increments.is_empty() {
            let increment = manifest.next_increment();
            self.create(&increment.name)?;
            manifest.increments.push(increment);
        }
        self.replace(manifest)?;
        self.remove_history()?;
        let path = self.increment();
        let file = OpenOptions::new()
            .append(true)
            .open(&path)
            .map_err(PersistError::io("open", &path))?;
        let size = file
            .metadata()
            .map_err(PersistError::io("read the size of", &path))?
            .len();
        Ok((file, size))
    }

    /// Creates an empty file, to which will be appended.
    pub(crate) fn create(&self, name: &str) -> Result<File, PersistError> {
        let path = self.path(name);
        let make = || {
            // Only a file that nothing names can be there: one of an interrupted step.
            let file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .open(&path)?;
            file.sync_all()?;
            drop(file);
            self.sync()?;
            OpenOptions::new().append(true).open(&path)
        };
        make().map_err(PersistError::io("make", &path))
    }

    /// Makes this the manifest, in one step.
    pub(crate) fn replace(&mut self, manifest: Manifest) -> Result<(), PersistError> {
        if self.manifest == manifest {
            return Ok(());
        }
        let path = self.path(&Manifest::name());
        let temporary = self.path(&format!("{TEMPORARY}{}", Manifest::name()));
        let replace = || {
            let mut file = File::create(&temporary)?;
            file.write_all(manifest.print().as_bytes())?;
            file.sync_all()?;
            self.steps.at("manifest written");
            fs::rename(&temporary, &path)?;
            self.steps.at("manifest replaced");
            self.sync()
        };
        replace().map_err(PersistError::io("replace", &path))?;
        self.steps.at("manifest on disk");
        self.manifest = manifest;
        Ok(())
    }

    /// Deletes the files that are only history.
    pub(crate) fn remove_history(&mut self) -> Result<(), PersistError> {
        if self.manifest.history.is_empty() {
            return Ok(());
        }
        for file in &self.manifest.history {
            // If it is gone already, so much the better; if it cannot be removed, it takes room, and nothing else.
            let _ = fs::remove_file(self.path(&file.name));
            self.steps.at("history deleted");
        }
        let mut manifest = self.manifest.clone();
        manifest.history.clear();
        self.replace(manifest)
    }

    /// The name of a temporary file, which nobody else uses.
    pub(crate) fn temporary() -> String {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        format!("{TEMPORARY}rewriteaof-{}-{number}.aof", std::process::id())
    }

    /// Removes what an interrupted step left behind.
    fn remove_temporary(&self) {
        for entry in fs::read_dir(&self.files).into_iter().flatten().flatten() {
            let name = entry.file_name();
            if name.to_string_lossy().starts_with(TEMPORARY) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    /// Makes renames and new files durable.
    pub(crate) fn sync(&self) -> io::Result<()> {
        sync_folder(&self.files)
    }

    pub(crate) fn size(&self, name: &str) -> u64 {
        fs::metadata(self.path(name)).map_or(0, |file| file.len())
    }

    pub(crate) fn unlock(&self) {
        // The lock ends with the file at the latest.
        let _ = self.lock.set_len(0);
        let _ = self.lock.unlock();
    }
}

#[cfg(unix)]
pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Elsewhere folders cannot be opened, and renames are durable by themselves.
#[cfg(not(unix))]
pub(crate) fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}

/// What to do with a file in the binary form.
pub(crate) fn rdb(command: &str) -> String {
    format!(
        "this is an RDB file, and only files of commands are read here. Start redis-server on it, run \
         `CONFIG SET aof-use-rdb-preamble no` and then `{command}`, wait until INFO says aof_rewrite_in_progress:0, \
         stop the server, and open the folder again"
    )
}

/// How long a store of the same process may take to close, after its last handle was dropped: the last to let go of it
/// may be one of its threads.
const CLOSING: Duration = Duration::from_millis(300);

fn lock(dir: &Path) -> Result<File, PersistError> {
    let started = Instant::now();
    loop {
        match try_lock(dir) {
            Err(PersistError::Locked { pid, .. })
                if pid.is_none_or(|pid| pid == std::process::id())
                    && started.elapsed() < CLOSING =>
            {
                thread::sleep(Duration::from_millis(1));
            }
            tried => return tried,
        }
    }
}

fn try_lock(dir: &Path) -> Result<File, PersistError> {
    let path = dir.join(LOCK);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(PersistError::io("open", &path))?;
    match file.try_lock() {
        Ok(()) => {
            let pid = format!("{}\n", std::process::id());
            file.set_len(0)
                .and_then(|()| file.write_all(pid.as_bytes()))
                .map_err(PersistError::io("write", &path))?;
            Ok(file)
        }
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            let read = file.read_to_string(&mut pid);
            Err(PersistError::Locked {
                path: dir.to_owned(),
                pid: read.ok().and_then(|_| pid.trim().parse().ok()),
            })
        }
        Err(TryLockError::Error(error)) => Err(PersistError::io("lock", &path)(error)),
    }
}
