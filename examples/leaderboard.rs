//! A leaderboard: the best ten, one's own place and who is near, and a new one each week.
//!
//! ```text
//! cargo run --example leaderboard
//! cargo run --example leaderboard -- redis://localhost
//! ```

#![allow(clippy::print_stdout)]

use nearcache::{Cache, Result};

#[tokio::main]
async fn main() -> Result<()> {
    let cache = Cache::builder(&support::url())
        .prefix("nearcache-leaderboard")
        .build()?;
    let board = cache.leaderboard::<String>("weekly").resets("1w");
    board.reset().await?;

    // A thousand players play three games each; the best one counts.
    let mut rng = fastrand::Rng::with_seed(1);
    for game in 0..3_000_u32 {
        let player = format!("player-{:03}", game % 1_000);
        board.submit(player, rng.u32(..5_000)).best().await?;
    }
    let ada = board.submit("ada", 4_321).await?;

    println!("the best");
    for line in board.top(5).await? {
        println!("{:>5}  {:<12} {:>6}", line.rank, line.player, line.score);
    }
    println!("near ada, who is at {}", ada.rank);
    let near = board.around("ada", 2).await?;
    for line in &near {
        println!("{:>5}  {:<12} {:>6}", line.rank, line.player, line.score);
    }
    assert_eq!(near.len(), 5);
    assert_eq!(near[2].player, "ada");
    assert_eq!(near[2].rank, ada.rank);

    // A worse game changes nothing.
    assert_eq!(board.submit("ada", 10).await?, ada);
    println!(
        "{} players; last week {}",
        board.len().await?,
        board.last_period().len().await?
    );

    board.reset().await?;
    Ok(())
}
