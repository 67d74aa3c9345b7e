//! What the examples share, so that each of them is about nearcache only: the URL to run against,
//! aligned tables, numbers as people read them, and keys of which some are more popular than others.

// Printing is what examples are for.
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

/// A URL as it may be shown: without user and password.
pub fn shown(url: &str) -> String {
    match (url.split_once("://"), url.rfind('@')) {
        (Some((scheme, _)), Some(at)) => format!("{scheme}://{}", &url[at + 1..]),
        _ => url.to_owned(),
    }
}

/// Ends an example: how to run it against Redis or, if it was, that it was.
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
