//! Generates the function that asks the cache, and the functions that belong to it.
//!
//! For a free function `find` there is also a type `find` without values. It has the other functions as associated
//! functions (`find::invalidate(..)`); this is possible because functions and types are in different namespaces. A
//! method `find` gets more methods instead (`find_invalidate`), because an `impl` cannot contain types.
//!
//! Every name of the macro's own that a user's expression could see is hygienic (`Span::mixed_site`), so arguments
//! may have any name.

use proc_macro2::{Ident, Literal, Span, TokenStream, TokenTree};
use quote::{format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Error, Expr, ExprClosure, FnArg, GenericParam, ItemFn, Pat, Result, Signature, Type};

use crate::attribute::{Attribute, OnError, Time, text};
use crate::function::{Argument, Function, Sorted, bare, bound, sorted};
use crate::template;

pub(crate) fn cached(attribute: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let attribute: Attribute = syn::parse2(attribute)?;
    let item: ItemFn = syn::parse2(item).map_err(|error| {
        Error::new(
            error.span(),
            format!(
                "#[cached] goes before a function with a body (for a method of a trait, decorate an inherent method, \
                 and call it from the trait's): {error}"
            ),
        )
    })?;
    Expansion::new(attribute, Function::new(item)?)?.written()
}

struct Expansion {
    attribute: Attribute,
    function: Function,
    method: bool,
    /// `::nearcache`
    home: TokenStream,
    /// `::nearcache::__decorator`
    support: TokenStream,
}

/// A hygienic name of the macro's own.
fn own(name: &str) -> Ident {
    Ident::new(name, Span::mixed_site())
}

impl Expansion {
    fn new(attribute: Attribute, function: Function) -> Result<Self> {
        let method = attribute.associated || function.is_method();
        let home = &attribute.home;
        let home = quote!(#home);
        Ok(Expansion {
            support: quote!(#home::__decorator),
            home,
            method,
            function,
            attribute,
        })
    }

    fn name(&self) -> &Ident {
        &self.function.item.sig.ident
    }

    /// The name of a function that belongs to this one. The first that a method brings is one that says what is wrong
    /// where these cannot be: in the `impl` of a trait the compiler says that it "is not a member of trait".
    fn beside(&self, what: &str) -> Ident {
        let name = self.name();
        match (self.method, what) {
            (true, "ask") => {
                format_ident!("__{name}_is_cached__decorate_an_inherent_method__not_one_of_a_trait")
            }
            (true, _) => format_ident!("{name}_{what}"),
            (false, "ask") => format_ident!("__ask"),
            (false, _) => Ident::new(what, name.span()),
        }
    }

    fn awaited(&self) -> TokenStream {
        if self.function.is_async() {
            quote!(.await)
        } else {
            quote!()
        }
    }

    /// Runs an operation of the cache.
    fn carried_out(&self) -> TokenStream {
        if self.function.is_async() {
            quote!(.await)
        } else {
            quote!(.run())
        }
    }

    fn written(&self) -> Result<TokenStream> {
        let ItemFn {
            attrs, vis, sig, ..
        } = &self.function.item;
        let Sorted { outer, lints, .. } = sorted(attrs);
        let (name, output) = (&sig.ident, &sig.output);
        let (asyncness, (generics, where_clause)) = (&sig.asyncness, self.generics());
        let (inputs, forwarded) = (self.function.inputs(), self.function.forwarded());
        let (ask, turbofish) = (self.beside("ask"), self.function.turbofish());
        let home = if self.method {
            quote!(Self)
        } else {
            quote!(#name)
        };
        let awaited = self.awaited();
        let asks = quote! {
            #(#outer)*
            #(#lints)*
            #vis #asyncness fn #name #generics (#inputs) #output #where_clause {
                #home::#ask #turbofish(#(#forwarded,)* false) #awaited
            }
        };
        let beside = self.companions()?;
        if self.method {
            return Ok(quote!(#asks #beside));
        }
        let doc = format!(" The functions that belong to the cached function `{name}`.");
        Ok(quote! {
            #asks

            #[doc = #doc]
            #[allow(non_camel_case_types, dead_code, unreachable_pub, missing_debug_implementations)]
            #vis enum #name {}

            impl #name {
                #beside
            }
        })
    }

    fn generics(&self) -> (TokenStream, TokenStream) {
        let generics = &self.function.item.sig.generics;
        let (declared, where_clause) = (&generics.params, &generics.where_clause);
        let declared = if declared.is_empty() {
            quote!()
        } else {
            quote!(<#declared>)
        };
        (declared, quote!(#where_clause))
    }

    fn companions(&self) -> Result<TokenStream> {
        let ItemFn {
            attrs,
            vis,
            sig,
            block,
        } = &self.function.item;
        let Sorted { inner, lints, .. } = sorted(attrs);
        let (home, support) = (&self.home, &self.support);
        let called = bare(&sig.ident);
        let (inputs, output) = (self.function.inputs(), &sig.output);
        let (generics, where_clause) = self.generics();
        let forwarded = self.function.forwarded();
        let (asyncness, awaited, carried_out) =
            (&sig.asyncness, self.awaited(), self.carried_out());
        let turbofish = self.function.turbofish();
        let [key, invalidate, refresh, prime, ask] =
            ["key", "invalidate", "refresh", "prime", "ask"].map(|what| self.beside(what));
        let body = self.body()?;
        // Where `Self` is no type, in a trait, this is the error that says so.
        let of_a_type = if self.method && self.function.is_async() {
            let support = at(support, sig.ident.span());
            quote_spanned!(sig.ident.span()=> #support::of_a_type::<Self>();)
        } else {
            quote!()
        };
        let (bound_cache, bound_key) = (own("__cache"), own("__key"));
        let (get_cache, get_key, get_call_key) = (self.cache(), self.key()?, self.call_key()?);
        let apart = self.function.taken_apart();
        let (asking, priming) = (self.asking()?, self.priming()?);
        let (force, value) = (own("__force"), own("__value"));
        let returned = &self.function.returned;
        // They take all of the function's arguments, even if they do not need them.
        let quiet = quote! {
            #[allow(
                dead_code, unused_variables, unreachable_pub,
                clippy::too_many_arguments, clippy::needless_pass_by_value
            )]
            #(#lints)*
        };
        let docs = [
            format!(" `{called}` without the cache."),
            format!(" The key under which `{called}` is cached for these arguments."),
            format!(
                " Deletes the cached result of `{called}` for these arguments; returns whether there was one."
            ),
            format!(" Runs `{called}`, whatever is cached, and caches the result."),
            format!(
                " Caches this value as the result of `{called}` for these arguments. (An `Err` is not cached.) It gets the \
                 TTL and the tags, and is not kept beyond its TTL."
            ),
        ];
        let [
            doc_uncached,
            doc_key,
            doc_invalidate,
            doc_refresh,
            doc_prime,
        ] = docs;
        Ok(quote! {
            #[doc(hidden)]
            #quiet
            #asyncness fn #ask #generics (#inputs #force: bool) #output #where_clause {
                #of_a_type
                #apart
                let #bound_cache: #get_cache;
                #asking
            }

            #[doc = #doc_uncached]
            #[allow(dead_code, unreachable_pub)]
            #(#inner)*
            #(#lints)*
            #vis #body #block

            #[doc = #doc_key]
            #quiet
            #vis fn #key #generics (#inputs) -> #home::Result<#home::Key> #where_clause {
                #apart
                #get_key
            }

            #[doc = #doc_invalidate]
            #quiet
            #vis #asyncness fn #invalidate #generics (#inputs) -> #home::Result<bool> #where_clause {
                #apart
                let #bound_cache: #get_cache;
                let #bound_key = #get_call_key?;
                #bound_cache.delete(#bound_key)#carried_out
            }

            #[doc = #doc_refresh]
            #quiet
            #vis #asyncness fn #refresh #generics (#inputs) #output #where_clause {
                Self::#ask #turbofish(#(#forwarded,)* true)#awaited
            }

            #[doc = #doc_prime]
            #quiet
            #vis #asyncness fn #prime #generics (
                #inputs
                #value: impl #support::Primes<#returned>,
            ) -> #home::Result<()> #where_clause {
                #apart
                let #value = #support::Primes::into_returned(#value);
                let #bound_cache: #get_cache;
                let #bound_key = #get_call_key;
                #priming
            }
        })
    }

    /// The signature of the original function. Arguments that only the attribute uses cause no warning.
    fn body(&self) -> Result<Signature> {
        let mut body = self.function.item.sig.clone();
        body.ident = self.beside("uncached");
        let attribute = &self.attribute;
        let mut used = vec![self.key()?, self.options(true)?];
        let (cache, condition) = (&attribute.cache, &attribute.condition);
        used.push(quote!(#cache #condition));
        for input in &mut body.inputs {
            if let FnArg::Typed(input) = input {
                let bound: Vec<_> = bound(&input.pat).iter().map(bare).collect();
                let is_used = |tokens: &TokenStream| mentions(tokens.clone(), &bound);
                if attribute.key.is_none() || used.iter().any(is_used) {
                    input
                        .attrs
                        .push(syn::parse_quote!(#[allow(unused_variables)]));
                }
            }
        }
        Ok(body)
    }

    /// `&Cache = &CACHE`, for a `let`.
    fn cache(&self) -> TokenStream {
        let (home, cache) = (&self.home, &self.attribute.cache);
        let ty = if self.function.is_async() {
            quote!(&#home::Cache)
        } else {
            quote!(&#home::blocking::Cache)
        };
        let span = cache.span();
        let expr = match cache {
            Expr::Reference(given) if given.mutability.is_none() => quote!(#cache),
            // Expressions that bind more loosely than `&`.
            Expr::Binary(_) | Expr::Cast(_) | Expr::Closure(_) | Expr::Range(_) => {
                quote_spanned!(span=> &(#cache))
            }
            _ => quote_spanned!(span=> &#cache),
        };
        if self.consumes_the_cache() {
            return quote_spanned!(span=> #ty = &::core::clone::Clone::clone(#expr));
        }
        quote_spanned!(span=> #ty = #expr)
    }

    /// Whether the cache is in an argument that the function takes by value, and that is moved before the cache is
    /// asked.
    fn consumes_the_cache(&self) -> bool {
        let by_value = |ty: &Type| !matches!(ty, Type::Reference(_));
        let arguments = self.function.arguments.iter();
        let mut consumed: Vec<String> = arguments
            .filter(|argument| by_value(&argument.ty))
            .map(|argument| bare(&argument.name))
            .collect();
        let receiver = self.function.receiver.as_ref();
        if receiver.is_some_and(|this| by_value(&this.ty)) {
            consumed.push("self".to_owned());
        }
        let cache = &self.attribute.cache;
        mentions(quote!(#cache), &consumed)
    }

    /// Whether this argument is the cache.
    fn is_the_cache(&self, name: &Ident) -> bool {
        let mut cache = &self.attribute.cache;
        loop {
            match cache {
                Expr::Reference(inner) => cache = &inner.expr,
                Expr::Paren(inner) => cache = &inner.expr,
                Expr::Path(path) => return path.path.is_ident(name),
                _ => return false,
            }
        }
    }

    /// The key, for users: a `Result<Key>`.
    fn key(&self) -> Result<TokenStream> {
        let (support, key) = (&self.support, self.call_key()?);
        let span = self.attribute.key.as_ref().map(Spanned::span);
        let span = span.unwrap_or_else(Span::call_site);
        Ok(quote_spanned!(span=> #support::key(#key)))
    }

    /// The key of a call: a `Result<CallKey>`.
    fn call_key(&self) -> Result<TokenStream> {
        let support = &self.support;
        if let Some(key) = &self.attribute.key {
            let expr = match text(key) {
                Some(template) => template::key(template, &self.function, support)?,
                None => self.expression(key)?,
            };
            return Ok(quote_spanned!(key.span()=> #support::call_key(#expr)));
        }
        let name = bare(self.name());
        let mut written = if self.method {
            quote!(#support::ArgumentKey::of_method::<Self>(#name))
        } else {
            quote!(#support::ArgumentKey::of::<Self>())
        };
        for parameter in &self.function.item.sig.generics.params {
            match parameter {
                GenericParam::Lifetime(_) => {}
                GenericParam::Type(ty) => {
                    let ty = &ty.ident;
                    written.extend(quote!(.generic::<#ty>()));
                }
                GenericParam::Const(constant) => {
                    let constant = &constant.ident;
                    written.extend(quote!(.constant(&#constant)));
                }
            }
        }
        for argument in &self.function.arguments {
            if self.is_the_cache(&argument.name) {
                continue;
            }
            let reference = argument.reference();
            let of_any = matches!(innermost(&argument.ty), Type::ImplTrait(_));
            let method = if of_any {
                "argument_of_any"
            } else {
                "argument"
            };
            let method = Ident::new(method, argument.ty.span());
            written.extend(quote_spanned!(argument.ty.span()=> .#method(#reference)));
        }
        written.extend(quote!(.finish()));
        Ok(written)
    }

    /// The value of an option: an expression that uses the arguments, or a closure that takes them.
    fn expression(&self, expr: &Expr) -> Result<TokenStream> {
        let Expr::Closure(closure) = expr else {
            return Ok(quote!(#expr));
        };
        if closure.inputs.is_empty() {
            let body = &closure.body;
            return Ok(quote!(#body));
        }
        let arguments = &self.function.arguments;
        if closure.inputs.len() != arguments.len() {
            return Err(Error::new(
                closure.inputs.span(),
                format!(
                    "this closure gets all {} arguments of the function except `self`; or remove the `|..|` and \
                     use the arguments by name: there {}",
                    arguments.len(),
                    self.function.listed()
                ),
            ));
        }
        let references = arguments.iter().map(Argument::reference);
        let closure = over_a_tuple(closure);
        let support = &self.support;
        Ok(quote!(#support::over((#(#references,)*), #closure)))
    }

    /// The options of a call: those of `ask`, or only those that `prime` uses, too.
    fn options(&self, whole: bool) -> Result<TokenStream> {
        let (support, attribute) = (&self.support, &self.attribute);
        let mut options = quote!(#support::Options::new());
        for (name, time) in &attribute.times {
            if !(whole || name == "ttl" || name == "negative_ttl") {
                continue;
            }
            let value = match time {
                Time::Millis(millis) => {
                    let millis = Literal::u64_unsuffixed(*millis);
                    quote!(#support::ttl(#millis))
                }
                Time::Found(expr) => {
                    let value = self.expression(expr)?;
                    quote_spanned!(expr.span()=> #value)
                }
            };
            options.extend(quote!(.#name(#value)));
        }
        if attribute.forever {
            options.extend(quote!(.forever(true)));
        }
        match &attribute.tags {
            Some(Expr::Array(list)) => {
                for tag in &list.elems {
                    let tag = match text(tag) {
                        Some(template) => template::expression(template, &self.function, support)?,
                        None => quote!(#tag),
                    };
                    options.extend(quote!(.tag(#tag)));
                }
            }
            Some(expr) => {
                let tags = self.expression(expr)?;
                options.extend(quote!(.tags(#tags)));
            }
            None => {}
        }
        if !whole {
            return Ok(options);
        }
        let others = [
            ("early_refresh", &attribute.early_refresh),
            ("bypass", &attribute.bypass),
            ("force", &attribute.force),
        ];
        for (name, expr) in others {
            if let Some(expr) = expr {
                let (name, value) = (Ident::new(name, expr.span()), self.expression(expr)?);
                options.extend(quote!(.#name(#value)));
            }
        }
        let force = own("__force");
        options.extend(quote!(.force(#force)));
        Ok(options)
    }

    /// How to store a value: a closure that takes it.
    fn storing(&self) -> TokenStream {
        let (support, attribute) = (&self.support, &self.attribute);
        let value = own("__value");
        let mut storing = quote!(#support::Storing::new());
        if let Some(ttl_of) = &attribute.ttl_of {
            storing.extend(quote_spanned!(ttl_of.span()=> .ttl(#support::over(#value, #ttl_of))));
        }
        if let Some(store_if) = &attribute.store_if {
            storing.extend(
                quote_spanned!(store_if.span()=> .only_if(#support::over(#value, #store_if))),
            );
        }
        if let Some(tags_of) = &attribute.tags_of {
            storing
                .extend(quote_spanned!(tags_of.span()=> .tags(#support::over(#value, #tags_of))));
        }
        quote!(|#value| #storing)
    }

    /// The kind of the function's return type, found by type.
    fn kind(&self) -> TokenStream {
        let returned = &self.function.returned;
        let support = at(&self.support, returned.span());
        quote_spanned!(returned.span()=> (&&&#support::Probe::<#returned>::new()).kind())
    }

    fn kinds_in_scope(&self) -> TokenStream {
        let support = &self.support;
        quote! {
            #[allow(unused_imports)]
            use #support::{FallibleKind as _, PlainKind as _, SharingKind as _};
        }
    }

    fn asking(&self) -> Result<TokenStream> {
        let (support, attribute) = (&self.support, &self.attribute);
        let awaited = at(&self.awaited(), self.function.returned.span());
        let uncached = self.beside("uncached");
        let turbofish = self.function.turbofish();
        let forwarded = self.function.forwarded();
        let condition = match &attribute.condition {
            None => quote!(),
            Some(condition) => {
                let condition = self.expression(condition)?;
                quote! {
                    if !(#condition) {
                        return Self::#uncached #turbofish(#(#forwarded),*)#awaited;
                    }
                }
            }
        };
        let [cache, key, options] = ["__cache", "__key", "__options"].map(own);
        let is_async = self.function.is_async();
        let beside = is_async || attribute.runs_beside();
        let packed = self.function.packed(beside, support)?;
        let (values, pattern, given) = (packed.values(), packed.pattern(), packed.given());
        let run = quote!(Self::#uncached #turbofish(#given));
        let call = if is_async {
            quote!(|#pattern| async move { #run.await })
        } else {
            quote!(|#pattern| #run)
        };
        let remember = match (is_async, beside) {
            (true, _) => quote!(#support::remember),
            (false, false) => quote!(#support::blocking::remember),
            (false, true) => quote!(#support::blocking::remember_beside),
        };
        let (said, span) = match attribute.on_error {
            None => ("Usual", self.function.returned.span()),
            Some((OnError::Raise, span)) => ("Raise", span),
            Some((OnError::Execute, span)) => ("Execute", span),
        };
        let (said, told) = (Ident::new(said, span), at(support, span));
        let on_error = quote_spanned!(span=> #told::#said);
        let (get_key, get_options) = (self.call_key()?, self.options(true)?);
        let (kind, storing) = (self.kind(), self.storing());
        let scope = self.kinds_in_scope();
        // Errors in the types of the call are mostly about the return type, so they point at it.
        let span = self.function.returned.span();
        let remember = at(&remember, span);
        let asked = quote_spanned! {span=>
            #remember(#cache, #key, #options, #kind, #on_error, move || #values, #call, #storing)#awaited
        };
        Ok(quote! {
            #condition
            #scope
            let #key = #get_key;
            let #options = #get_options;
            #asked
        })
    }

    fn priming(&self) -> Result<TokenStream> {
        let support = &self.support;
        let [cache, key, value] = ["__cache", "__key", "__value"].map(own);
        let (options, kind, storing) = (self.options(false)?, self.kind(), self.storing());
        let (scope, awaited) = (
            self.kinds_in_scope(),
            at(&self.awaited(), self.function.returned.span()),
        );
        let prime = if self.function.is_async() {
            quote!(#support::prime)
        } else {
            quote!(#support::blocking::prime)
        };
        let span = self.function.returned.span();
        let prime = at(&prime, span);
        let primed = quote_spanned! {span=>
            #prime(#cache, #key, #options, #kind, #storing, #value)#awaited
        };
        Ok(quote! {
            #scope
            #primed
        })
    }
}

/// The same tokens with another span, for an error to point at.
pub(crate) fn at(tokens: &TokenStream, span: Span) -> TokenStream {
    tokens
        .clone()
        .into_iter()
        .map(|mut token| {
            token.set_span(span);
            token
        })
        .collect()
}

/// Whether one of these names is among the tokens, or in a format string.
pub(crate) fn mentions(tokens: TokenStream, names: &[String]) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Ident(ident) => names.contains(&bare(&ident)),
        TokenTree::Group(group) => mentions(group.stream(), names),
        TokenTree::Literal(text) => {
            let text = text.to_string();
            names.iter().any(|name| text.contains(&format!("{{{name}")))
        }
        TokenTree::Punct(_) => false,
    })
}

/// The type behind references.
fn innermost(ty: &Type) -> &Type {
    match ty {
        Type::Reference(reference) => innermost(&reference.elem),
        Type::Paren(paren) => innermost(&paren.elem),
        ty => ty,
    }
}

/// Adds a comma after each, which a tuple of one needs.
fn trailing(patterns: Vec<Pat>) -> syn::punctuated::Punctuated<Pat, syn::Token![,]> {
    let mut elems: syn::punctuated::Punctuated<_, _> = patterns.into_iter().collect();
    elems.push_punct(<syn::Token![,]>::default());
    elems
}

/// Turns `|a, b: T| ..` into `|(a, b): (_, T)| ..`, whose argument types can be inferred.
fn over_a_tuple(closure: &ExprClosure) -> ExprClosure {
    let mut patterns = Vec::new();
    let mut types: Vec<Type> = Vec::new();
    for input in &closure.inputs {
        match input {
            Pat::Type(typed) => {
                patterns.push((*typed.pat).clone());
                types.push((*typed.ty).clone());
            }
            other => {
                patterns.push(other.clone());
                types.push(syn::parse_quote!(_));
            }
        }
    }
    let typed = Pat::Type(syn::PatType {
        attrs: Vec::new(),
        pat: Box::new(Pat::Tuple(syn::PatTuple {
            attrs: Vec::new(),
            paren_token: syn::token::Paren::default(),
            elems: trailing(patterns),
        })),
        colon_token: <syn::Token![:]>::default(),
        ty: syn::parse_quote!((#(#types,)*)),
    });
    ExprClosure {
        inputs: [typed].into_iter().collect(),
        ..closure.clone()
    }
}
