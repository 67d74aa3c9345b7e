//! The service under load, while Redis is killed, restarted, and stopped.
//!
//! What has a source behind it (articles, the report) and what can be decided without Redis (limits) never fails. What
//! lives in Redis alone (sessions, points) is refused with 503 meanwhile, and works again afterwards.
//!
//! `NEARCACHE_OUTAGE_SECONDS=40 cargo test --release -p nearcache-example-web --test outage -- --nocapture` is the
//! whole of it, with 1,500 requests a second; without it, it is shorter and lighter.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{Method, Request, header};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use nearcache_testkit::Redis;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use web::database::Database;
use web::{Service, cache, serve};

/// What happens to Redis, each for a share of the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Calm,
    Killed,
    Restarted,
    Stopped,
    Continued,
}

impl Phase {
    const ALL: [(Phase, f64); 5] = [
        (Phase::Calm, 0.15),
        (Phase::Killed, 0.2),
        (Phase::Restarted, 0.225),
        (Phase::Stopped, 0.125),
        (Phase::Continued, 0.3),
    ];

    fn is_outage(self) -> bool {
        matches!(self, Phase::Killed | Phase::Stopped)
    }
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Article,
    Report,
    Visit,
    SignIn,
    Session,
    Points,
}

impl Kind {
    /// Out of ten requests.
    const MIX: [Kind; 10] = [
        Kind::Article,
        Kind::Session,
        Kind::Report,
        Kind::Article,
        Kind::Points,
        Kind::Article,
        Kind::Visit,
        Kind::Session,
        Kind::SignIn,
        Kind::Article,
    ];

    fn request(self, base: &str, token: &str, number: usize) -> Request<Body> {
        let request = |method: Method, path: &str| {
            let request = Request::builder().method(method);
            request
                .uri(format!("{base}{path}"))
                .header(header::CONTENT_TYPE, "application/json")
                .header(header::AUTHORIZATION, format!("Bearer {token}"))
        };
        let made = match self {
            Kind::Article => {
                request(Method::GET, &format!("/articles/{}", number % 3 + 1)).body(Body::empty())
            }
            Kind::Report => request(Method::GET, "/report").body(Body::empty()),
            Kind::Visit => request(Method::POST, &format!("/visits?visitor={}", number % 5_000))
                .body(Body::empty()),
            Kind::SignIn => request(Method::POST, "/sessions").body(Body::from(format!(
                r#"{{"name": "mallory {}", "password": "guess"}}"#,
                number % 50
            ))),
            Kind::Session => request(Method::GET, "/me").body(Body::empty()),
            Kind::Points => request(Method::POST, "/points").body(Body::from(r#"{"points": 1}"#)),
        };
        made.expect("a request")
    }

    /// Whether this may be the answer.
    fn allows(self, status: u16) -> bool {
        match self {
            Kind::Article | Kind::Report => status == 200,
            Kind::Visit => status == 204,
            // The password is wrong, or it was tried too often.
            Kind::SignIn => status == 401 || status == 429,
            Kind::Session | Kind::Points => status == 200 || status == 503,
        }
    }
}

struct Answer {
    phase: Phase,
    kind: Kind,
    status: u16,
    took: Duration,
}

type Http = Client<HttpConnector, Body>;

async fn ask(http: Http, request: Request<Body>) -> u16 {
    let answer = http.request(request).await.expect("the service answers");
    let status = answer.status().as_u16();
    // The connection can be used again when the body was read.
    let read = axum::body::to_bytes(Body::new(answer.into_body()), 1 << 20).await;
    read.expect("a whole answer");
    status
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_a_source_never_fails_and_what_lives_in_redis_says_so() {
    let whole = std::env::var("NEARCACHE_OUTAGE_SECONDS").ok();
    let seconds = whole
        .as_ref()
        .map_or(12.0, |text| text.parse().expect("a number of seconds"));
    let rate = if whole.is_some() { 1_500 } else { 150 };

    let folder_of_data = ["--appendonly", "yes", "--appendfsync", "always"];
    let mut redis = Redis::start_with(&folder_of_data);
    let service = Service {
        cache: cache(&redis.url()).build().unwrap(),
        database: Arc::new(Database::with_examples()),
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(serve(listener, service.clone(), async {
        let _ = ended.await;
    }));
    let token = service
        .cache
        .sessions()
        .create(&web::sessions::Session { name: "ada".into() })
        .user("ada")
        .await
        .unwrap()
        .to_string();

    let http: Http = Client::builder(TokioExecutor::new()).build_http();
    let (tell, mut told) = mpsc::unbounded_channel::<Answer>();
    let scored = Arc::new(AtomicUsize::new(0));
    let mut asked = 0_usize;
    let mut running = JoinSet::new();
    for (phase, share) in Phase::ALL {
        match phase {
            Phase::Killed => redis.kill(),
            Phase::Restarted => redis.restart(),
            Phase::Stopped => redis.freeze(),
            Phase::Continued => redis.thaw(),
            Phase::Calm => {}
        }
        // Requests come at their times, however long the answers take.
        let begun = Instant::now();
        let requests = (f64::from(rate) * seconds * share) as u32;
        for number in 0..requests {
            let due = begun + Duration::from_secs(1) * number / rate;
            tokio::time::sleep_until(due.into()).await;
            let kind = Kind::MIX[asked % Kind::MIX.len()];
            let request = kind.request(&base, &token, asked);
            asked += 1;
            let (http, tell, scored) = (http.clone(), tell.clone(), Arc::clone(&scored));
            running.spawn(async move {
                let sent = Instant::now();
                let status = ask(http, request).await;
                if kind == Kind::Points && status == 200 {
                    scored.fetch_add(1, Ordering::Relaxed);
                }
                let took = sent.elapsed();
                let answer = Answer {
                    phase,
                    kind,
                    status,
                    took,
                };
                tell.send(answer).expect("somebody listens");
            });
        }
    }
    while let Some(one) = running.join_next().await {
        one.unwrap();
    }
    drop(tell);
    let mut answers = Vec::new();
    while let Some(answer) = told.recv().await {
        answers.push(answer);
    }
    assert_eq!(answers.len(), asked, "every request is answered");
    report(&answers);

    let wrong: Vec<String> = answers
        .iter()
        .filter(|answer| !answer.kind.allows(answer.status))
        .map(|answer| format!("{:?} {:?}: {}", answer.phase, answer.kind, answer.status))
        .collect();
    assert!(wrong.is_empty(), "{} answers: {wrong:?}", wrong.len());
    let of = |phase: Phase, kind: Kind| {
        let these = answers
            .iter()
            .filter(move |one| (one.phase, one.kind) == (phase, kind));
        these.map(|one| one.status).collect::<Vec<_>>()
    };
    for (phase, _) in Phase::ALL {
        for kind in [Kind::Session, Kind::Points] {
            let statuses = of(phase, kind);
            if phase.is_outage() {
                assert!(statuses.contains(&503), "{phase:?} {kind:?} is refused");
            } else {
                // (Not every one: those at the edge of a phase meet the next.)
                assert!(statuses.contains(&200), "{phase:?} {kind:?} works");
            }
        }
    }
    // Whoever was told so has the points. (Who was told 503 may have them as well.)
    let board = service.cache.leaderboard::<String>("readers").resets("1w");
    // On a busy machine the server may be away once more.
    let since = Instant::now();
    let standing = loop {
        match board.standing("ada").await {
            Ok(standing) => break standing.expect("a score"),
            Err(error) => assert!(since.elapsed() < Duration::from_secs(60), "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let scored = scored.load(Ordering::Relaxed);
    assert!(
        standing.score as usize >= scored,
        "{scored} were acknowledged: {standing:?}"
    );
    end.send(()).unwrap();
    drop(http);
    serving.await.unwrap().unwrap();
}

/// Prints how long the answers took.
#[allow(
    clippy::print_stdout,
    reason = "the figures are for whoever asks for them"
)]
fn report(answers: &[Answer]) {
    let mut groups: BTreeMap<(Phase, Kind), Vec<&Answer>> = BTreeMap::new();
    for answer in answers {
        groups
            .entry((answer.phase, answer.kind))
            .or_default()
            .push(answer);
    }
    println!(
        "{:<10} {:<8} {:>7} {:>6} {:>9} {:>9} {:>9}",
        "", "", "answers", "503", "p50 ms", "p99 ms", "max ms"
    );
    for ((phase, kind), mut answers) in groups {
        answers.sort_by_key(|answer| answer.took);
        let at = |share: f64| {
            let place = ((answers.len() - 1) as f64 * share) as usize;
            answers[place].took.as_secs_f64() * 1e3
        };
        let refused = answers.iter().filter(|answer| answer.status == 503).count();
        println!(
            "{:<10} {:<8} {:>7} {refused:>6} {:>9.1} {:>9.1} {:>9.1}",
            format!("{phase:?}"),
            format!("{kind:?}"),
            answers.len(),
            at(0.5),
            at(0.99),
            at(1.0)
        );
    }
}
