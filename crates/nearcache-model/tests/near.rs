//! The near tier's model: the protocol holds in each configuration, and each of its pieces is needed in one.

#![allow(clippy::print_stdout, reason = "the tests tell what they found")]

use nearcache_model::near::{Configuration, Found, Piece, configurations, look};

#[test]
fn nothing_old_is_answered_in_any_configuration() {
    let mut states = 0;
    for configuration in configurations() {
        let Found {
            states: some,
            wrong,
        } = look(configuration);
        assert!(wrong.is_none(), "{configuration:?}: {wrong:#?}");
        states += some;
    }
    println!("{states} states");
    assert!(states > 50_000, "{states}");
}

#[test]
fn each_piece_is_needed() {
    for piece in Piece::ALL {
        let broken: Vec<_> = configurations()
            .into_iter()
            .filter_map(|configuration| {
                let without = Some(piece);
                let wrong = look(Configuration {
                    without,
                    ..configuration
                })
                .wrong?;
                Some((configuration.carrier, wrong))
            })
            .collect();
        let shortest = broken.iter().min_by_key(|(_, (steps, _))| steps.len());
        println!("without {piece:?}: {shortest:?}");
        assert!(shortest.is_some(), "{piece:?} is not needed");
    }
}
