//! scratch
use nearcache_model::{configuration::*, explorer::*, *};
fn main() {
    let d = Configuration { starts: &[Start::Empty], callers: [2,2], writes: [1,1], kinds: &[Invalidation::Delete], evicts_entry: true, expires_lease: true, losses: 0, cancels: false, ..CALM };
    for (n, c) in [
        ("delete 1 write", Configuration{writes:[1,0], ..d}),
        ("delete 2 writes", d),
        ("delete 2 writes+cancel", Configuration{cancels:true, ..d}),
        ("delete 1 write+cancel+lost", Configuration{cancels:true, losses: 1, writes:[1,0],..d}),
        ("tag 1 write", Configuration{tagged:true, kinds:&[Invalidation::Tag], evicts_tag:true, writes:[1,0],..d}),
    ] {
        let m = Model { configuration: c, without: None };
        let r = explore(&m, Limits { states: 40_000_000, progress: false }, |_| {});
        let v = match &r.verdict { Verdict::Holds => "holds".to_string(), Verdict::TooMany => "too many".into(), Verdict::Broken{property, trace} => { for t in trace { println!("  {:?}", t.event); } format!("{property}") } };
        println!("{n}: {} states {} steps depth {} {:?} {v}", r.states, r.steps, r.depth, r.time);
    }
}
