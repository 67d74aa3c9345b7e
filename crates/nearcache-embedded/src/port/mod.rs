//! What is kept for the clients of a port: who they are, what they have done, and the settings that are theirs.
//!
//! Connections within the process are not counted, timed or listed, so that they stay as cheap as they are. The port
//! itself is in `serve`.

pub(crate) mod bell;
pub(crate) mod clients;
pub(crate) mod latency;
pub(crate) mod observe;
pub(crate) mod settings;
pub(crate) mod slow_log;
pub(crate) mod stats;
