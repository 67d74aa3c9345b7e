//! Stampedes: however many callers miss a key together, in however many processes, it is loaded once.

#[macro_use]
#[path = "../support/face.rs"]
mod face;
#[macro_use]
#[path = "../support/target.rs"]
mod target;
#[macro_use]
#[path = "../support/scene.rs"]
mod scene;
#[path = "../support/child.rs"]
mod child;
mod crowd;
mod process;

mod one_process;
mod processes;
