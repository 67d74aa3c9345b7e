//! An in-process Redis for [redis-rs](https://docs.rs/redis).
