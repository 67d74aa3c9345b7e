//! Freezes what expansions look like, because people read them when they debug.

use proc_macro2::TokenStream;
use quote::quote;

fn expanded(attribute: TokenStream, item: TokenStream) -> TokenStream {
    crate::expand::cached(attribute, item).expect("it expands")
}

fn shown(tokens: TokenStream) -> String {
    prettyplease::unparse(&syn::parse2(tokens).expect("it is Rust"))
}

#[test]
fn a_free_function_and_what_goes_with_it() {
    let expanded = expanded(
        quote! {
            cache = CACHE,
            key = "user:{user_id}",
            ttl = "1h",
            stale_if_error = "1d",
            tags = ["users", "org:{org}"]
        },
        quote! {
            /// The user with this number.
            pub async fn get_user(user_id: u64, org: &str) -> Result<User, DbError> {
                database(org).await?.find(user_id).await
            }
        },
    );
    insta::assert_snapshot!(shown(expanded));
}

#[test]
fn a_blocking_method_of_a_generic_type() {
    let method = expanded(
        quote!(cache = self.cache),
        quote! {
            fn load<T: Row>(&self, ids: &[u64], (from, _): (u32, u32)) -> Option<T> {
                self.rows(ids, from)
            }
        },
    );
    insta::assert_snapshot!(shown(quote!(impl<S: Clone> Rows<S> { #method })));
}

#[test]
fn nothing_of_it_depends_on_the_name_of_the_crate() {
    let expanded = expanded(
        quote!(
            crate = "other::name",
            cache = CACHE,
            ttl_of = |user| user.ttl,
            stale_for = "1m"
        ),
        quote! {
            fn get_user<const N: usize>(id: Option<&str>, _: u8) -> User { find(id) }
        },
    );
    let expanded = expanded.to_string();
    assert!(!expanded.contains("nearcache"), "{expanded}");
}
