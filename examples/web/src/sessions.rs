//! Sessions: who is signed in, under a secret id. They end 30 minutes after they were last used, and after half a day in
//! any case.
//!
//! The cache is where sessions live, and not a copy of them: while Redis is away nobody is signed in, and the client is
//! told to try again.

use std::fmt;

use axum::Json;
use axum::extract::{FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use nearcache::Cache;
use nearcache::patterns::{SessionId, Sessions};
use serde::{Deserialize, Serialize};

use crate::Service;
use crate::failure::Failure;
use crate::limits::Limit;

/// How long a session lasts after its last use.
const IDLE: &str = "30m";

/// How long it lasts at most.
const ABSOLUTE: &str = "12h";

/// How often one name may try to sign in.
const SIGN_INS: Limit = Limit {
    what: "sign-in",
    a_minute: 5,
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
        let session = sessions(&service.cache).load(&id(parts)?).await?;
        session.ok_or(Failure::SignedOut)
    }
}

fn sessions(cache: &Cache) -> Sessions<Session> {
    cache.sessions().idle(IDLE).absolute(ABSOLUTE)
}

/// `POST /sessions`
///
/// # Errors
/// [`Failure::Refused`], [`Failure::TooMany`], and those of the cache.
pub async fn sign_in(
    State(service): State<Service>,
    Json(who): Json<Credentials>,
) -> Result<(StatusCode, Json<SignedIn>), Failure> {
    SIGN_INS.admit(&service.cache, &who.name).await?;
    if !service.database.knows(&who.name, &who.password) {
        return Err(Failure::Refused);
    }
    let session = Session { name: who.name };
    let made = sessions(&service.cache).create(&session);
    let token = made.user(&session.name).await?.to_string();
    Ok((StatusCode::CREATED, Json(SignedIn { token })))
}

/// `DELETE /sessions`: from when this has returned, the token is worth nothing, in any process.
///
/// # Errors
/// Those of the cache.
pub async fn sign_out(
    State(service): State<Service>,
    Given(id): Given,
) -> Result<StatusCode, Failure> {
    sessions(&service.cache).end(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `DELETE /sessions/all`: signs the user out everywhere, as after a change of the password.
///
/// # Errors
/// Those of the cache.
pub async fn sign_out_everywhere(
    State(service): State<Service>,
    session: Session,
) -> Result<StatusCode, Failure> {
    let all = sessions(&service.cache).end_all_of(&session.name);
    all.await?;
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
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// The answer to a sign-in.
#[derive(Serialize)]
pub struct SignedIn {
    /// The session's id, which the client has to show.
    token: String,
}

/// Not the token itself.
impl fmt::Debug for SignedIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SignedIn(***)")
    }
}

/// The id that a request shows, whether it is worth anything or not.
#[derive(Clone, Debug)]
pub struct Given(SessionId);

impl<S: Sync> FromRequestParts<S> for Given {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        id(parts).map(Given)
    }
}

/// `Authorization: Bearer <id>`
fn id(parts: &Parts) -> Result<SessionId, Failure> {
    let header = parts.headers.get(AUTHORIZATION);
    header
        .and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "))
        .and_then(|text| text.parse().ok())
        .ok_or(Failure::SignedOut)
}
