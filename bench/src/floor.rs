//! The loopback floor: the cost that no client can avoid.
//!
//! Commands are encoded beforehand, and replies are only counted in bytes. There is one thread and one socket. It
//! sends a number of commands in one write, reads all their replies, and repeats. With one command this is a plain
//! request and reply; with more it is what N tasks would do if they always asked together. The difference to a real
//! client is the client's own work, and its smaller writes.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use redis::Cmd;

use crate::Result;
use crate::harness::Sample;

pub(crate) struct Floor {
    stream: TcpStream,
    /// Commands, one after another, all of the same size.
    commands: Vec<u8>,
    command: usize,
    /// Where the next command begins.
    next: usize,
    /// The size of each reply.
    reply: usize,
    buffer: Vec<u8>,
}

impl Floor {
    /// Sends these commands in turn. They must have the same size, and so must their replies.
    pub(crate) fn new(port: u16, commands: &[Cmd], reply: usize) -> Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        // If a reply has another size than expected, do not wait forever.
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        let packed: Vec<Vec<u8>> = commands.iter().map(Cmd::get_packed_command).collect();
        let command = packed.first().map_or(0, Vec::len);
        if packed.iter().any(|bytes| bytes.len() != command) {
            return Err("the floor's commands differ in size".into());
        }
        Ok(Floor {
            stream,
            commands: packed.concat(),
            command,
            next: 0,
            reply,
            buffer: vec![0; 256 * 1024],
        })
    }

    /// Sends this many commands at once, reads all their replies, and repeats until the time is over.
    pub(crate) fn run(&mut self, at_once: usize, span: Duration) -> Result<Sample> {
        let start = Instant::now();
        let mut calls = 0;
        loop {
            self.send(at_once)?;
            self.receive(at_once)?;
            calls += at_once as u64;
            let elapsed = start.elapsed();
            if elapsed >= span {
                return Ok(Sample { calls, elapsed });
            }
        }
    }

    /// Sends one command and reads its reply.
    pub(crate) fn ask(&mut self) -> Result<()> {
        self.send(1)?;
        self.receive(1)
    }

    fn send(&mut self, mut count: usize) -> Result<()> {
        while count > 0 {
            let there = (self.commands.len() - self.next) / self.command;
            let now = count.min(there);
            let end = self.next + now * self.command;
            self.stream.write_all(&self.commands[self.next..end])?;
            self.next = if end == self.commands.len() { 0 } else { end };
            count -= now;
        }
        Ok(())
    }

    fn receive(&mut self, count: usize) -> Result<()> {
        let mut left = count * self.reply;
        while left > 0 {
            let read = self.stream.read(&mut self.buffer)?;
            if read == 0 || read > left {
                return Err("the server hung up, or answered more than expected".into());
            }
            left -= read;
        }
        Ok(())
    }
}
