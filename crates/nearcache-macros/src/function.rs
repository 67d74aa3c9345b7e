//! The decorated function: its arguments, their names, and how they are passed to a loader that may outlive the
//! caller.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;
use syn::visit::Visit;
use syn::visit_mut::VisitMut;
use syn::{
    Attribute, Error, FnArg, GenericArgument, GenericParam, ItemFn, Pat, PathArguments, Receiver,
    Result, ReturnType, Type, TypeReference,
};

use crate::expand::{at, mentions};

/// The decorated function.
pub(crate) struct Function {
    pub(crate) item: ItemFn,
    pub(crate) receiver: Option<Receiver>,
    pub(crate) arguments: Vec<Argument>,
    pub(crate) returned: Type,
}

/// An argument that is not `self`.
pub(crate) struct Argument {
    /// Its name, in code that does not use its pattern.
    pub(crate) name: Ident,
    pub(crate) ty: Type,
    /// Its pattern, if that is more than a name.
    pub(crate) pattern: Option<Pat>,
}

/// How an argument is passed to a loader that may outlive the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Travel {
    /// By value.
    ByValue,
    /// As a copy of the referenced value.
    Reference,
    /// As a copy of the referenced value, if there is one.
    OptionalReference,
    /// As a copy of the borrowed or owned value.
    Cow,
}

impl Function {
    pub(crate) fn new(item: ItemFn) -> Result<Self> {
        let signature = &item.sig;
        let refused = |span: Span, why: &str| Err(Error::new(span, why));
        if let Some(token) = signature.constness {
            return refused(token.span, "a const fn cannot use a cache");
        }
        if let Some(token) = signature.unsafety {
            return refused(
                token.span,
                "an unsafe fn cannot be cached: the cache would call it instead of its caller",
            );
        }
        if let Some(abi) = &signature.abi {
            return refused(abi.span(), "a function of another ABI cannot be cached");
        }
        let returned = match &signature.output {
            ReturnType::Default => syn::parse_quote!(()),
            ReturnType::Type(_, ty) => (**ty).clone(),
        };
        if returns_a_future(&returned) {
            return refused(
                signature.ident.span(),
                "this function returns a future, which cannot be cached. If it was an `async fn` of a trait, \
                 `#[async_trait]` has turned it into this one: decorate an inherent method instead \
                 (`impl Type { #[cached(..)] async fn .. }`), and call that one here. If you wrote it so, write it as \
                 an `async fn`",
            );
        }
        if let Type::ImplTrait(ty) = &returned {
            return refused(
                ty.impl_token.span,
                "the cache must know the type that it reads: name it",
            );
        }
        if let Some(span) = Borrows::find(&returned) {
            return refused(
                span,
                "a cached value outlives the call: return a type that owns its data, a `String` instead of a `&str`",
            );
        }
        let mut receiver = None;
        let mut arguments = Vec::new();
        for (at, input) in signature.inputs.iter().enumerate() {
            match input {
                FnArg::Receiver(this) => {
                    if let Some(span) = exclusive(&this.ty) {
                        return refused(
                            span,
                            "what the function does to a `&mut self` would not happen when the result comes from the cache",
                        );
                    }
                    receiver = Some(this.clone());
                }
                FnArg::Typed(input) => {
                    if let Some(span) = exclusive(&input.ty) {
                        return refused(
                            span,
                            "what the function does to a `&mut` argument would not happen when the result comes from the cache",
                        );
                    }
                    arguments.push(Argument::new(at, &input.pat, &input.ty));
                }
            }
        }
        Ok(Function {
            receiver,
            arguments,
            returned,
            item,
        })
    }

    pub(crate) fn is_async(&self) -> bool {
        self.item.sig.asyncness.is_some()
    }

    /// Whether it is a method of a type, as far as its signature shows.
    pub(crate) fn is_method(&self) -> bool {
        let item = &self.item;
        self.receiver.is_some() || mentions(quote!(#item), &["Self".to_owned()])
    }

    /// The names that an expression may use: those of the arguments, or what their patterns bind.
    fn names(&self) -> Vec<Ident> {
        let names = self
            .arguments
            .iter()
            .map(|argument| match &argument.pattern {
                Some(pattern) => bound(pattern),
                None => vec![argument.name.clone()],
            });
        names.flatten().collect()
    }

    pub(crate) fn find(&self, name: &str) -> Option<Ident> {
        if name == "self" {
            let this = self.receiver.as_ref()?;
            return Some(Ident::new("self", this.self_token.span));
        }
        let name = name.strip_prefix("r#").unwrap_or(name);
        self.names().into_iter().find(|known| bare(known) == name)
    }

    pub(crate) fn nearest(&self, name: &str) -> Option<String> {
        let distance = |known: &String| strsim::damerau_levenshtein(known, name);
        let names = self.names().iter().map(bare).collect::<Vec<_>>();
        let near = names.into_iter().min_by_key(distance)?;
        let begins = near.starts_with(name) || name.starts_with(&near);
        (begins || distance(&near) <= 2).then_some(near)
    }

    /// `is `id``, `are `id` and `org``, for a message.
    pub(crate) fn listed(&self) -> String {
        let mut names: Vec<String> = self
            .receiver
            .iter()
            .map(|_| "`self`".to_owned())
            .chain(self.names().iter().map(|name| format!("`{}`", bare(name))))
            .collect();
        match (names.pop(), names.len()) {
            (None, _) => "are none".to_owned(),
            (Some(only), 0) => format!("is {only}"),
            (Some(last), _) => format!("are {} and {last}", names.join(", ")),
        }
    }

    /// `self: .., name: Type, ..`: the arguments under their plain names.
    pub(crate) fn inputs(&self) -> TokenStream {
        let receiver = self.receiver.iter().map(|this| {
            let mut this = this.clone();
            this.attrs.clear();
            // `mut self` by value
            if this.reference.is_none() {
                this.mutability = None;
            }
            this
        });
        let arguments = self.arguments.iter().map(|argument| {
            let Argument { name, ty, .. } = argument;
            quote!(#name: #ty)
        });
        quote!(#(#receiver,)* #(#arguments,)*)
    }

    /// `self`, `name`, ..
    pub(crate) fn forwarded(&self) -> Vec<TokenStream> {
        let receiver = self.receiver.iter().map(|this| {
            let this = this.self_token;
            quote!(#this)
        });
        let names = self.arguments.iter().map(|argument| {
            let name = &argument.name;
            quote!(#name)
        });
        receiver.chain(names).collect()
    }

    /// Binds the names in patterns, by reference, for the attribute's expressions.
    pub(crate) fn taken_apart(&self) -> TokenStream {
        let bindings = self.arguments.iter().filter_map(|argument| {
            let Argument { name, ty, pattern } = argument;
            let mut pattern = pattern.clone()?;
            if matches!(pattern, Pat::Wild(_)) {
                return None;
            }
            PlainBindings.visit_pat_mut(&mut pattern);
            let value = match ty {
                Type::Reference(_) => quote!(#name),
                _ => quote!(&#name),
            };
            Some(quote!(let #pattern = #value;))
        });
        quote!(#(#bindings)*)
    }

    /// `::<T, N>`, if the function is generic.
    pub(crate) fn turbofish(&self) -> TokenStream {
        let names: Vec<_> = self
            .item
            .sig
            .generics
            .params
            .iter()
            .filter_map(|parameter| match parameter {
                GenericParam::Type(ty) => Some(&ty.ident),
                GenericParam::Const(constant) => Some(&constant.ident),
                GenericParam::Lifetime(_) => None,
            })
            .collect();
        if names.is_empty() {
            quote!()
        } else {
            quote!(::<#(#names),*>)
        }
    }

    /// The arguments as a tuple, and the expressions that pass them from it to the function: as they are, or as
    /// copies where the loader cannot own them (`support` is the path of the functions that copy).
    pub(crate) fn packed(&self, own: bool, support: &TokenStream) -> Result<Packed> {
        let mut packed = Packed::default();
        if let Some(this) = &self.receiver {
            let bound = Ident::new("__self", Span::mixed_site());
            let token = this.self_token;
            packed.add(own, &bound, &quote!(#token), &this.ty, support, || {
                "self".to_owned()
            })?;
        }
        for argument in &self.arguments {
            let name = &argument.name;
            packed.add(own, name, &quote!(#name), &argument.ty, support, || {
                format!("`{}`", bare(name))
            })?;
        }
        Ok(packed)
    }
}

impl Argument {
    fn new(at: usize, pattern: &Pat, ty: &Type) -> Self {
        let plain = match pattern {
            Pat::Ident(plain) if plain.subpat.is_none() && plain.by_ref.is_none() => Some(plain),
            _ => None,
        };
        Argument {
            name: plain.map_or_else(
                || Ident::new(&format!("__argument{at}"), Span::mixed_site()),
                |plain| plain.ident.clone(),
            ),
            ty: ty.clone(),
            pattern: plain.is_none().then(|| pattern.clone()),
        }
    }

    /// Whether it is an `Option`, as far as its type shows.
    pub(crate) fn is_option(&self) -> bool {
        let mut ty = &self.ty;
        while let Type::Reference(reference) = ty {
            ty = &reference.elem;
        }
        match ty {
            Type::Path(path) => {
                let last = path.path.segments.last();
                last.is_some_and(|segment| segment.ident == "Option")
            }
            _ => false,
        }
    }

    /// A reference to its value.
    pub(crate) fn reference(&self) -> TokenStream {
        let name = &self.name;
        match &self.ty {
            Type::Reference(_) => quote_spanned!(self.ty.span()=> #name),
            _ => quote_spanned!(self.ty.span()=> &#name),
        }
    }
}

/// Arguments packed for the loader.
#[derive(Default)]
pub(crate) struct Packed {
    values: Vec<TokenStream>,
    bound: Vec<Ident>,
    given: Vec<TokenStream>,
}

impl Packed {
    fn add(
        &mut self,
        own: bool,
        name: &Ident,
        value: &TokenStream,
        ty: &Type,
        support: &TokenStream,
        called: impl Fn() -> String,
    ) -> Result<()> {
        let span = ty.span();
        let travel = if own {
            Travel::of(ty, called)?
        } else {
            Travel::ByValue
        };
        let support = at(support, span);
        let (packed, given) = match travel {
            Travel::ByValue => (quote!(#value), quote!(#name)),
            Travel::Reference => (
                quote_spanned!(span=> #support::own(#value)),
                quote_spanned!(span=> #name.lend()),
            ),
            Travel::OptionalReference => (
                quote_spanned!(span=> ::core::option::Option::map(#value, #support::own)),
                quote!(::core::option::Option::map(
                    ::core::option::Option::as_ref(&#name),
                    |__owned| __owned.lend()
                )),
            ),
            Travel::Cow => (
                quote_spanned!(span=> #support::own(&*#value)),
                quote!(::std::borrow::Cow::Borrowed(#name.lend())),
            ),
        };
        self.values.push(packed);
        self.bound.push(name.clone());
        self.given.push(given);
        Ok(())
    }

    pub(crate) fn values(&self) -> TokenStream {
        let values = &self.values;
        quote!((#(#values,)*))
    }

    pub(crate) fn pattern(&self) -> TokenStream {
        let bound = &self.bound;
        quote!((#(#bound,)*))
    }

    pub(crate) fn given(&self) -> TokenStream {
        let given = &self.given;
        quote!(#(#given),*)
    }
}

impl Travel {
    fn of(ty: &Type, called: impl Fn() -> String) -> Result<Travel> {
        let refused = |span: Span| {
            Err(Error::new(
                span,
                format!(
                    "the load may outlive the call, and {} borrows in a way that cannot be copied for it; \
                     take `&T`, `Option<&T>`, `Cow<T>`, or a type that owns its data",
                    called()
                ),
            ))
        };
        let inner = |ty: &Type, travel: Travel| match Borrows::find(ty) {
            Some(span) => refused(span),
            None => Ok(travel),
        };
        match ty {
            Type::Paren(ty) => Travel::of(&ty.elem, called),
            Type::Group(ty) => Travel::of(&ty.elem, called),
            Type::Reference(reference) if is_static(reference) => Ok(Travel::ByValue),
            Type::Reference(reference) => inner(&reference.elem, Travel::Reference),
            Type::Path(path) => {
                let last = path.path.segments.last();
                let within = last.and_then(|segment| match &segment.arguments {
                    PathArguments::AngleBracketed(within) => Some((&segment.ident, &within.args)),
                    _ => None,
                });
                if let Some((name, within)) = within {
                    let ty = within.iter().find_map(|argument| match argument {
                        GenericArgument::Type(ty) => Some(ty),
                        _ => None,
                    });
                    match ty {
                        Some(Type::Reference(reference))
                            if name == "Option" && !is_static(reference) =>
                        {
                            return inner(&reference.elem, Travel::OptionalReference);
                        }
                        Some(ty) if name == "Cow" => return inner(ty, Travel::Cow),
                        _ => {}
                    }
                }
                inner(ty, Travel::ByValue)
            }
            _ => inner(ty, Travel::ByValue),
        }
    }
}

/// Whether this is `Pin<Box<dyn Future<..>>>`, `BoxFuture<..>` or `impl Future<..>`.
fn returns_a_future(ty: &Type) -> bool {
    let is_future = |bound: &syn::TypeParamBound| match bound {
        syn::TypeParamBound::Trait(bound) => {
            let last = bound.path.segments.last();
            last.is_some_and(|segment| segment.ident == "Future")
        }
        _ => false,
    };
    match ty {
        Type::Paren(ty) => returns_a_future(&ty.elem),
        Type::Group(ty) => returns_a_future(&ty.elem),
        Type::ImplTrait(ty) => ty.bounds.iter().any(is_future),
        Type::TraitObject(ty) => ty.bounds.iter().any(is_future),
        Type::Path(path) => path.path.segments.last().is_some_and(|segment| {
            let name = segment.ident.to_string();
            match (&*name, &segment.arguments) {
                ("BoxFuture" | "LocalBoxFuture", _) => true,
                ("Pin" | "Box", PathArguments::AngleBracketed(within)) => {
                    within.args.iter().any(|argument| match argument {
                        GenericArgument::Type(ty) => returns_a_future(ty),
                        _ => false,
                    })
                }
                _ => false,
            }
        }),
        _ => false,
    }
}

fn is_static(reference: &TypeReference) -> bool {
    let lifetime = reference.lifetime.as_ref();
    lifetime.is_some_and(|lifetime| lifetime.ident == "static")
}

/// The span of a `&mut`.
fn exclusive(ty: &Type) -> Option<Span> {
    match ty {
        Type::Reference(reference) => reference.mutability.map(|token| token.span),
        _ => None,
    }
}

/// An identifier without `r#`: `type` for `r#type`.
pub(crate) fn bare(ident: &Ident) -> String {
    let name = ident.to_string();
    name.strip_prefix("r#").map(str::to_owned).unwrap_or(name)
}

/// The function's attributes, by where they go.
#[derive(Default)]
pub(crate) struct Sorted<'a> {
    /// On the function that is called.
    pub(crate) outer: Vec<&'a Attribute>,
    /// On the original function.
    pub(crate) inner: Vec<&'a Attribute>,
    /// On both, and on all functions that belong to it: the allowed lints.
    pub(crate) lints: Vec<&'a Attribute>,
}

pub(crate) fn sorted(attributes: &[Attribute]) -> Sorted<'_> {
    let mut sorted = Sorted::default();
    for attribute in attributes {
        let path = attribute.path();
        let is = |names: &[&str]| names.iter().any(|name| path.is_ident(name));
        let place = if is(&["allow", "warn", "deny", "forbid"]) {
            &mut sorted.lints
        } else if is(&["doc", "deprecated", "must_use", "inline", "cold"]) {
            &mut sorted.outer
        } else {
            &mut sorted.inner
        };
        place.push(attribute);
    }
    sorted
}

/// The first place in a type that borrows for less than `'static`.
struct Borrows {
    found: Option<Span>,
}

impl Borrows {
    fn find(ty: &Type) -> Option<Span> {
        let mut borrows = Borrows { found: None };
        borrows.visit_type(ty);
        borrows.found
    }
}

impl Visit<'_> for Borrows {
    fn visit_type_reference(&mut self, reference: &TypeReference) {
        if !is_static(reference) {
            self.found.get_or_insert(reference.and_token.span);
        }
        syn::visit::visit_type_reference(self, reference);
    }

    fn visit_lifetime(&mut self, lifetime: &syn::Lifetime) {
        if lifetime.ident != "static" {
            self.found.get_or_insert(lifetime.span());
        }
    }

    // A function type in an argument borrows only when it is called.
    fn visit_type_bare_fn(&mut self, _: &syn::TypeBareFn) {}

    fn visit_bound_lifetimes(&mut self, _: &syn::BoundLifetimes) {}

    fn visit_parenthesized_generic_arguments(&mut self, _: &syn::ParenthesizedGenericArguments) {}
}

/// The names that a pattern binds.
pub(crate) fn bound(pattern: &Pat) -> Vec<Ident> {
    let mut names = Bound(Vec::new());
    names.visit_pat(pattern);
    names.0
}

struct Bound(Vec<Ident>);

impl Visit<'_> for Bound {
    fn visit_pat_ident(&mut self, pattern: &syn::PatIdent) {
        self.0.push(pattern.ident.clone());
        syn::visit::visit_pat_ident(self, pattern);
    }
}

/// Removes `mut` and `ref` from patterns, because they match references here.
struct PlainBindings;

impl VisitMut for PlainBindings {
    fn visit_pat_ident_mut(&mut self, pattern: &mut syn::PatIdent) {
        pattern.by_ref = None;
        pattern.mutability = None;
        syn::visit_mut::visit_pat_ident_mut(self, pattern);
    }
}
