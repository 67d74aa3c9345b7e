//! An embedded store that is kept in a folder: what was written is there after a restart.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use nearcache::{Cache, ErrorKind, Remaining, blocking};

use crate::face::run;

/// A folder of the test's own, removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("nearcache-kept-{}-{number}", std::process::id());
        Folder(std::env::temp_dir().join(name))
    }

    fn url(&self, options: &str) -> String {
        format!("memory://{}?prefix=app{options}", self.0.display())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn what_was_written_is_there_after_a_restart() {
    run(async {
        for fsync in ["", "&appendfsync=always", "&appendfsync=no"] {
            let folder = Folder::new();
            let url = folder.url(fsync);
            {
                let cache = Cache::open(&url).unwrap();
                cache.set("name", "Ada").ttl("1h").await.unwrap();
                let tagged = cache.set("tagged", 1).tags(["t"]);
                tagged.await.unwrap();
                cache.incr("visits").await.unwrap();
                let loaded: u32 = cache
                    .remember("loaded", async || Ok::<_, std::io::Error>(7))
                    .await
                    .unwrap();
                assert_eq!(loaded, 7);
                cache.set("gone", 1).await.unwrap();
                cache.delete("gone").await.unwrap();
            }
            let cache = blocking::Cache::open(&url).unwrap();
            assert_eq!(
                cache.get::<String>("name").run().unwrap().as_deref(),
                Some("Ada")
            );
            let left = cache.ttl("name").run().unwrap();
            assert!(matches!(left, Remaining::In(left) if left.as_secs() > 3_500));
            assert_eq!(cache.incr("visits").run().unwrap(), 2);
            assert_eq!(cache.get::<u32>("loaded").run().unwrap(), Some(7));
            assert_eq!(cache.get::<u32>("gone").run().unwrap(), None);
            // Invalidations of tags reach what was stored before the restart.
            cache.invalidate_tag("t").run().unwrap();
            assert_eq!(cache.get::<u32>("tagged").run().unwrap(), None);
        }
    });
}

#[test]
fn caches_of_one_process_share_a_folder_however_it_is_written() {
    let folder = Folder::new();
    run(async {
        let cache = Cache::open(&folder.url("")).unwrap();
        let same = Cache::builder("memory://?prefix=app")
            .persist(folder.0.join("."))
            .build()
            .unwrap();
        cache.set("k", 1).await.unwrap();
        assert_eq!(same.get::<u32>("k").await.unwrap(), Some(1));
        // Other bounds are refused while it is in use.
        let error = Cache::open(&folder.url("&maxmemory=64mb")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    });
}

#[test]
fn what_cannot_be_kept_says_why() {
    let folder = Folder::new();
    for (url, says) in [
        ("memory://name?appendfsync=always", "memory:///FOLDER"),
        ("memory://?appendfsync=no", "memory:///FOLDER"),
        (
            "memory:///var/lib/app?appendfsync=sometimes",
            "always, everysec, no",
        ),
        ("redis://localhost?appendfsync=always", "in this process"),
    ] {
        let error = Cache::open(url).unwrap_err().to_string();
        assert!(error.contains(says), "{url}: {error}");
    }
    let error = Cache::builder("memory://name").persist(&folder.0).build();
    assert!(
        error
            .unwrap_err()
            .to_string()
            .contains("needs the URL memory://")
    );
    // A file is no folder.
    std::fs::write(&folder.0, "text").unwrap();
    let error = Cache::open(&folder.url("")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    assert!(error.to_string().contains("cannot be opened"), "{error}");
    std::fs::remove_file(&folder.0).unwrap();
}

#[test]
fn damage_is_an_error_that_names_the_file_and_changes_nothing() {
    let folder = Folder::new();
    let url = folder.url("");
    {
        let cache = blocking::Cache::open(&url).unwrap();
        for number in 0..100 {
            cache.set(format!("k{number}"), number).run().unwrap();
        }
    }
    let log = log_of(&folder.0);
    let mut bytes = std::fs::read(&log).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 8].fill(b'#');
    std::fs::write(&log, &bytes).unwrap();
    let error = blocking::Cache::open(&url).unwrap_err().to_string();
    let name = log.file_name().unwrap().to_string_lossy();
    assert!(error.contains(&*name), "{error}");
    assert_eq!(std::fs::read(&log).unwrap(), bytes);
}

/// The file that commands are appended to.
fn log_of(folder: &Path) -> PathBuf {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().ends_with(".incr.aof") {
                return path;
            }
        }
    }
    panic!("no log");
}
