//! The code that the examples share, so that each of them is only about nearcache: the URL to run on, tables,
//! readable numbers, and keys of different popularity.

// Examples print their results.
#![allow(clippy::print_stdout)]

mod format;
mod plug;
mod table;
mod zipf;

pub use format::{count, percent, rate, time, times};
pub use plug::Plug;
pub use table::Table;
pub use zipf::Zipf;

/// The cache's URL: the first argument, or `memory://`.
pub fn url() -> String {
    std::env::args()
        .nth(1)
        .unwrap_or_else(|| "memory://".to_owned())
}

/// A URL for printing: without user and password.
pub fn shown(url: &str) -> String {
    match (url.split_once("://"), url.rfind('@')) {
        (Some((scheme, _)), Some(at)) => format!("{scheme}://{}", &url[at + 1..]),
        _ => url.to_owned(),
    }
}

/// The end of an example's output: how to run it on Redis, or that it ran there.
pub fn closing(example: &str, url: &str) {
    if url.starts_with("memory:") {
        println!("\nThe same against Redis, by its URL:");
        println!("  cargo run --release --example {example} -- redis://localhost");
    } else {
        println!(
            "\nThat was {}; what it stored there is deleted.",
            shown(url)
        );
    }
}
