//! Sessions: an entry by a random token, which ends 30 minutes after it was last used.
//!
//! The cache is where sessions live, and not a copy of them: while Redis is away nobody is signed in, and the client is
//! told to try again.

use std::fmt::Write as _;

use axum::Json;
use axum::extract::{FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use nearcache::Cache;
use serde::{Deserialize, Serialize};

use crate::Service;
use crate::failure::Failure;
use crate::limits::Limit;

/// How long a session lasts after its last use.
const IDLE: &str = "30m";

/// How often one name may try to sign in.
const SIGN_INS: Limit = Limit {
    what: "sign-in",
    most: 5,
    seconds: 60,
};

/// What is known of who is signed in. As an argument of a handler it is required: without a session the handler does
/// not run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// The user.
    pub name: String,
}

impl FromRequestParts<Service> for Session {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, service: &Service) -> Result<Self, Failure> {
        find(&service.cache, &token(parts)?).await
    }
}

/// The session of this token, which ends anew after `IDLE`: it is read and extended in one step, so what has ended or
/// was signed out meanwhile is not revived.
///
/// # Errors
/// [`Failure::SignedOut`], and those of the cache.
pub async fn find(cache: &Cache, token: &Token) -> Result<Session, Failure> {
    let session = cache.get(token.key()).extend(IDLE).await?;
    session.ok_or(Failure::SignedOut)
}

/// `POST /sessions`
///
/// # Errors
/// [`Failure::Refused`], [`Failure::TooMany`], and those of the cache.
pub async fn sign_in(
    State(service): State<Service>,
    Json(who): Json<Credentials>,
) -> Result<(StatusCode, Json<Token>), Failure> {
    SIGN_INS.admit(&service.cache, &who.name).await?;
    if !service.database.knows(&who.name, &who.password) {
        return Err(Failure::Refused);
    }
    let token = Token::random()?;
    let session = Session { name: who.name };
    service.cache.set(token.key(), session).ttl(IDLE).await?;
    Ok((StatusCode::CREATED, Json(token)))
}

/// `DELETE /sessions`: from when this has returned, the token is worth nothing, in any process.
///
/// # Errors
/// Those of the cache.
pub async fn sign_out(
    State(service): State<Service>,
    Given(token): Given,
) -> Result<StatusCode, Failure> {
    service.cache.delete(token.key()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `GET /me`
pub async fn me(session: Session) -> Json<Session> {
    Json(session)
}

/// The body of a sign-in.
#[derive(Clone, Deserialize)]
pub struct Credentials {
    name: String,
    password: String,
}

/// Without the password.
impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// What a client has to show: 128 random bits.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    token: String,
}

impl Token {
    fn random() -> Result<Self, Failure> {
        let mut bits = [0; 16];
        // Without random numbers nobody is signed in.
        getrandom::fill(&mut bits).map_err(|_| Failure::Refused)?;
        let mut token = String::with_capacity(2 * bits.len());
        for byte in bits {
            let _ = write!(token, "{byte:02x}");
        }
        Ok(Token { token })
    }

    /// What a client sends becomes a key only if it looks like a token.
    fn read(text: &str) -> Option<Self> {
        let legal = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        legal.then(|| Token {
            token: text.to_owned(),
        })
    }

    fn key(&self) -> String {
        format!("session:{}", self.token)
    }
}

/// Not the token itself.
impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(***)")
    }
}

/// The token of a request, whether it is worth anything or not.
#[derive(Clone, Debug)]
pub struct Given(Token);

impl<S: Sync> FromRequestParts<S> for Given {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        token(parts).map(Given)
    }
}

/// `Authorization: Bearer <token>`
fn token(parts: &Parts) -> Result<Token, Failure> {
    let header = parts.headers.get(AUTHORIZATION);
    header
        .and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "))
        .and_then(Token::read)
        .ok_or(Failure::SignedOut)
}
