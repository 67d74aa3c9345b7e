//! The two faces of a component behind one macro.

use nearcache::blocking;
use nearcache::compat::component::{Component, Params, References};
use nearcache_testkit::random_prefix;

use crate::target::Target;

#[derive(Debug)]
pub(crate) enum Either {
    Async(Component),
    Blocking(blocking::Component),
}

/// Calls a method of either: `on!(component.open("123"))`.
macro_rules! on {
    ($component:ident . $($call:tt)*) => {
        match &$component {
            $crate::either::Either::Async(component) => component.$($call)*.await,
            $crate::either::Either::Blocking(component) => component.$($call)*.run(),
        }
    };
}

impl Either {
    pub(crate) fn new(target: Target) -> Either {
        if target.is_blocking() {
            Either::Blocking(blocking::Component::new())
        } else {
            Either::Async(Component::new())
        }
    }

    pub(crate) fn configure(&self, params: &Params) {
        match self {
            Either::Async(component) => component.configure(params),
            Either::Blocking(component) => component.configure(params),
        }
    }

    pub(crate) fn set_references(&self, references: &References) {
        match self {
            Either::Async(component) => component.set_references(references),
            Either::Blocking(component) => component.set_references(references),
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        match self {
            Either::Async(component) => component.is_open(),
            Either::Blocking(component) => component.is_open(),
        }
    }
}

/// A component that lives there, under a prefix that no other test has, open.
pub(crate) async fn open(target: Target, more: Params) -> (Either, String) {
    let prefix = prefix(target);
    let component = Either::new(target);
    component.configure(&at(target, &prefix));
    component.configure(&more);
    on!(component.open(None)).expect("it opens");
    (component, prefix)
}

/// A prefix that no other test has. What a component keeps to bound the number of its keys is in their slot, on a Cluster
/// by a hash tag.
pub(crate) fn prefix(target: Target) -> String {
    let prefix = random_prefix();
    match target.is_a_cluster() {
        true => format!("{{{prefix}}}"),
        false => prefix,
    }
}

/// Where a component lives.
pub(crate) fn at(target: Target, prefix: &str) -> Params {
    Params::from([
        ("connection.uri", target.url(prefix)),
        ("options.prefix", prefix.to_owned()),
    ])
    .with("options.call_timeout", 10_000)
}
