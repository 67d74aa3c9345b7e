//! `#[cached]` of [nearcache](https://docs.rs/nearcache), which re-exports and documents it.
//!
//! `attribute` parses the attribute, with `time` and `template` for the texts in it; `function` analyses the
//! decorated function; `expand` generates the result.

mod attribute;
mod expand;
mod function;
#[cfg(test)]
mod golden;
mod template;
mod time;

use proc_macro::TokenStream;

#[allow(missing_docs, reason = "documented where it is re-exported")]
#[proc_macro_attribute]
pub fn cached(attribute: TokenStream, item: TokenStream) -> TokenStream {
    expand::cached(attribute.into(), item.into())
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}
