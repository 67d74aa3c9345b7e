//! Parses the options in the attribute's parentheses: `cache = CACHE, key = "user:{id}", ttl = "1h"`.

use proc_macro2::Span;
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream};
use syn::spanned::Spanned;
use syn::{Error, Expr, ExprLit, Ident, Lit, LitStr, Path, Result, Token};

use crate::time;

/// The options, for the error that lists them.
const OPTIONS: [&str; 20] = [
    "associated",
    "bypass",
    "cache",
    "condition",
    "crate",
    "early_refresh",
    "force",
    "forever",
    "key",
    "load_timeout",
    "negative_ttl",
    "on_error",
    "soft_timeout",
    "stale_for",
    "stale_if_error",
    "store_if",
    "tags",
    "tags_of",
    "ttl",
    "ttl_of",
];

/// The parsed attribute.
pub(crate) struct Attribute {
    /// The path of the crate nearcache.
    pub(crate) home: Path,
    pub(crate) cache: Expr,
    pub(crate) key: Option<Expr>,
    pub(crate) condition: Option<Expr>,
    pub(crate) tags: Option<Expr>,
    pub(crate) forever: bool,
    /// Times, with the names of their options.
    pub(crate) times: Vec<(Ident, Time)>,
    pub(crate) early_refresh: Option<Expr>,
    pub(crate) bypass: Option<Expr>,
    pub(crate) force: Option<Expr>,
    pub(crate) ttl_of: Option<Expr>,
    pub(crate) store_if: Option<Expr>,
    pub(crate) tags_of: Option<Expr>,
    pub(crate) on_error: Option<(OnError, Span)>,
    pub(crate) associated: bool,
}

/// A time: a literal, or an expression for run time.
pub(crate) enum Time {
    Millis(u64),
    Found(Expr),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnError {
    Raise,
    Execute,
}

impl Attribute {
    /// Whether the function may run in the background, after its caller got an answer.
    pub(crate) fn runs_beside(&self) -> bool {
        let beside = |(name, _): &(Ident, Time)| name == "stale_for" || name == "soft_timeout";
        self.early_refresh.is_some() || self.times.iter().any(beside)
    }
}

/// One option as it was written.
struct Item {
    name: Ident,
    value: Option<Expr>,
}

impl Parse for Item {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let name = input.call(Ident::parse_any)?;
        let value = if input.peek(Token![=]) {
            input.parse::<Token![=]>()?;
            Some(input.parse()?)
        } else {
            None
        };
        Ok(Item { name, value })
    }
}

impl Item {
    fn value(self) -> Result<Expr> {
        let name = self.name;
        self.value.map(ungrouped).ok_or_else(|| {
            Error::new(
                name.span(),
                format!("`{name}` needs a value: `{name} = ..`"),
            )
        })
    }

    /// `bypass`, or `bypass = ..`
    fn value_or_true(self) -> Result<Expr> {
        match &self.value {
            Some(_) => self.value(),
            None => Ok(syn::parse_quote_spanned!(self.name.span()=> true)),
        }
    }

    fn flag(self) -> Result<bool> {
        match self.value {
            None => Ok(true),
            Some(value) => Err(Error::new(
                value.span(),
                format!("`{}` takes no value: write it, or leave it out", self.name),
            )),
        }
    }
}

impl Parse for Attribute {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let items = input.parse_terminated(Item::parse, Token![,])?;
        let mut seen: Vec<Ident> = Vec::new();
        let (mut home, mut cache) = (None, None);
        let mut read = Attribute {
            home: syn::parse_quote!(::nearcache),
            cache: Expr::PLACEHOLDER,
            key: None,
            condition: None,
            tags: None,
            forever: false,
            times: Vec::new(),
            early_refresh: None,
            bypass: None,
            force: None,
            ttl_of: None,
            store_if: None,
            tags_of: None,
            on_error: None,
            associated: false,
        };
        for item in items {
            if seen.contains(&item.name) {
                let why = format!("`{}` is given twice", item.name);
                return Err(Error::new(item.name.span(), why));
            }
            let name = item.name.clone();
            seen.push(name.clone());
            match &*name.to_string() {
                "cache" => cache = Some(item.value()?),
                "crate" => home = Some(path(item.value()?)?),
                "key" => read.key = Some(key(item.value()?)?),
                "condition" => read.condition = Some(item.value()?),
                "tags" => read.tags = Some(tags(item.value()?)?),
                "forever" => read.forever = item.flag()?,
                "associated" => read.associated = item.flag()?,
                "ttl" | "negative_ttl" | "stale_for" | "stale_if_error" | "soft_timeout"
                | "load_timeout" => {
                    let value = item.value()?;
                    let time = match time::literal(&value)? {
                        Some(millis) => Time::Millis(millis),
                        None => Time::Found(value),
                    };
                    read.times.push((name, time));
                }
                "early_refresh" => read.early_refresh = Some(beta(item.value()?)?),
                "bypass" => read.bypass = Some(item.value_or_true()?),
                "force" => read.force = Some(item.value_or_true()?),
                "ttl_of" => read.ttl_of = Some(item.value()?),
                "store_if" => read.store_if = Some(item.value()?),
                "tags_of" => read.tags_of = Some(item.value()?),
                "on_error" => read.on_error = Some(on_error(&item.value()?)?),
                _ => return Err(unknown(&name)),
            }
        }
        let ttl = seen.iter().find(|name| *name == "ttl");
        if let Some(ttl) = ttl.filter(|_| read.forever) {
            return Err(Error::new(
                ttl.span(),
                "`ttl` and `forever` contradict each other",
            ));
        }
        read.cache = cache.ok_or_else(|| {
            Error::new(
                Span::call_site(),
                "which cache? Write `cache = CACHE`: a static, a field of `self`, an argument, or any expression \
                 that evaluates to a `&Cache`",
            )
        })?;
        if let Some(home) = home {
            read.home = home;
        }
        Ok(read)
    }
}

fn unknown(name: &Ident) -> Error {
    let given = name.to_string();
    let distance = |known: &&&str| strsim::damerau_levenshtein(known, &given);
    let near = OPTIONS.iter().min_by_key(distance);
    let hint = near
        .filter(|near| distance(near) <= 3)
        .map_or(String::new(), |near| format!("; did you mean `{near}`?"));
    let listed = OPTIONS.join(", ");
    Error::new(
        name.span(),
        format!("there is no option `{given}`{hint}\nthere are: {listed}"),
    )
}

/// Removes the invisible groups that macros put around an expression which they pass on.
fn ungrouped(expr: Expr) -> Expr {
    match expr {
        Expr::Group(group) => ungrouped(*group.expr),
        expr => expr,
    }
}

/// A path, or a text with a path, as serde allows it.
fn path(expr: Expr) -> Result<Path> {
    match expr {
        Expr::Lit(ExprLit {
            lit: Lit::Str(text),
            ..
        }) => text.parse_with(Path::parse_mod_style),
        Expr::Path(path) if path.qself.is_none() => Ok(path.path),
        other => Err(Error::new(
            other.span(),
            "the path of the crate, as in `crate = \"my_nearcache\"`",
        )),
    }
}

pub(crate) fn text(expr: &Expr) -> Option<&LitStr> {
    match expr {
        Expr::Lit(ExprLit {
            lit: Lit::Str(text),
            ..
        }) => Some(text),
        _ => None,
    }
}

fn key(expr: Expr) -> Result<Expr> {
    match &expr {
        Expr::Lit(literal) if !matches!(literal.lit, Lit::Str(_) | Lit::ByteStr(_)) => {
            Err(Error::new(
                literal.span(),
                "a key is a template, as in \"user:{id}\", or an expression or a closure that returns text or bytes",
            ))
        }
        Expr::Lit(literal) if matches!(&literal.lit, Lit::Str(text) if text.value().is_empty()) => {
            Err(Error::new(
                literal.span(),
                "a key has at least one character",
            ))
        }
        _ => Ok(expr),
    }
}

fn tags(expr: Expr) -> Result<Expr> {
    match &expr {
        Expr::Lit(literal) => Err(Error::new(
            literal.span(),
            "tags are a list, as in `tags = [\"users\", \"org:{org}\"]`",
        )),
        _ => Ok(expr),
    }
}

/// Checks the range of a factor that is a literal.
fn beta(expr: Expr) -> Result<Expr> {
    let (value, span) = match &expr {
        Expr::Lit(ExprLit { lit, .. }) => match lit {
            Lit::Float(beta) => (beta.base10_parse::<f64>()?, beta.span()),
            Lit::Int(beta) => (beta.base10_parse::<f64>()?, beta.span()),
            _ => (f64::NAN, lit.span()),
        },
        Expr::Unary(minus) if matches!(*minus.expr, Expr::Lit(_)) => (f64::NAN, minus.span()),
        _ => return Ok(expr),
    };
    if !(0.0..=100.0).contains(&value) {
        return Err(Error::new(
            span,
            "`early_refresh` is a factor from 0 (off) to 100, and 1.0 is a good choice",
        ));
    }
    Ok(syn::parse_quote_spanned!(span=> #value))
}

fn on_error(expr: &Expr) -> Result<(OnError, Span)> {
    let given = text(expr).map(LitStr::value);
    let on_error = match given.as_deref() {
        Some("raise") => OnError::Raise,
        Some("execute") => OnError::Execute,
        _ => {
            return Err(Error::new(
                expr.span(),
                "`on_error` is \"raise\" (the caller gets the cache's error) or \"execute\" (the function runs)",
            ));
        }
    };
    Ok((on_error, expr.span()))
}
