//! Templates: `"user:{user_id}:{org.name:>8}"`, filled from the arguments.

use proc_macro2::{Ident, Span, TokenStream};
use quote::quote;
use syn::{Error, LitStr, Result};

use crate::function::{Argument, Function};

/// A template as an expression: a text, or a `format!`.
pub(crate) fn expression(
    template: &LitStr,
    function: &Function,
    support: &TokenStream,
) -> Result<TokenStream> {
    let written = |format, values| quote!(::std::format!(#format, #values));
    filled(template, function, support, written)
}

/// The template of a key, likewise. What is filled in is written where the key is.
pub(crate) fn key(
    template: &LitStr,
    function: &Function,
    support: &TokenStream,
) -> Result<TokenStream> {
    let written =
        |format, values| quote!(#support::filled_key(::core::format_args!(#format, #values)));
    filled(template, function, support, written)
}

fn filled(
    template: &LitStr,
    function: &Function,
    support: &TokenStream,
    written: impl FnOnce(LitStr, TokenStream) -> TokenStream,
) -> Result<TokenStream> {
    let mut filling = Filling {
        template,
        function,
        support,
        format: String::new(),
        values: Vec::new(),
        named: Vec::new(),
    };
    filling.read()?;
    let Filling {
        format,
        values,
        named,
        ..
    } = filling;
    if values.is_empty() {
        // There is nothing to fill in, but `{{` stands for `{`.
        let text = format.replace("{{", "{").replace("}}", "}");
        let text = LitStr::new(&text, template.span());
        return Ok(quote!(#text));
    }
    let format = LitStr::new(&format, template.span());
    let named = named.iter().map(|name| quote!(#name = #name));
    let values = values.into_iter().chain(named);
    Ok(written(format, quote!(#(#values),*)))
}

struct Filling<'f> {
    template: &'f LitStr,
    function: &'f Function,
    support: &'f TokenStream,
    /// The template with `{}` and `{:..}` in place of the values.
    format: String,
    values: Vec<TokenStream>,
    /// Arguments that are used as a width or a precision.
    named: Vec<Ident>,
}

impl Filling<'_> {
    fn read(&mut self) -> Result<()> {
        let text = self.template.value();
        let mut rest = &*text;
        while let Some(at) = rest.find(['{', '}']) {
            self.format.push_str(&rest[..at]);
            let brace = &rest[at..=at];
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix(brace) {
                self.format.push_str(brace);
                self.format.push_str(brace);
                rest = after;
            } else if brace == "}" {
                return Err(
                    self.error("a `}` without its `{`; write `}}` for the character itself")
                );
            } else {
                let end = rest.find('}').ok_or_else(|| {
                    self.error("a `{` without its `}`; write `{{` for the character itself")
                })?;
                self.place(&rest[..end])?;
                rest = &rest[end + 1..];
            }
        }
        self.format.push_str(rest);
        Ok(())
    }

    /// Parses the part between braces: an argument, its fields, and its format spec.
    fn place(&mut self, place: &str) -> Result<()> {
        let (path, spec) = match place.split_once(':') {
            Some((path, spec)) => (path, Some(spec)),
            None => (place, None),
        };
        // What is written in another way than as text (`{id:?}`, `{id:x}`) is written as it is.
        let other = |spec: &str| spec.trim_end().ends_with(|last| "?xXobeEp".contains(last));
        let as_text = !spec.is_some_and(other);
        let value = self.value(path.trim(), as_text)?;
        self.values.push(value);
        self.format.push('{');
        if let Some(spec) = spec {
            self.spec(spec)?;
            self.format.push(':');
            self.format.push_str(spec);
        }
        self.format.push('}');
        Ok(())
    }

    fn value(&self, path: &str, as_text: bool) -> Result<TokenStream> {
        let mut parts = path.split('.');
        let first = parts.next().unwrap_or_default();
        if first.is_empty() {
            return Err(self.error(&format!(
                "`{{}}` does not say which argument; there {}",
                self.function.listed()
            )));
        }
        let (mut value, option) = match first.parse::<usize>() {
            Ok(place) => {
                let argument = self.function.arguments.get(place).ok_or_else(|| {
                    self.error(&format!(
                        "there is no argument {place}, counted from 0; there {}",
                        self.function.listed()
                    ))
                })?;
                let name = &argument.name;
                (quote!(#name), argument.is_option())
            }
            Err(_) => {
                let name = self.argument(first)?;
                let mut arguments = self.function.arguments.iter();
                let argument = arguments.find(|argument| argument.name == name);
                (quote!(#name), argument.is_some_and(Argument::is_option))
            }
        };
        let is_field = path.contains('.');
        for part in parts {
            let field: syn::Member = syn::parse_str(part)
                .map_err(|_| self.error(&format!("`{part}` in `{{{path}}}` is not a field")))?;
            let field = match field {
                syn::Member::Named(name) => {
                    syn::Member::Named(Ident::new(&name.to_string(), self.span()))
                }
                syn::Member::Unnamed(mut index) => {
                    index.span = self.span();
                    syn::Member::Unnamed(index)
                }
            };
            value = quote!(#value.#field);
        }
        let support = self.support;
        Ok(match (is_field, option) {
            _ if !as_text => value,
            (false, false) => value,
            (false, true) => quote!(#support::filled(&#value)),
            // A field may be an `Option`, which only its type says.
            (true, _) => quote!({
                #[allow(unused_imports)]
                use #support::{FillsDisplay as _, FillsOption as _};
                (&&#support::Field(&#value)).filled()
            }),
        })
    }

    fn argument(&self, name: &str) -> Result<Ident> {
        if let Some(mut ident) = self.function.find(name) {
            ident.set_span(self.span());
            return Ok(ident);
        }
        let near = self.function.nearest(name);
        let hint = near.map_or(String::new(), |near| format!(" Did you mean `{near}`?"));
        Err(self.error(&format!(
            "there is no argument `{name}`; there {}.{hint}",
            self.function.listed()
        )))
    }

    /// Widths and precisions may be arguments, too, by name.
    fn spec(&mut self, spec: &str) -> Result<()> {
        if spec.contains('*') {
            return Err(self.error("`*` takes its number from the value before it; name an argument, as in `{price:.digits$}`"));
        }
        let mut rest = spec;
        while let Some(at) = rest.find('$') {
            let from = rest[..at]
                .rfind(|c: char| !(c.is_alphanumeric() || c == '_'))
                .map_or(0, |before| {
                    before + rest[before..].chars().next().map_or(1, char::len_utf8)
                });
            // It may be preceded by a fill and a `0`.
            let name = rest[from..at].trim_start_matches(|c: char| c.is_ascii_digit());
            if name.is_empty() {
                return Err(self.error(
                    "a width is a number or the name of an argument, as in `{id:>width$}`",
                ));
            }
            let name = self.argument(name)?;
            if !self.named.contains(&name) {
                self.named.push(name);
            }
            rest = &rest[at + 1..];
        }
        Ok(())
    }

    fn span(&self) -> Span {
        self.template.span()
    }

    fn error(&self, why: &str) -> Error {
        Error::new(self.span(), why)
    }
}
