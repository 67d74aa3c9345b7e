//! Arguments that were taken by reference, on their way to a load that may outlive the caller.

use std::borrow::Borrow;
use std::fmt;
use std::marker::PhantomData;

/// A copy of what was taken by reference, to be lent as it was.
pub struct Owned<T: ?Sized, O>(O, PhantomData<fn(&T)>);

/// Copies.
pub fn own<T: ToOwned + ?Sized>(value: &T) -> Owned<T, T::Owned> {
    Owned(value.to_owned(), PhantomData)
}

impl<T: ?Sized, O: Borrow<T>> Owned<T, O> {
    pub fn lend(&self) -> &T {
        self.0.borrow()
    }
}

impl<T: ?Sized, O> fmt::Debug for Owned<T, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Owned")
    }
}
