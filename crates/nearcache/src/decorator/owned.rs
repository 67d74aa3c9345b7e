//! Arguments that were taken by reference, on their way to a load that may outlive the caller.

use std::borrow::Borrow;
use std::fmt;

/// A copy of what was taken by reference, to be lent as it was.
pub struct Owned<T: ?Sized + ToOwned>(T::Owned);

impl<T: ?Sized + ToOwned> Owned<T> {
    pub fn of(value: &T) -> Self {
        Owned(value.to_owned())
    }

    pub fn lend(&self) -> &T {
        self.0.borrow()
    }
}

impl<T: ?Sized + ToOwned> fmt::Debug for Owned<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Owned")
    }
}
