use nearcache::{Cache, cached};
use std::sync::LazyLock;
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize, PartialEq)]
struct User {
    id: u64,
}
#[derive(Debug)]
enum DbError {
    Gone,
    Cache(nearcache::Error),
}
impl std::fmt::Display for DbError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self:?}")
    }
}
impl From<nearcache::Error> for DbError {
    fn from(e: nearcache::Error) -> Self {
        DbError::Cache(e)
    }
}

static CACHE: LazyLock<Cache> = LazyLock::new(|| Cache::open("memory://").unwrap());

#[cached(cache = CACHE, key = "user:{user_id}", ttl = "1h", stale_if_error = "1d", tags = ["users", "org:{org}"])]
async fn get_user(user_id: u64, org: &str) -> Result<User, DbError> {
    if org == "x" {
        return Err(DbError::Gone);
    }
    Ok(User { id: user_id })
}

#[tokio::test]
async fn it_works() {
    assert_eq!(get_user(1, "a").await.unwrap(), User { id: 1 });
    assert_eq!(get_user(1, "x").await.unwrap(), User { id: 1 });
    assert_eq!(get_user::key(1, "x").unwrap(), "user:1");
    get_user(2, "x").await.unwrap_err();
    get_user::prime(3, "x", User { id: 4 }).await.unwrap();
    get_user::prime(3, "x", Ok(User { id: 5 })).await.unwrap();
    assert_eq!(get_user(3, "x").await.unwrap(), User { id: 5 });
    assert!(get_user::invalidate(3, "x").await.unwrap());
}
