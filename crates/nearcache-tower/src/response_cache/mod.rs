//! Responses that are cached by RFC 9111.
//!
//! `layer` is what an application sees: the layer and its options. `service` decides what becomes of a request, `look`
//! looks for what is stored, and `load` asks the handler, once for all who wait. What they go by: `subject` is a request as the cache sees it,
//! `record` a response as it is stored, `terms` says how long it may be used and by whom.

mod body;
mod conditions;
mod directives;
mod fields;
mod layer;
mod load;
mod look;
mod record;
mod service;
mod shared;
mod status;
mod subject;
mod tags;
mod terms;
mod vary;

pub use body::ResponseBody;
pub use layer::{ResponseCacheBuilder, ResponseCacheLayer};
pub use service::ResponseCache;
pub use tags::CacheTags;
