//! How a caller takes a value out of an entry that many callers share: `get` clones it, `get_arc` shares it.

use std::any::{Any, TypeId};
use std::sync::Arc;

/// A value of some type. Callers who ask for a `T` and for an `Arc<T>` find each other's.
#[derive(Debug)]
pub(super) struct Value {
    /// The value itself: one step from here, because each hit takes it.
    it: Arc<dyn Any + Send + Sync>,
    /// The same as an `Arc`, for who asks for an `Arc` as a value of its own.
    as_arc: Box<dyn Any + Send + Sync>,
}

impl Value {
    fn new<T: Send + Sync + 'static>(value: Arc<T>) -> Self {
        Value {
            as_arc: Box::new(Arc::clone(&value)),
            it: value,
        }
    }

    /// The value as this type.
    #[inline]
    fn get<R: 'static>(&self) -> Option<&R> {
        let it = self.it.downcast_ref::<R>();
        it.or_else(|| self.as_arc.downcast_ref::<R>())
    }
}

/// What was decoded of an entry, the first time that it was asked for.
#[derive(Debug)]
pub(super) enum Decoded {
    Value(Value),
    /// It is a cached nothing for this type.
    Nothing(TypeId),
}

/// How a caller takes the value.
#[derive(Debug)]
pub(crate) struct Shape<R> {
    /// The value, if it is of the caller's type.
    pub(super) take: fn(&Value) -> Option<R>,
    /// What to keep of a value for others.
    pub(super) give: fn(&R) -> Value,
    /// Whether to take it is to count one more who shares it, and runs nobody's code.
    pub(super) shares: bool,
}

impl<R> Clone for Shape<R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R> Copy for Shape<R> {}

impl<R: Clone + Send + Sync + 'static> Shape<R> {
    /// The caller gets a clone.
    #[inline]
    pub(crate) fn cloned() -> Self {
        Shape {
            take: |value| match value.get::<R>() {
                Some(value) => Some(value.clone()),
                // As one who asked for an `Arc` as a value of its own has given it.
                None => value.get::<Arc<R>>().map(|value| R::clone(value)),
            },
            give: |value| Value::new(Arc::new(value.clone())),
            shares: false,
        }
    }
}

impl<T: Send + Sync + 'static> Shape<Arc<T>> {
    /// The caller shares it.
    #[inline]
    pub(crate) fn shared() -> Self {
        Shape {
            take: |value| {
                let it = Arc::clone(&value.it).downcast();
                it.ok().or_else(|| value.get::<Arc<T>>().cloned())
            },
            give: |value| Value::new(Arc::clone(value)),
            shares: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_cloned_or_shared_and_of_another_type_it_is_none() {
        let (cloned, shared) = (Shape::<String>::cloned(), Shape::<Arc<String>>::shared());
        // Who asks for an `Arc` as a value of its own, as `remember` does.
        let own = Shape::<Arc<String>>::cloned();
        let text = Arc::new("text".to_owned());
        let all = [
            (shared.give)(&text),
            (cloned.give)(&text),
            (own.give)(&text),
        ];
        for kept in all {
            assert_eq!((cloned.take)(&kept).unwrap(), "text");
            let one = (shared.take)(&kept).unwrap();
            assert!(Arc::ptr_eq(&one, &(shared.take)(&kept).unwrap()));
            assert!(Arc::ptr_eq(&one, &(own.take)(&kept).unwrap()));
            assert!((Shape::<u32>::cloned().take)(&kept).is_none());
            assert!((Shape::<Arc<u32>>::shared().take)(&kept).is_none());
        }
    }
}
