//! The verbs against a plain model, on random sequences, with a clock that the test moves.

use std::collections::HashMap;
use std::time::Duration;

use fastrand::Rng;
use nearcache_embedded::{Clock, Store};

use crate::Cache;
use crate::patterns::SessionId;

const IDLE: u64 = 60_000;
const ABSOLUTE: u64 = 200_000;
const USERS: [&str; 2] = ["alice", "bob"];

/// A session as the model has it: when it ends by being idle, when in any case, whose it is, and its value.
#[derive(Clone, Debug)]
struct Model {
    idle_end: u64,
    end: u64,
    user: Option<&'static str>,
    value: Vec<u32>,
}

#[test]
fn the_verbs_do_what_a_plain_model_does() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        for seed in 0..150 {
            run(seed).await;
        }
    });
}

#[expect(clippy::too_many_lines, reason = "a verb each")]
async fn run(seed: u64) {
    let mut rng = Rng::with_seed(seed);
    let clock = Clock::manual();
    let store = Store::builder().clock(clock.clone()).build();
    let cache = Cache::builder("memory://").store(&store).build().unwrap();
    let sessions = cache
        .sessions::<Vec<u32>>()
        .idle(Duration::from_millis(IDLE))
        .absolute(Duration::from_millis(ABSOLUTE));
    let mut now = 0_u64;
    let mut ids: Vec<SessionId> = Vec::new();
    let mut model: HashMap<SessionId, Model> = HashMap::new();
    for step in 0..120 {
        let place = format!("seed {seed}, step {step}");
        model.retain(|_, session| session.idle_end > now && session.end > now);
        let user = USERS[rng.usize(..USERS.len())];
        let some = (!ids.is_empty()).then(|| ids[rng.usize(..ids.len())].clone());
        let slid = |session: &mut Model| session.idle_end = now + IDLE;
        match (rng.u8(..20), some) {
            (0..4, _) | (_, None) => {
                let value = vec![step];
                let user = rng.bool().then_some(user);
                let create = sessions.create(&value);
                let id = match user {
                    Some(user) => create.user(user).await,
                    None => create.await,
                };
                let id = id.unwrap();
                let session = Model {
                    idle_end: now + IDLE,
                    end: now + ABSOLUTE,
                    user,
                    value,
                };
                assert!(model.insert(id.clone(), session).is_none(), "{place}");
                ids.push(id);
            }
            (4..8, Some(id)) => {
                let session = model.get_mut(&id);
                let expected = session.map(|session| {
                    slid(session);
                    session.value.clone()
                });
                assert_eq!(sessions.load(&id).await.unwrap(), expected, "{place}: load");
            }
            (8..11, Some(id)) => {
                let session = model.get_mut(&id);
                let expected = session.map(|session| {
                    slid(session);
                    session.value.push(step);
                    session.value.len()
                });
                let updated = sessions.update(&id, |value| {
                    value.push(step);
                    value.len()
                });
                assert_eq!(updated.await.unwrap(), expected, "{place}: update");
            }
            (11, Some(id)) => {
                let session = model.get_mut(&id);
                let expected = session.is_some();
                if let Some(session) = session {
                    slid(session);
                    session.value = vec![step];
                }
                let saved = sessions.save(&id, &vec![step]).await.unwrap();
                assert_eq!(saved, expected, "{place}: save");
            }
            (12..14, Some(id)) => {
                let login = rng.bool();
                let renew = sessions.renew_id(&id);
                let renewed = if login { renew.user(user) } else { renew };
                let renewed = renewed.await.unwrap();
                let session = model.remove(&id);
                assert_eq!(renewed.is_some(), session.is_some(), "{place}: renew_id");
                if let (Some(new), Some(mut session)) = (renewed, session) {
                    slid(&mut session);
                    if login {
                        session.user = Some(user);
                    }
                    model.insert(new.clone(), session);
                    ids.push(new);
                }
            }
            (14, Some(id)) => {
                sessions.end(&id).await.unwrap();
                model.remove(&id);
            }
            (15, _) => {
                sessions.end_all_of(user).await.unwrap();
                model.retain(|_, session| session.user != Some(user));
            }
            _ => {
                let time = [1, IDLE / 3, IDLE - 1, IDLE, IDLE + 1][rng.usize(..5)];
                now += time;
                clock.advance(Duration::from_millis(time));
            }
        }
    }
    model.retain(|_, session| session.idle_end > now && session.end > now);
    for id in &ids {
        let expected = model.get(id).map(|session| session.value.clone());
        let loaded = sessions.load(id).await.unwrap();
        assert_eq!(loaded, expected, "seed {seed}, at the end");
    }
}
