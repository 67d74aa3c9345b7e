//! The page's "Hooks".

use super::*;

brief_suite! {
    hooks_see_the_whole_life_of_a_call,
    a_hook_that_fails_breaks_nothing,
    metrics,
}

// # Hooks (Observability)

/// What a hook is told, in words.
#[derive(Default)]
struct Diary(Mutex<Vec<String>>);

impl Diary {
    fn write(&self, what: &str, call: &Call<'_>, more: &str) {
        let keys: Vec<String> = call
            .keys()
            .map(|key| key.escape_ascii().to_string())
            .collect();
        let line = format!("{what} {} {} {more}", call.command(), keys.join(","));
        self.0.lock().unwrap().push(line.trim_end().to_owned());
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

impl Hook for Diary {
    fn before(&self, call: &Call<'_>) {
        self.write("before", call, "");
    }

    fn after(&self, call: &Call<'_>, done: &Done) {
        self.write("after", call, done.outcome.as_str());
    }

    fn error(&self, call: &Call<'_>, error: &Error, _: Duration) {
        self.write("error", call, error.kind().as_str());
    }
}

fn with_hook(target: Target, prefix: &str, hook: impl Hook) -> Face {
    let url = target.url(prefix);
    if target.is_blocking() {
        let builder = blocking::Cache::builder(&url).prefix(prefix).timeout("10s");
        Face::Blocking(builder.hook(hook).build().unwrap())
    } else {
        let builder = Cache::builder(&url).prefix(prefix).timeout("10s");
        Face::Async(builder.hook(hook).build().unwrap())
    }
}

async fn hooks_see_the_whole_life_of_a_call(target: Target) {
    let diary = Arc::new(Diary::default());
    let cache = with_hook(target, &random_prefix(), Arc::clone(&diary));
    call!(cache.set("k", 1)).unwrap();
    call!(cache.get::<u8>("k")).unwrap();
    call!(cache.get::<u8>("none")).unwrap();
    call!(cache.delete("k")).unwrap();
    call!(cache.set_many([("a", 1), ("b", 2)])).unwrap();
    call!(cache.get_many::<u8>(["a", "b"])).unwrap();
    call!(cache.delete_pattern("a*")).unwrap();
    let expected = [
        "before set k",
        "after set k stored",
        "before get k",
        "after get k hit",
        "before get none",
        "after get none miss",
        "before delete k",
        "after delete k done",
        "before set_many a,b",
        "after set_many a,b done",
        "before get_many a,b",
        "after get_many a,b done",
        "before delete_pattern a*",
        "after delete_pattern a* done",
    ];
    assert_eq!(diary.take(), expected);
    // On failure, the error in place of the end.
    call!(cache.set("text", "x")).unwrap();
    assert!(call!(cache.incr("text")).is_err());
    assert_eq!(
        diary.take()[2..],
        ["before incr text", "error incr text not_integer"]
    );
    // `remember` is one call, and its load another.
    remember!(cache, "r", Ok::<_, BoxError>(1)).unwrap();
    let told = diary.take();
    assert_eq!(told[0], "before remember r");
    assert!(
        told.contains(&"after remember r miss".to_owned()),
        "{told:?}"
    );
    assert!(told.contains(&"after load r stored".to_owned()), "{told:?}");
}

/// A failing hook does not break the operation.
async fn a_hook_that_fails_breaks_nothing(target: Target) {
    struct Broken;
    impl Hook for Broken {
        fn before(&self, _: &Call<'_>) {
            panic!("before");
        }
        fn after(&self, _: &Call<'_>, _: &Done) {
            panic!("after");
        }
    }
    let cache = with_hook(target, &random_prefix(), Broken);
    call!(cache.set("k", 1)).unwrap();
    assert_eq!(call!(cache.get::<u8>("k")).unwrap(), Some(1));
    assert!(call!(cache.delete("k")).unwrap());
}

async fn metrics(target: Target) {
    let metrics = Arc::new(MetricsCollector::new());
    assert_eq!((metrics.count("get"), metrics.error_count("get")), (0, 0));
    assert!(metrics.latency("get").is_none(), "nothing was called");
    let cache = with_hook(target, &random_prefix(), Arc::clone(&metrics));
    for _ in 0..3 {
        call!(cache.set("k", "text")).unwrap();
        call!(cache.get::<String>("k")).unwrap();
    }
    assert!(call!(cache.incr("k")).is_err());
    assert_eq!(
        (
            metrics.count("set"),
            metrics.count("get"),
            metrics.count("incr")
        ),
        (3, 3, 0)
    );
    assert_eq!(
        (
            metrics.error_count("incr"),
            metrics.error_count("get"),
            metrics.total_errors()
        ),
        (1, 0, 1)
    );
    let latency = metrics.latency("get").unwrap();
    assert!(latency.min <= latency.mean && latency.mean <= latency.max);
    assert_eq!(metrics.command("get").unwrap().hits, 3);
    let _: Outcome = Outcome::Hit;
}
