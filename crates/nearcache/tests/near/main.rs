//! The near tier: what it answers, what ends that, and that nothing old is served.
//!
//! Caches at one host are told of each other's writes in this process. So what stands for another process names the
//! server otherwise: by another name of its host, or by a proxy.

#![allow(clippy::print_stdout, reason = "the tests tell what they saw")]

#[macro_use]
#[path = "../support/face.rs"]
mod face;
#[macro_use]
#[path = "../support/scene.rs"]
mod scene;
#[macro_use]
mod places;

mod bounds;
mod coherence;
mod hits;
mod loss;
mod meeting;
mod moves;
mod others;
mod outage;
mod own;
