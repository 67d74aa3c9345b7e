//! Credentials that change: what an application's provider gives, and how it is asked.
//!
//! `supply` asks it, and remembers what it gave.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::error::BoxError;

/// A user and a password, or a token in its place, and how long they are valid.
///
/// ```
/// use std::time::Duration;
/// use nearcache::Credentials;
///
/// let credentials = Credentials::new("app", "a token").expires_in(Duration::from_secs(900));
/// assert!(!format!("{credentials:?}").contains("a token"));
/// ```
#[derive(Clone)]
pub struct Credentials {
    pub(super) username: Option<String>,
    pub(super) password: String,
    pub(super) expires: Option<Expires>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Expires {
    In(Duration),
    At(SystemTime),
}

impl Credentials {
    /// A user with a password or a token.
    pub fn new(username: impl Into<String>, password: impl Into<String>) -> Self {
        Credentials {
            username: Some(username.into()),
            password: password.into(),
            expires: None,
        }
    }

    /// The password of the default user.
    pub fn of_default_user(password: impl Into<String>) -> Self {
        Credentials {
            username: None,
            password: password.into(),
            expires: None,
        }
    }

    /// They are valid for so long from now on. Before that ends, the provider is asked again, and the connections
    /// authenticate anew: when a fifth of the time is left, or five minutes if that is less.
    pub fn expires_in(mut self, time: Duration) -> Self {
        self.expires = Some(Expires::In(time));
        self
    }

    /// They are valid until then. Otherwise as [`expires_in`](Credentials::expires_in).
    pub fn expires_at(mut self, time: SystemTime) -> Self {
        self.expires = Some(Expires::At(time));
        self
    }

    pub(super) fn are_those_of(&self, other: &Credentials) -> bool {
        self.username == other.username && self.password == other.password
    }
}

/// Everything but the password.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("username", &self.username)
            .field("password", &"***")
            .field("expires", &self.expires)
            .finish()
    }
}

/// What a [`CredentialsProvider`] returns.
pub type ProvidedCredentials<'p> =
    Pin<Box<dyn Future<Output = Result<Credentials, BoxError>> + Send + 'p>>;

/// Gives the credentials for a connection: see [`Builder::credentials`](crate::Builder::credentials). A closure does as
/// well.
///
/// It is asked on each connect, and again before what it gave expires. It runs on a thread of its own, so it may block;
/// what is async in it has the tokio runtime of the call that needs the connection, if there is one. Calls that need
/// credentials at the same time share one answer.
///
/// If it fails, panics, or does not answer within the limit of the call, then the connect fails, and the next one asks
/// again. What it gave before is used on, as long as it has not expired. A provider that hangs is left alone after 30
/// seconds, and asked anew by then.
///
/// ```
/// use nearcache::{BoxError, Credentials, CredentialsProvider, ProvidedCredentials};
///
/// struct FromAFile(std::path::PathBuf);
///
/// impl CredentialsProvider for FromAFile {
///     fn credentials(&self) -> ProvidedCredentials<'_> {
///         Box::pin(async {
///             let password = std::fs::read_to_string(&self.0)?;
///             Ok::<_, BoxError>(Credentials::new("app", password.trim()))
///         })
///     }
/// }
/// ```
pub trait CredentialsProvider: Send + Sync + 'static {
    /// The credentials for now.
    fn credentials(&self) -> ProvidedCredentials<'_>;
}

/// What [`Builder::credentials`](crate::Builder::credentials) takes: a [`CredentialsProvider`], an [`Arc`] of one, a
/// closure that returns a result, or one that returns a future of it. `Kind` tells these apart, and needs no attention.
///
/// Caches whose builders got clones of one `Arc` share their connections; others do not.
///
/// ```
/// # fn main() -> nearcache::Result<()> {
/// use nearcache::{BoxError, Cache, Credentials, IntoCredentialsProvider};
///
/// let provider = (|| Ok::<_, BoxError>(Credentials::new("app", std::env::var("TOKEN")?))).into_provider();
/// let users = Cache::builder("redis://localhost?prefix=users").credentials(provider.clone()).build()?;
/// let pages = Cache::builder("redis://localhost?prefix=pages").credentials(provider).build()?;
/// # Ok(())
/// # }
/// ```
pub trait IntoCredentialsProvider<Kind> {
    /// The provider, which can be cloned for several caches.
    fn into_provider(self) -> Arc<dyn CredentialsProvider>;
}

/// The kinds of [`IntoCredentialsProvider`], which nobody names.
#[allow(unreachable_pub, reason = "they are parameters of a public trait")]
mod kinds {
    #[derive(Debug)]
    pub struct Provider;
    #[derive(Debug)]
    pub struct Shared;
    #[derive(Debug)]
    pub struct AnyShared;
    #[derive(Debug)]
    pub struct Closure<E>(E);
    #[derive(Debug)]
    pub struct AsyncClosure<F, E>(F, E);
}

impl<P: CredentialsProvider> IntoCredentialsProvider<kinds::Provider> for P {
    fn into_provider(self) -> Arc<dyn CredentialsProvider> {
        Arc::new(self)
    }
}

impl<P: CredentialsProvider> IntoCredentialsProvider<kinds::Shared> for Arc<P> {
    fn into_provider(self) -> Arc<dyn CredentialsProvider> {
        self
    }
}

impl IntoCredentialsProvider<kinds::AnyShared> for Arc<dyn CredentialsProvider> {
    fn into_provider(self) -> Arc<dyn CredentialsProvider> {
        self
    }
}

impl<C, E> IntoCredentialsProvider<kinds::Closure<E>> for C
where
    C: Fn() -> Result<Credentials, E> + Send + Sync + 'static,
    E: Into<BoxError> + 'static,
{
    fn into_provider(self) -> Arc<dyn CredentialsProvider> {
        struct Blocking<C>(C);

        impl<C, E> CredentialsProvider for Blocking<C>
        where
            C: Fn() -> Result<Credentials, E> + Send + Sync + 'static,
            E: Into<BoxError> + 'static,
        {
            fn credentials(&self) -> ProvidedCredentials<'_> {
                let given = (self.0)().map_err(Into::into);
                Box::pin(std::future::ready(given))
            }
        }

        Arc::new(Blocking(self))
    }
}

impl<C, F, E> IntoCredentialsProvider<kinds::AsyncClosure<F, E>> for C
where
    C: Fn() -> F + Send + Sync + 'static,
    F: Future<Output = Result<Credentials, E>> + Send + 'static,
    E: Into<BoxError> + 'static,
{
    fn into_provider(self) -> Arc<dyn CredentialsProvider> {
        struct Asynchronous<C>(C);

        impl<C, F, E> CredentialsProvider for Asynchronous<C>
        where
            C: Fn() -> F + Send + Sync + 'static,
            F: Future<Output = Result<Credentials, E>> + Send + 'static,
            E: Into<BoxError> + 'static,
        {
            fn credentials(&self) -> ProvidedCredentials<'_> {
                let given = (self.0)();
                Box::pin(async move { given.await.map_err(Into::into) })
            }
        }

        Arc::new(Asynchronous(self))
    }
}
