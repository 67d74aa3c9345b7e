//! The database: a shop in SQLite. Nothing here knows that there is a cache.

use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};

use crate::Result;

pub(crate) const PRODUCTS: u32 = 100_000;
pub(crate) const REVIEWS: u32 = 500_000;

/// The contents of a product page. Any type that serde supports can be cached.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Page {
    pub(crate) name: String,
    pub(crate) cents: u32,
    pub(crate) stars: f64,
    pub(crate) reviews: u32,
    /// 1 is the best rated product of its category.
    pub(crate) place: u32,
}

/// The shop's database.
pub(crate) struct Shop(Connection);

impl Shop {
    pub(crate) fn open() -> Result<Self> {
        // With an empty path, SQLite uses a temporary file, and deletes it when the database is closed.
        let db = Connection::open("")?;
        db.execute_batch(
            "BEGIN;
             CREATE TABLE product (
                 id INTEGER PRIMARY KEY, category INT, name TEXT, cents INT);
             CREATE TABLE review (product INT, stars INT);",
        )?;
        {
            let mut product = db.prepare("INSERT INTO product VALUES (?1, ?2, ?3, ?4)")?;
            for id in 0..PRODUCTS {
                let (name, cents) = (format!("Product {id}"), 500 + id % 9_500);
                product.execute(params![id, id % 1_000, name, cents])?;
            }
            let mut review = db.prepare("INSERT INTO review VALUES (?1, ?2)")?;
            let mut random = fastrand::Rng::with_seed(1);
            for _ in 0..REVIEWS {
                review.execute([random.u32(..PRODUCTS), random.u32(1..=5)])?;
            }
        }
        db.execute_batch(
            "CREATE INDEX product_category ON product (category);
             CREATE INDEX review_product ON review (product, stars);
             COMMIT;",
        )?;
        Ok(Shop(db))
    }

    /// The page of a product, with its rank among the hundred of its category.
    pub(crate) fn load(&self, id: u32) -> Result<Page> {
        // SQLite blocks its thread, so this tells tokio to run other tasks elsewhere meanwhile.
        tokio::task::block_in_place(|| {
            let page = self.0.query_row(
                "WITH rated AS (
                     SELECT p.id, p.name, p.cents, avg(r.stars) AS stars, count(r.stars) AS reviews,
                            rank() OVER (ORDER BY avg(r.stars) DESC, p.id) AS place
                     FROM product p LEFT JOIN review r ON r.product = p.id
                     WHERE p.category = (SELECT category FROM product WHERE id = ?1)
                     GROUP BY p.id)
                 SELECT name, cents, coalesce(stars, 0.0), reviews, place FROM rated WHERE id = ?1",
                [id],
                |row| {
                    Ok(Page {
                        name: row.get(0)?,
                        cents: row.get(1)?,
                        stars: row.get(2)?,
                        reviews: row.get(3)?,
                        place: row.get(4)?,
                    })
                },
            )?;
            Ok(page)
        })
    }

    pub(crate) fn set_price(&self, id: u32, cents: u32) -> Result<()> {
        tokio::task::block_in_place(|| {
            self.0
                .execute("UPDATE product SET cents = ?2 WHERE id = ?1", [id, cents])?;
            Ok(())
        })
    }
}
