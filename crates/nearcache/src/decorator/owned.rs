//! Copies of arguments that were taken by reference, for a load that may outlive the caller.

use std::borrow::Borrow;
use std::fmt;
use std::marker::PhantomData;

/// A copy of an argument that was taken by reference. The function gets a reference to it.
pub struct Owned<T: ?Sized, O>(O, PhantomData<fn(&T)>);

/// Copies an argument.
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
