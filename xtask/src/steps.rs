//! The steps of `cargo xtask test`, the cheapest first.

use std::process::{Command, Stdio};

/// One command, and what it is for.
pub(crate) struct Step {
    pub(crate) name: String,
    pub(crate) program: &'static str,
    pub(crate) arguments: Vec<String>,
    pub(crate) environment: &'static [(&'static str, &'static str)],
}

impl Step {
    pub(crate) fn is_example(&self) -> bool {
        self.arguments
            .iter()
            .any(|argument| argument == "--example")
    }
}

/// The crates that others use. They are tested with each set of features.
const LIBRARIES: [&str; 3] = ["nearcache", "nearcache-embedded", "nearcache-tower"];

/// The examples. Each of them asserts its results.
const EXAMPLES: [&str; 38] = [
    "quickstart",
    "remember",
    "near",
    "coherence",
    "stale",
    "tags",
    "negative",
    "outage",
    "sentinel",
    "batch",
    "counters",
    "ttl",
    "structures",
    "hash",
    "geo",
    "pubsub",
    "rate_limit",
    "sessions",
    "response_cache",
    "leaderboard",
    "analytics",
    "lock",
    "queue",
    "persist",
    "cluster",
    "decorator",
    "hooks",
    "prometheus",
    "otel",
    "codecs",
    "compression",
    "versioning",
    "blocking",
    "tls",
    "config",
    "registry",
    "component",
    "replay",
];

/// In how many groups the features are linted, if not each alone.
const GROUPS: usize = 5;

/// How much to run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// The fast steps, with all features.
    Quick,
    Whole,
    /// Also the steps that take minutes.
    Long,
}

pub(crate) fn all(extent: Extent) -> Vec<Step> {
    let quick = extent == Extent::Quick;
    let mut steps = vec![
        cargo("format", &["fmt", "--all", "--check"], &[]),
        cargo("the order of the layers", &["xtask", "layers"], &[]),
        cargo(
            "lints, all features",
            &[
                "clippy",
                "--workspace",
                "--all-targets",
                "--all-features",
                "--",
                "-D",
                "warnings",
            ],
            &[],
        ),
    ];
    if !quick {
        for (features, flag) in [
            ("no features", &["--no-default-features"][..]),
            ("default features", &[]),
        ] {
            // Each by itself: together, one would switch on the features of another.
            for library in LIBRARIES {
                let arguments = [
                    &["clippy", "--all-targets", "--package", library][..],
                    flag,
                    &["--", "-D", "warnings"],
                ]
                .concat();
                let name = format!("lints, {library}, {features}");
                steps.push(cargo(&name, &arguments, &[]));
            }
        }
    }
    if !quick {
        let groups = match extent {
            Extent::Long => features().into_iter().map(str::to_owned).collect(),
            _ => spread(&features(), GROUPS),
        };
        for features in groups {
            let arguments = [
                "clippy",
                "--quiet",
                "--package",
                "nearcache",
                "--no-default-features",
                "--features",
                &features,
                "--",
                "-D",
                "warnings",
            ];
            steps.push(cargo(&format!("lints, only {features}"), &arguments, &[]));
        }
    }
    steps.push(cargo(
        "documentation",
        &["doc", "--workspace", "--all-features", "--no-deps"],
        &[("RUSTDOCFLAGS", "-D warnings")],
    ));
    steps.push(cargo(
        "tests, all features",
        &["test", "--workspace", "--all-features", "--no-fail-fast"],
        &[],
    ));
    if !quick {
        // Without features the last of them has no unit tests.
        let tested = match extent {
            Extent::Long => &LIBRARIES[..],
            _ => &LIBRARIES[..2],
        };
        for (features, flag) in [
            ("no features", &["--no-default-features"][..]),
            ("default features", &[]),
        ] {
            for library in tested {
                let arguments = [&["test", "--no-fail-fast", "--package", library][..], flag];
                let mut arguments = arguments.concat();
                if extent != Extent::Long {
                    // What each of these sets of features builds is linted above. Most of the tests need more features.
                    arguments.push("--lib");
                }
                let name = format!("tests, {library}, {features}");
                steps.push(cargo(&name, &arguments, &[]));
            }
        }
        if extent != Extent::Long {
            let arguments = ["test", "--doc", "--package", "nearcache"];
            steps.push(cargo(
                "examples in the documentation, default features",
                &arguments,
                &[],
            ));
        }
        steps.push(cargo(
            "the protocols, in every order of their steps",
            &[
                "run",
                "--quiet",
                "--release",
                "--package",
                "nearcache-model",
            ],
            &[],
        ));
        for example in EXAMPLES {
            steps.push(cargo(
                &format!("example {example}"),
                &["run", "--quiet", "--example", example],
                &[],
            ));
        }
        steps.push(cargo(
            "the benchmarks build",
            &[
                "clippy",
                "--manifest-path",
                "bench/Cargo.toml",
                "--all-targets",
                "--",
                "-D",
                "warnings",
            ],
            &[],
        ));
    }
    if extent == Extent::Long {
        steps.push(cargo(
            "ten million writes to a bounded store",
            &[
                "test",
                "--release",
                "--package",
                "nearcache-embedded",
                "--test",
                "growth",
                "--",
                "--ignored",
                "ten_million_writes",
            ],
            &[],
        ));
        steps.push(cargo(
            "a service under load, while Redis is killed and stopped",
            &[
                "test",
                "--release",
                "--package",
                "nearcache-example-web",
                "--test",
                "outage",
                "--",
                "--nocapture",
            ],
            &[("NEARCACHE_OUTAGE_SECONDS", "40")],
        ));
        steps.push(cargo(
            "locks and queues of processes that are killed and paused, a minute each",
            &[
                "test",
                "--package",
                "nearcache",
                "--all-features",
                "--test",
                "coordination",
            ],
            &[("NEARCACHE_COORDINATION", "60")],
        ));
        steps.push(cargo(
            "failovers behind Sentinels, under the load of four processes",
            &[
                "test",
                "--package",
                "nearcache",
                "--all-features",
                "--test",
                "sentinel",
                "load",
            ],
            &[("NEARCACHE_SENTINEL", "60")],
        ));
        steps.push(cargo(
            "a Cluster under load, whose slots move and whose primary is killed",
            &[
                "test",
                "--package",
                "nearcache",
                "--all-features",
                "--test",
                "cluster",
                "load",
                "--",
                "--nocapture",
            ],
            &[("NEARCACHE_CLUSTER_SECONDS", "60")],
        ));
        steps.push(cargo(
            "near tiers of four processes: what they serve while connections, servers and slots go, and outages of 5 s",
            &[
                "test",
                "--package",
                "nearcache",
                "--all-features",
                "--test",
                "near",
                "--",
                "--nocapture",
                "--test-threads",
                "1",
                "coherence",
                "outage",
            ],
            &[
                ("NEARCACHE_COHERENCE_SECONDS", "60"),
                ("NEARCACHE_NEAR_OUTAGE_MILLIS", "5000"),
            ],
        ));
    }
    steps.extend(deny());
    steps
}

/// These features in so many groups. Neighbours are in different ones, because what stands together is often used together.
fn spread(features: &[&str], groups: usize) -> Vec<String> {
    let group = |first| {
        let members: Vec<&str> = features
            .iter()
            .copied()
            .skip(first)
            .step_by(groups)
            .collect();
        members.join(",")
    };
    (0..groups).map(group).collect()
}

/// The features of the library, without `default`.
fn features() -> Vec<&'static str> {
    let manifest = include_str!("../../crates/nearcache/Cargo.toml");
    let section = manifest.split("\n[features]\n").nth(1);
    let section = section.and_then(|rest| rest.split("\n[").next());
    let lines = section.unwrap_or_default().lines();
    let names = lines.filter_map(|line| Some(line.split_once(" = ")?.0));
    names
        .filter(|name| *name != "default" && !name.starts_with('#'))
        .collect()
}

/// Licences, banned crates and sources, if `cargo deny` is installed; advisories, if their database can be reached.
fn deny() -> Vec<Step> {
    let quiet = |arguments: &[&str]| {
        let mut command = Command::new("cargo");
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    if !quiet(&["deny", "--version"]) {
        println!(
            "cargo deny is not installed (cargo install cargo-deny): licences and bans are not checked"
        );
        return Vec::new();
    }
    let mut steps = vec![cargo(
        "licences, bans and sources",
        &["deny", "check", "bans", "licenses", "sources"],
        &[],
    )];
    if quiet(&["deny", "fetch", "db"]) {
        steps.push(cargo(
            "advisories",
            &["deny", "--offline", "check", "advisories"],
            &[],
        ));
    } else {
        println!("the database of advisories cannot be reached: advisories are not checked");
    }
    steps
}

fn cargo(
    name: &str,
    arguments: &[&str],
    environment: &'static [(&'static str, &'static str)],
) -> Step {
    Step {
        name: name.to_owned(),
        program: "cargo",
        arguments: arguments.iter().map(ToString::to_string).collect(),
        environment,
    }
}
