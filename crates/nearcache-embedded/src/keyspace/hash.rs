//! The hash type.

use super::size::block;

#[derive(Clone, Debug, Default)]
pub(crate) struct Hash {}

impl Hash {
    pub(crate) fn len(&self) -> usize {
        0
    }

    /// The name that `OBJECT ENCODING` gives.
    pub(crate) fn encoding(&self) -> &'static str {
        ""
    }

    /// How much memory it takes, boxed.
    pub(crate) fn bytes(&self) -> usize {
        block(size_of::<Hash>())
    }
}
