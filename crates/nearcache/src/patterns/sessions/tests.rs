//! The scripts of sessions and their twins, on random inputs; the verbs against a plain model with a clock that the
//! test moves; and records of whatever bytes.

mod model;
mod scripts;

use std::ops::Range;

use proptest::prelude::*;

use super::record::{Owner, Record, value_at};

#[test]
fn an_owner_reads_back() {
    let owner = Owner {
        user: b"alice".to_vec(),
        version: *b"version 1, of 16",
    };
    let part = Owner::written(Some(&owner));
    assert_eq!(part, b"\0\x05aliceversion 1, of 16");
    assert_eq!(Owner::read(&part), Some(owner));
    assert_eq!(Owner::written(None), b"\0\0");
    assert_eq!(Owner::read(b"\0\0"), None);
}

/// The record that `docs/wire-format.md` shows.
const RECORD: &[u8] =
    b"\xC1NS\x010001767225600000revision 1 of 16\0\x05aliceversion 1, of 16{\"cart\":[7]}";

#[test]
fn the_record_is_frozen() {
    let record = Record::new(RECORD.to_vec()).unwrap();
    assert_eq!(record.ends(), b"0001767225600000");
    assert_eq!(record.revision(), b"revision 1 of 16");
    assert_eq!(record.owner().unwrap().user, b"alice");
    assert_eq!(&record.owner().unwrap().version, b"version 1, of 16");
    assert_eq!(record.value(), br#"{"cart":[7]}"#);
}

#[test]
fn a_record_cut_short_in_its_head_is_none() {
    let head: Range<usize> = 0..RECORD.len() - br#"{"cart":[7]}"#.len();
    for length in head {
        assert_eq!(value_at(&RECORD[..length]), None, "{length}");
    }
}

proptest! {
    #[test]
    fn no_bytes_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..120), like in 0..40_usize) {
        let like = like.min(bytes.len());
        bytes[..like].copy_from_slice(&RECORD[..like]);
        if let Ok(record) = Record::new(bytes) {
            let _ = (record.owner(), record.value(), record.decode::<serde_json::Value>(&crate::Codec::json()));
        }
    }
}
