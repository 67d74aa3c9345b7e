//! A simple cache on either face behind one macro.

#![allow(dead_code, unused_macros, reason = "each suite uses its part of this")]

use nearcache::blocking;
use nearcache::simple::SimpleCache;

use crate::face::Face;

#[derive(Clone, Debug)]
pub(crate) enum Simple {
    Async(SimpleCache),
    Blocking(blocking::SimpleCache),
}

impl Simple {
    pub(crate) fn over(face: &Face) -> Simple {
        match face {
            Face::Async(cache) => Simple::Async(SimpleCache::new(cache)),
            Face::Blocking(cache) => Simple::Blocking(SimpleCache::new(cache)),
        }
    }
}

/// Calls an operation of either: `simply!(simple.get("key"))`.
macro_rules! simply {
    ($simple:ident . $($call:tt)*) => {
        match &$simple {
            $crate::simple_face::Simple::Async(simple) => simple.$($call)*.await,
            $crate::simple_face::Simple::Blocking(simple) => simple.$($call)*.run(),
        }
    };
}

/// Sets options of either: `with!(simple, key_prefix("app_"))`.
macro_rules! with {
    ($simple:expr, $($options:tt)*) => {
        match $simple {
            $crate::simple_face::Simple::Async(simple) => {
                $crate::simple_face::Simple::Async(simple.$($options)*)
            }
            $crate::simple_face::Simple::Blocking(simple) => {
                $crate::simple_face::Simple::Blocking(simple.$($options)*)
            }
        }
    };
}
