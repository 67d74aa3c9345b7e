//! The service's errors, and what a client gets for each.
//!
//! Loaders return this type, and `own_error` gives it back to every caller that waited for the load: so it is `Clone`,
//! and an error of the cache converts into it.

use std::fmt;

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use nearcache::ErrorKind;

use crate::database::DatabaseError;

/// Why a request failed.
#[derive(Clone, Debug)]
pub enum Failure {
    /// There is no such thing.
    NotFound,
    /// No session, or one that has ended.
    SignedOut,
    /// The name or the password is wrong.
    Refused,
    /// Too many requests: the seconds until the next may come.
    TooMany(u64),
    /// The database does not answer.
    Database(DatabaseError),
    /// The cache could not do what only it can do.
    Cache(nearcache::Error),
}

impl From<nearcache::Error> for Failure {
    fn from(error: nearcache::Error) -> Self {
        Failure::Cache(error)
    }
}

impl From<DatabaseError> for Failure {
    fn from(error: DatabaseError) -> Self {
        Failure::Database(error)
    }
}

impl Failure {
    fn status(&self) -> StatusCode {
        match self {
            Failure::NotFound => StatusCode::NOT_FOUND,
            Failure::SignedOut | Failure::Refused => StatusCode::UNAUTHORIZED,
            Failure::TooMany(_) => StatusCode::TOO_MANY_REQUESTS,
            Failure::Database(_) => StatusCode::SERVICE_UNAVAILABLE,
            Failure::Cache(error) => match error.kind() {
                ErrorKind::Connect
                | ErrorKind::Timeout
                | ErrorKind::Unavailable
                | ErrorKind::Overloaded
                | ErrorKind::PoolExhausted
                | ErrorKind::Closed => StatusCode::SERVICE_UNAVAILABLE,
                _ => StatusCode::INTERNAL_SERVER_ERROR,
            },
        }
    }
}

/// What the client is told. Details of the cache and the database are for the log.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Failure::NotFound => "there is no such thing",
            Failure::SignedOut => "sign in first",
            Failure::Refused => "the name or the password is wrong",
            Failure::TooMany(_) => "too many requests",
            Failure::Database(_) | Failure::Cache(_) => "try again later",
        })
    }
}

impl std::error::Error for Failure {}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        #[derive(serde::Serialize)]
        struct Told {
            error: String,
        }
        let told = Json(Told {
            error: self.to_string(),
        });
        match self {
            Failure::TooMany(seconds) => {
                let later = [(header::RETRY_AFTER, seconds.to_string())];
                (self.status(), later, told).into_response()
            }
            _ => (self.status(), told).into_response(),
        }
    }
}
