//! Reading the files of a folder, or one file, into a store.
//!
//! While a folder is read, nobody else has the store. Nothing expires: what expired is removed by the log itself, as a
//! `DEL` at the right place. A transaction is run when its `EXEC` was read, so one that was cut leaves nothing.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::error::PersistError;
use super::folder::{Folder, rdb};
use super::reader::{Next, Reader};
use crate::command::{self, Args, Place};
use crate::connection::Connection;
use crate::context::Context;
use crate::reply;
use crate::session::Session;
use crate::store::Shared;

/// How far loading is: see [`Persist::on_load`](super::Persist::on_load).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LoadProgress {
    /// How many bytes were read.
    pub bytes: u64,
    /// How many there are.
    pub total: u64,
    /// How many commands were run.
    pub commands: u64,
}

/// What was loaded when a store was opened: see [`Store::loaded`](crate::Store::loaded).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Loaded {
    /// How many bytes were read.
    pub bytes: u64,
    /// How many commands were run.
    pub commands: u64,
    /// How long it took.
    pub took: Duration,
    /// Set if the last file ended within a command or a transaction, which was then cut off.
    pub truncated: Option<Truncated>,
}

/// What was cut off the last file: a command that was being written when the process or the machine stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Truncated {
    /// The file.
    pub file: PathBuf,
    /// Where it ends now.
    pub offset: u64,
    /// How many bytes were cut off.
    pub bytes: u64,
}

pub(super) type OnLoad = Arc<dyn Fn(&LoadProgress) + Send + Sync>;

/// Progress is told about this often.
const REPORT_EVERY: u64 = 1 << 20;

/// Loads all files of a folder. Changes nothing in it but the end of a file that was cut.
pub(super) fn load(
    shared: &Arc<Shared>,
    folder: &Folder,
    on_load: Option<&OnLoad>,
) -> Result<Loaded, PersistError> {
    let started = Instant::now();
    let files: Vec<_> = folder
        .manifest
        .files()
        .map(|file| folder.path(&file.name))
        .collect();
    let sizes = files
        .iter()
        .map(|path| fs::metadata(path).map_or(0, |file| file.len()));
    let mut loader = Loader {
        shared,
        progress: LoadProgress {
            bytes: 0,
            total: sizes.sum(),
            commands: 0,
        },
        reported: 0,
        on_load,
    };
    let mut truncated = None;
    for (path, is_last) in files.iter().zip((1..).map(|n| n == files.len())) {
        let cut = loader.load_file(path)?;
        if let Some((offset, why)) = cut {
            if !is_last {
                return Err(PersistError::Damaged {
                    file: path.clone(),
                    offset,
                    why: format!("{why}, and this is not the last file"),
                });
            }
            truncated = Some(cut_off(path, offset).map_err(PersistError::io("cut", path))?);
        }
    }
    loader.report();
    Ok(Loaded {
        bytes: loader.progress.bytes,
        commands: loader.progress.commands,
        took: started.elapsed(),
        truncated,
    })
}

fn cut_off(path: &Path, offset: u64) -> io::Result<Truncated> {
    let file = OpenOptions::new().write(true).open(path)?;
    let size = file.metadata()?.len();
    file.set_len(offset)?;
    file.sync_all()?;
    Ok(Truncated {
        file: path.to_owned(),
        offset,
        bytes: size.saturating_sub(offset),
    })
}

struct Loader<'l> {
    shared: &'l Arc<Shared>,
    progress: LoadProgress,
    reported: u64,
    on_load: Option<&'l OnLoad>,
}

/// A transaction of which not all was read: where it begins, and its commands.
type Open = Option<(u64, Vec<(u64, Vec<Vec<u8>>)>)>;

impl Loader<'_> {
    /// Loads one file. Returns where it was cut, and how.
    fn load_file(&mut self, path: &Path) -> Result<Option<(u64, &'static str)>, PersistError> {
        let file = File::open(path).map_err(PersistError::io("open", path))?;
        let mut reader = Reader::new(file);
        let mut session = Session::new(0);
        let mut open: Open = None;
        let before = self.progress.bytes;
        let damaged = |offset, why| PersistError::Damaged {
            file: path.to_owned(),
            offset,
            why,
        };
        loop {
            let offset = reader.offset();
            let next = reader.next().map_err(PersistError::io("read", path))?;
            self.progress.bytes = before + reader.offset();
            if self.progress.bytes - self.reported >= REPORT_EVERY {
                self.report();
            }
            match next {
                Next::Command(args) => {
                    let bytes = reader.bytes();
                    let args: Vec<&[u8]> = args.iter().map(|arg| &bytes[arg.clone()]).collect();
                    self.take(&mut session, &mut open, offset, &args)
                        .map_err(|(offset, why)| damaged(offset, why))?;
                }
                Next::End => {
                    return Ok(open.map(|(offset, _)| (offset, "it ends within a transaction")));
                }
                Next::Cut(offset) => {
                    let offset = open.map_or(offset, |(offset, _)| offset);
                    return Ok(Some((offset, "it ends within a command")));
                }
                Next::Damaged(offset, why) => return Err(damaged(offset, why)),
            }
        }
    }

    fn take(
        &mut self,
        session: &mut Session,
        open: &mut Open,
        offset: u64,
        args: Args<'_>,
    ) -> Result<(), (u64, String)> {
        let is = |name: &str| args.len() == 1 && args[0].eq_ignore_ascii_case(name.as_bytes());
        if is("MULTI") {
            if open.is_some() {
                return Err((offset, "a transaction begins within another one".into()));
            }
            *open = Some((offset, Vec::new()));
            return Ok(());
        }
        if is("EXEC") {
            let Some((_, commands)) = open.take() else {
                return Err((offset, "a transaction ends that did not begin".into()));
            };
            for (offset, args) in commands {
                let args: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
                self.run(session, &args).map_err(|why| (offset, why))?;
            }
            return Ok(());
        }
        if let Some((_, commands)) = open {
            let args = args.iter().map(|arg| arg.to_vec()).collect();
            commands.push((offset, args));
            return Ok(());
        }
        self.run(session, args).map_err(|why| (offset, why))
    }

    fn run(&mut self, session: &mut Session, args: Args<'_>) -> Result<(), String> {
        self.progress.commands += 1;
        replay(self.shared, session, args)
    }

    fn report(&mut self) {
        self.reported = self.progress.bytes;
        if let Some(on_load) = self.on_load {
            on_load(&self.progress);
        }
    }
}

/// Runs a command of a log.
fn replay(shared: &Shared, session: &mut Session, args: Args<'_>) -> Result<(), String> {
    let command = command::resolve(args).map_err(|error| error.to_string())?;
    if command.place != Place::Anywhere && command.name != "select" {
        let name = command.name.to_uppercase();
        return Err(format!("{name} has no place in a log"));
    }
    let locked = command.lock(&shared.keyspace, session, args);
    let mut cx = Context::new(shared, session, locked);
    cx.loading = true;
    let reply = cx.run(command, args);
    cx.finish();
    reply.map(drop).map_err(|error| {
        let name = command.name.to_uppercase();
        format!("{name} fails: {error}")
    })
}

/// Replaces everything in a store by what a file says. The file is checked as a whole first, as far as that is
/// possible without running its commands.
pub(crate) fn load_one(connection: &mut Connection, path: &Path) -> Result<u64, PersistError> {
    let open = || File::open(path).map_err(PersistError::io("open", path));
    let damaged = |offset, why| PersistError::Damaged {
        file: path.to_owned(),
        offset,
        why,
    };
    let mut reader = Reader::new(open()?);
    let mut first = true;
    loop {
        match reader.next().map_err(PersistError::io("read", path))? {
            Next::Command(args) => {
                let bytes = reader.bytes();
                let args: Vec<&[u8]> = args.iter().map(|arg| &bytes[arg.clone()]).collect();
                let offset = reader.offset();
                command::resolve(&args).map_err(|error| damaged(offset, error.to_string()))?;
            }
            Next::End => break,
            Next::Cut(offset) => return Err(damaged(offset, "the file is cut here".into())),
            Next::Damaged(offset, why) => {
                if first && reader.bytes().starts_with(b"REDIS") {
                    return Err(PersistError::Unsupported {
                        path: path.to_owned(),
                        why: rdb("BGREWRITEAOF"),
                    });
                }
                return Err(damaged(offset, why));
            }
        }
        first = false;
    }
    let mut reader = Reader::new(open()?);
    let mut commands = 0;
    connection.restore(path, |run| {
        run(&[b"FLUSHALL"]).map_err(|why| damaged(0, why.to_string()))?;
        loop {
            let offset = reader.offset();
            match reader.next().map_err(PersistError::io("read", path))? {
                Next::Command(args) => {
                    let bytes = reader.bytes();
                    let args: Vec<&[u8]> = args.iter().map(|arg| &bytes[arg.clone()]).collect();
                    run(&args).map_err(|error| damaged(offset, error.to_string()))?;
                    commands += 1;
                }
                Next::End => return Ok(commands),
                Next::Cut(offset) | Next::Damaged(offset, _) => {
                    return Err(damaged(offset, "the file has changed meanwhile".into()));
                }
            }
        }
    })
}

/// What [`load_one`] runs the commands with.
pub(crate) type Run<'r> = &'r mut dyn FnMut(Args<'_>) -> reply::Reply;

/// Loads bytes as if they were the last file of a folder: for the fuzzer.
#[cfg(any(fuzzing, test))]
pub(crate) fn load_bytes(shared: &Arc<Shared>, bytes: &[u8]) -> Result<u64, String> {
    let mut loader = Loader {
        shared,
        progress: LoadProgress {
            bytes: 0,
            total: bytes.len() as u64,
            commands: 0,
        },
        reported: 0,
        on_load: None,
    };
    let mut reader = Reader::new(bytes);
    let (mut session, mut open) = (Session::new(0), None);
    loop {
        let offset = reader.offset();
        match reader.next().map_err(|error| error.to_string())? {
            Next::Command(args) => {
                let bytes = reader.bytes();
                let args: Vec<&[u8]> = args.iter().map(|arg| &bytes[arg.clone()]).collect();
                loader
                    .take(&mut session, &mut open, offset, &args)
                    .map_err(|(at, why)| format!("{at}: {why}"))?;
            }
            Next::End | Next::Cut(_) => return Ok(loader.progress.commands),
            Next::Damaged(at, why) => return Err(format!("{at}: {why}")),
        }
    }
}
