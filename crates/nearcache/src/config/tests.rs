//! Tests that the table of options is complete: that it has all options of the builder, and that the guide has all of
//! its rows.

use super::OPTIONS;
use super::OptionInfo;

/// The options of the builder that a configuration cannot express: a client, a hook and a store are values of the application, and
/// the codec is set by three options; a folder is part of the URL; and tests can do as if on a Cluster.
const ONLY_IN_CODE: [&str; 7] = [
    "as_on_a_cluster",
    "client",
    "codec",
    "credentials",
    "hook",
    "persist",
    "store",
];

/// The options that become the builder's URL, its codec or its TLS.
const ONLY_HERE: [&str; 12] = [
    "tls",
    "ca",
    "cert",
    "key",
    "server_name",
    "tls_verify",
    "url",
    "host",
    "port",
    "format",
    "compression",
    "compress_above",
];

#[test]
fn there_is_an_option_for_everything_that_a_builder_can_be_told() {
    let source = include_str!("../cache/builder.rs");
    let mut told: Vec<&str> = source
        .lines()
        .filter_map(|line| line.trim().strip_prefix("pub fn ")?.split_once("(mut self"))
        .map(|(name, _)| name.split('<').next().unwrap_or(name))
        .filter(|name| !ONLY_IN_CODE.contains(name))
        .collect();
    let mut options: Vec<&str> = OPTIONS.iter().map(|option| option.name).collect();
    options.retain(|name| !ONLY_HERE.contains(name));
    told.sort_unstable();
    options.sort_unstable();
    assert_eq!(options, told);
}

#[test]
fn the_page_of_options_is_what_the_code_says() {
    let page = include_str!("../../../../docs/configuration.md");
    let table = OptionInfo::table();
    assert!(
        page.contains(&table),
        "docs/configuration.md must contain this table:\n{table}"
    );
}
