//! What the compiler says of a mistake, and where it points: frozen.
//!
//! `TRYBUILD=overwrite cargo test -p nearcache-macros --test messages` freezes them anew.

#[test]
fn messages_say_what_is_wrong_and_point_at_it() {
    trybuild::TestCases::new().compile_fail("tests/messages/*.rs");
}
