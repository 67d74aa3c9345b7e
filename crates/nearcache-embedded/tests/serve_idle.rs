//! The port disconnects who is idle for too long, and nobody else.

#![cfg(feature = "serve")]

mod port;

use std::time::Duration;

use port::{Port, Raw};

#[test]
fn idle_clients_are_disconnected_if_that_is_wanted() {
    let port = Port::with(|builder| builder.idle_timeout(Duration::from_secs(1)));
    let mut idle = port.raw();
    idle.ask("PING", "+PONG\r\n");
    let mut waits = port.raw();
    waits.send("BLPOP list 4\r\n");
    assert_eq!(idle.rest(), "");
    waits.expect("*-1\r\n");
}

#[test]
fn a_client_that_has_waited_is_not_idle() {
    let port = Port::with(|builder| builder.idle_timeout(Duration::from_secs(3)));
    // They end while the server looks for idle clients, which it does each second, and at any time between.
    let mut waits: Vec<Raw> = (0..40)
        .map(|i| {
            let mut client = port.raw();
            client.send(format!("BLPOP list {}\r\n", 3.5 + f64::from(i) / 40.0));
            client
        })
        .collect();
    for client in &mut waits {
        client.expect("*-1\r\n");
    }
    for client in &mut waits {
        client.ask("PING", "+PONG\r\n");
    }
}

#[test]
fn a_client_that_was_paused_is_not_idle() {
    let port = Port::with(|builder| builder.idle_timeout(Duration::from_secs(2)));
    let mut client = port.raw();
    client.ask("CLIENT PAUSE 4500 WRITE", "+OK\r\n");
    let mut held: Vec<Raw> = (0..40).map(|_| port.raw()).collect();
    for client in &mut held {
        client.send("SET key value\r\n");
    }
    for client in &mut held {
        client.expect("+OK\r\n");
    }
    std::thread::sleep(Duration::from_millis(1100));
    for client in &mut held {
        client.ask("PING", "+PONG\r\n");
    }
}
