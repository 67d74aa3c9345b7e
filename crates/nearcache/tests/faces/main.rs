//! What a service writes: the forms of a loader and of a value, the error that comes back, and the connection beneath.
//! Async as blocking, on the embedded store.

#[macro_use]
#[path = "../support/face.rs"]
mod face;

mod beneath;
mod dedicated;
mod errors;
mod fallback;
mod kept;
mod keys;
mod loaders;
mod raw;
mod writing;

use face::Face;
use nearcache::Cache;

/// Both faces of a new cache.
fn faces() -> [Face; 2] {
    let cache = Cache::open("memory://").expect("a URL that is right");
    let blocking = cache.blocking().expect("the same for blocking callers");
    [Face::Async(cache), Face::Blocking(blocking)]
}
