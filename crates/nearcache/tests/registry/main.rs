//! Caches that are elements of an application: what they do where they live, what their folders say, and what
//! is said when these are wrong.

#[macro_use]
#[path = "../support/face.rs"]
mod face;
#[macro_use]
#[path = "../support/target.rs"]
mod target;

mod app;
mod elements;
mod errors;
mod verbs;
