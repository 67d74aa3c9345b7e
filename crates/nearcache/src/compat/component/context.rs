//! The context of a component's calls.

use std::sync::Arc;

/// The context of a call: the id that traces it through a chain of calls. Pass `None`, a text (the trace id), or
/// this.
///
/// ```
/// use nearcache::compat::component::Context;
///
/// assert_eq!(Context::from("123").trace_id(), Some("123"));
/// assert_eq!(Context::from(None).trace_id(), None);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Context {
    trace_id: Option<Arc<str>>,
}

impl Context {
    /// The trace id. Errors of the call contain it.
    pub fn trace_id(&self) -> Option<&str> {
        self.trace_id.as_deref()
    }

    pub(super) fn trace(&self) -> Option<&Arc<str>> {
        self.trace_id.as_ref()
    }
}

impl From<Option<&str>> for Context {
    fn from(trace_id: Option<&str>) -> Self {
        Context {
            trace_id: trace_id.filter(|id| !id.is_empty()).map(Arc::from),
        }
    }
}

impl From<&str> for Context {
    fn from(trace_id: &str) -> Self {
        Context::from(Some(trace_id))
    }
}

impl From<String> for Context {
    fn from(trace_id: String) -> Self {
        Context::from(trace_id.as_str())
    }
}

impl From<&Context> for Context {
    fn from(context: &Context) -> Self {
        context.clone()
    }
}
