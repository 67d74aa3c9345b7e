//! Telemetry, as exporters see it: one scripted run, whose metrics and traces are frozen as golden files.
//!
//! Durations are another at each run: what the files hold of them is how many there were.

mod abandoned;
mod otel;
mod prometheus;
mod script;
mod tracing;

/// Compares with a golden file.
fn golden(name: &str, text: &str) {
    insta::with_settings!({
        snapshot_path => "../golden",
        prepend_module_to_snapshot => false,
        omit_expression => true,
    }, {
        insta::assert_snapshot!(name, text);
    });
}
