//! The struct that typed values are: about what a row of a table of users is.

use std::sync::LazyLock;

use hitbox_fn::CacheableResponse;
use serde::{Deserialize, Serialize};

use super::{KEYS, check};
use crate::Result;

const NAME: &str = "somebody whose name and address and whatever else is known of them take up a hundred bytes or so";

#[derive(Clone, Debug, Serialize, Deserialize, CacheableResponse)]
pub(super) struct User {
    id: u64,
    name: String,
}

/// The user of each key.
pub(super) static USERS: LazyLock<Vec<User>> =
    LazyLock::new(|| (0..KEYS as u64).map(User::load).collect());

/// The user at a position; positions wrap around.
pub(super) fn user(place: usize) -> &'static User {
    &USERS[place % KEYS]
}

impl User {
    pub(super) fn load(id: u64) -> User {
        User {
            id,
            name: NAME.to_owned(),
        }
    }

    /// Whether it is this one.
    pub(super) fn check(&self, id: u64) -> Result<()> {
        if self.id != id {
            return Err(format!("user {} in place of {id}", self.id).into());
        }
        check(self.name.len(), NAME.len())
    }

    /// Whether it is the one at this position.
    pub(super) fn check_at(&self, place: usize) -> Result<()> {
        self.check((place % KEYS) as u64)
    }
}
