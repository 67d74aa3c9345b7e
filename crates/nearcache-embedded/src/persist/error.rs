//! What goes wrong with files, told so that a person knows which file, where in it, and what to do.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why files could not be opened, read or written.
#[derive(Debug)]
#[non_exhaustive]
pub enum PersistError {
    /// The system refused something.
    Io {
        /// What was tried.
        doing: &'static str,
        /// The file or the folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Another store has the folder open.
    Locked {
        /// The folder.
        path: PathBuf,
        /// The process that holds it, if it could be found out.
        pid: Option<u32>,
    },
    /// A file holds something that no store and no server writes. Nothing was changed.
    Damaged {
        /// The file.
        file: PathBuf,
        /// The byte in it at which the part begins that makes no sense.
        offset: u64,
        /// What is wrong.
        why: String,
    },
    /// The files are whole, but this store does not read such files.
    Unsupported {
        /// The file or the folder.
        path: PathBuf,
        /// What they are, and what to do.
        why: String,
    },
    /// Another save or rewrite is under way, or the store was closed meanwhile.
    Busy,
}

impl PersistError {
    pub(crate) fn io<'p>(
        doing: &'static str,
        path: &'p Path,
    ) -> impl FnOnce(io::Error) -> PersistError + use<'p> {
        move |source| PersistError::Io {
            doing,
            path: path.to_owned(),
            source,
        }
    }
}

impl fmt::Display for PersistError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PersistError::Io {
                doing,
                path,
                source,
            } => write!(f, "cannot {doing} {}: {source}", path.display()),
            PersistError::Locked {
                path,
                pid: Some(pid),
            } => write!(
                f,
                "{} is in use by process {pid}: one process at a time can have it open",
                path.display()
            ),
            PersistError::Locked { path, pid: None } => write!(
                f,
                "{} is in use by another process: one at a time can have it open",
                path.display()
            ),
            PersistError::Damaged { file, offset, why } => write!(
                f,
                "{} is damaged at byte {offset}: {why}; nothing was changed. Restore the file from a copy, or cut it \
                 there and lose what follows",
                file.display()
            ),
            PersistError::Unsupported { path, why } => write!(f, "{}: {why}", path.display()),
            PersistError::Busy => {
                f.write_str("another save or rewrite is under way, or the store is closed")
            }
        }
    }
}

impl std::error::Error for PersistError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            PersistError::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// The system's text for an error, without Rust's number.
pub(crate) fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error ") {
        Some(at) => text[..at].to_owned(),
        None => text,
    }
}
