//! postcard: values alone, without types and names.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::bounds::Bounds;
use crate::error::{Error, ErrorKind, Result};

pub(super) fn write<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<()> {
    let written = postcard::to_extend(value, std::mem::take(out));
    *out = written.map_err(|error| {
        Error::new(ErrorKind::Codec, format!("as postcard: {error}")).caused_by(error)
    })?;
    Ok(())
}

/// Reads a value from all of the bytes. If they are of another type, mostly some are left over or missing.
pub(super) fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    let bounds = Bounds::of(bytes);
    let mut deserializer = postcard::Deserializer::from_bytes(bytes);
    let value = T::deserialize(bounds.hold(&mut deserializer)).map_err(|error| {
        let message = match bounds.exceeded() {
            Some(bound) => format!("as postcard: {bound}"),
            None => format!("as postcard: {error}"),
        };
        Error::new(ErrorKind::Codec, message)
    })?;
    match deserializer.finalize() {
        Ok([]) => Ok(value),
        _ => Err(Error::new(
            ErrorKind::Codec,
            "as postcard: there are bytes after the value",
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::super::bounds::DEPTH;
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Chain(Option<Box<Chain>>);

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Tree {
        Leaf,
        Wrapped(Box<Tree>),
        Pair(Box<Tree>, Box<Tree>),
        Named { within: Box<Tree> },
        Many(Vec<Tree>),
        ByName(BTreeMap<u8, Tree>),
    }

    #[test]
    fn nesting_is_bounded() {
        let chain = |links: usize| [vec![1; links], vec![0]].concat();
        assert!(read::<Chain>(&chain(DEPTH / 2 - 1)).is_ok());
        for deep in [
            read::<Chain>(&chain(DEPTH / 2)).unwrap_err(),
            read::<Chain>(&chain(1_000_000)).unwrap_err(),
        ] {
            assert!(deep.to_string().contains("256 levels"), "{deep}");
        }
        // Every way in which a type can contain itself, as bytes that go on without end.
        for level in [&[1][..], &[2], &[3], &[4, 1], &[5, 1, 0]] {
            let deep = read::<Tree>(&level.repeat(100_000)).unwrap_err();
            assert!(deep.to_string().contains("256 levels"), "{level:?}: {deep}");
        }
    }

    #[test]
    fn what_nests_and_is_no_deeper_is_read_as_it_was_written() {
        let mut tree = Tree::Leaf;
        for turn in 0..100 {
            tree = match turn % 5 {
                0 => Tree::Wrapped(tree.into()),
                1 => Tree::Pair(Tree::Leaf.into(), tree.into()),
                2 => Tree::Named {
                    within: tree.into(),
                },
                3 => Tree::Many(vec![tree, Tree::Leaf]),
                _ => Tree::ByName(BTreeMap::from([(7, tree)])),
            };
        }
        let mut bytes = Vec::new();
        write(&tree, &mut bytes).unwrap();
        assert_eq!(read::<Tree>(&bytes).unwrap(), tree);
    }

    #[test]
    fn a_length_of_nothings_is_not_counted_to_its_end() {
        assert_eq!(read::<Vec<()>>(&[3]).unwrap().len(), 3);
        let years = [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F];
        let error = read::<Vec<()>>(&years).unwrap_err();
        assert!(error.to_string().contains("length"), "{error}");
    }

    #[test]
    fn as_many_elements_as_there_are_bytes_are_read() {
        let empty: Vec<Vec<u8>> = vec![Vec::new(); 200_000];
        let mut bytes = Vec::new();
        write(&empty, &mut bytes).unwrap();
        assert_eq!(read::<Vec<Vec<u8>>>(&bytes).unwrap(), empty);
        let marked: BTreeMap<u32, ((), (), ())> = (0..200_000).map(|n| (n, ((), (), ()))).collect();
        let mut bytes = Vec::new();
        write(&marked, &mut bytes).unwrap();
        assert_eq!(read::<BTreeMap<u32, ((), (), ())>>(&bytes).unwrap(), marked);
    }
}
