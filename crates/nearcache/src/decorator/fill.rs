//! What fills a template: an `Option` is written as its value, or as `!none`.
//!
//! No two `Option`s are written alike: a value that itself begins with `!` gets another one.

use std::fmt;

/// An `Option` in a template.
#[derive(Debug)]
pub struct Filled<'v, T>(Option<&'v T>);

/// An `Option` argument, or a reference to one, as it is written.
pub fn filled<T: fmt::Display>(value: &impl AsOption<T>) -> Filled<'_, T> {
    Filled(value.as_option())
}

/// An `Option`, behind references or not.
pub trait AsOption<T> {
    fn as_option(&self) -> Option<&T>;
}

impl<T> AsOption<T> for Option<T> {
    fn as_option(&self) -> Option<&T> {
        self.as_ref()
    }
}

impl<T, O: AsOption<T> + ?Sized> AsOption<T> for &O {
    fn as_option(&self) -> Option<&T> {
        (**self).as_option()
    }
}

impl<T: fmt::Display> fmt::Display for Filled<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("!none"),
            Some(value) => {
                if value.to_string().starts_with('!') {
                    f.write_str("!")?;
                }
                value.fmt(f)
            }
        }
    }
}

/// A field in a template, whose type is not known to the macro.
#[derive(Debug)]
pub struct Field<'v, T: ?Sized>(pub &'v T);

/// A field that is an `Option`.
pub trait FillsOption<'v> {
    type Value;
    fn filled(&self) -> Filled<'v, Self::Value>;
}

impl<'v, T: fmt::Display> FillsOption<'v> for &Field<'v, Option<T>> {
    type Value = T;
    fn filled(&self) -> Filled<'v, T> {
        Filled(self.0.as_ref())
    }
}

/// Any other field.
pub trait FillsDisplay<'v> {
    type Value: ?Sized;
    fn filled(&self) -> &'v Self::Value;
}

impl<'v, T: ?Sized> FillsDisplay<'v> for Field<'v, T> {
    type Value = T;
    fn filled(&self) -> &'v T {
        self.0
    }
}
