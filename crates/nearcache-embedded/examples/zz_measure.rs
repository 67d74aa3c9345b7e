use nearcache_embedded::{Fsync, Store};
use std::time::{Duration, Instant};
fn main() {
    let dir = std::env::args().nth(1).unwrap();
    let _ = std::fs::remove_dir_all(&dir);
    let n: usize = 1_000_000;
    let put = |store: &Store, label: &str| {
        let mut c = store.connect();
        let t = Instant::now();
        for i in 0..n {
            redis::cmd("SET")
                .arg(i)
                .arg(&[b'v'; 64])
                .exec(&mut c)
                .unwrap();
        }
        println!("{label}: SET {} ns", t.elapsed().as_nanos() / n as u128);
    };
    put(&Store::new(), "no folder");
    for f in [Fsync::No, Fsync::EverySec] {
        let _ = std::fs::remove_dir_all(&dir);
        let store = Store::builder()
            .persist(&dir)
            .appendfsync(f)
            .rewrite_at(0, 0)
            .open()
            .unwrap();
        put(&store, f.name());
        let t = Instant::now();
        drop(store);
        println!("close {:?}", t.elapsed());
    }
    let t = Instant::now();
    let store = Store::builder()
        .persist(&dir)
        .appendfsync(Fsync::EverySec)
        .rewrite_at(0, 0)
        .open()
        .unwrap();
    println!("load {:?} {:?}", t.elapsed(), store.loaded());
    for round in 0..3 {
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|s| {
            let (mut c, stop) = (store.connect(), &stop);
            let h = s.spawn(move || {
                let (mut worst, mut over1, mut count) = (Duration::ZERO, 0, 0u64);
                let mut i = 0usize;
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    let t = Instant::now();
                    redis::cmd("SET")
                        .arg(i % n)
                        .arg(&[b'w'; 64])
                        .exec(&mut c)
                        .unwrap();
                    let e = t.elapsed();
                    worst = worst.max(e);
                    count += 1;
                    if e > Duration::from_millis(1) {
                        over1 += 1;
                    }
                    i += 7919;
                }
                println!("  writer: {count} sets, worst {worst:?}, over 1 ms: {over1}");
            });
            if round > 0 {
                let t = Instant::now();
                store.rewrite().unwrap();
                println!("rewrite {:?}", t.elapsed());
            } else {
                std::thread::sleep(Duration::from_secs(1));
                println!("no rewrite");
            }
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
            h.join().unwrap();
        });
    }
    let t = Instant::now();
    drop(store);
    println!("close {:?}", t.elapsed());
    let t = Instant::now();
    let store = Store::builder()
        .persist(&dir)
        .rewrite_at(0, 0)
        .open()
        .unwrap();
    println!("load after rewrite {:?} {:?}", t.elapsed(), store.loaded());
    drop(store);
    for threads in [1, 2, 8, 32] {
        let _ = std::fs::remove_dir_all(&dir);
        let store = Store::builder()
            .persist(&dir)
            .appendfsync(Fsync::Always)
            .rewrite_at(0, 0)
            .open()
            .unwrap();
        let t = Instant::now();
        let each = 2000 / threads.min(4);
        std::thread::scope(|s| {
            for th in 0..threads {
                let mut c = store.connect();
                s.spawn(move || {
                    for i in 0..each {
                        redis::cmd("SET")
                            .arg(th * 100000 + i)
                            .arg(&[b'v'; 64])
                            .exec(&mut c)
                            .unwrap();
                    }
                });
            }
        });
        let total = each * threads;
        println!(
            "always {threads} threads: {:.1} us per set",
            t.elapsed().as_micros() as f64 / total as f64
        );
    }
}
