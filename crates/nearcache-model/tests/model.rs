//! The model: packing loses nothing, names carry no meaning, and a violation is told in words. Whether the
//! protocol holds is `cargo run --release -p nearcache-model`, which takes longer than a test may.

use nearcache_model::experiments::experiments;
use nearcache_model::explorer::{Limits, Machine, Verdict, explore};
use nearcache_model::state::State;
use nearcache_model::suite::{configurations, wide};
use nearcache_model::{Mechanism, Model, Property, trace};

/// States along every configuration: of each one, the successors of the first few.
fn some_states() -> Vec<(Model, State)> {
    let mut all = Vec::new();
    for configuration in configurations() {
        let model = Model {
            configuration,
            without: None,
        };
        let mut states = model.starts();
        let mut steps = Vec::new();
        let mut at = 0;
        while states.len() < 3_000 && at < states.len() {
            steps.clear();
            model.steps(&states[at], &mut steps);
            states.extend(steps.iter().map(|step| step.state));
            at += 1;
        }
        all.extend(states.into_iter().map(|state| (model, state)));
    }
    all
}

#[test]
fn packing_what_was_unpacked_changes_nothing() {
    for (model, state) in some_states() {
        let packed = model.pack(&state);
        assert_eq!(model.pack(&model.unpack(&packed)), packed, "{state:?}");
    }
}

#[test]
fn states_that_differ_in_names_only_are_one() {
    for (model, state) in some_states() {
        let mut renamed = state;
        renamed.tokens(|token| token.0 = if token.0 == 0 { 0 } else { 7 - token.0 });
        renamed.stamps(|stamp| stamp.0 = if stamp.0 == 0 { 0 } else { 15 - stamp.0 });
        renamed.processes.swap(0, 1);
        for process in &mut renamed.processes {
            process.callers.swap(0, 1);
        }
        assert_eq!(model.pack(&renamed), model.pack(&state), "{state:?}");
    }
}

#[test]
fn states_that_differ_in_more_than_names_are_two() {
    for (model, state) in some_states() {
        let mut other = state;
        other.server.lease.0 = if state.server.lease.0 == 0 { 7 } else { 0 };
        assert_ne!(model.pack(&other), model.pack(&state), "{state:?}");
        let mut other = state;
        other.floor = (state.floor + 1) % 4;
        assert_ne!(model.pack(&other), model.pack(&state), "{state:?}");
    }
}

/// `--trace` and `--only` ask by name.
#[test]
fn no_two_have_one_name() {
    let experiments = experiments().into_iter().map(|taken_out| taken_out.name());
    let suite = configurations().into_iter().chain(wide());
    let mut names: Vec<String> = experiments
        .chain(suite.map(|configuration| configuration.name.to_owned()))
        .collect();
    names.sort_unstable();
    let all = names.len();
    names.dedup();
    assert_eq!(names.len(), all);
}

#[test]
fn a_violation_is_told_step_by_step() {
    let found = experiments();
    let experiment = found
        .iter()
        .find(|experiment| experiment.without == Mechanism::FillComparesToken)
        .expect("it is taken out");
    let model = Model {
        configuration: experiment.configuration,
        without: Some(experiment.without),
    };
    let limits = Limits {
        states: 100_000,
        progress: false,
    };
    let Verdict::Broken { property, trace } = explore(&model, limits, |_| {}).verdict else {
        panic!("a load whose lease was taken away stores");
    };
    assert_eq!(property, Property::Store);
    let told = trace::told(&trace);
    assert_eq!(told.lines().count(), trace.len() + 1);
    assert!(told.contains("FILL(t1, seen -, v0): stored"), "{told}");
}
