//! The loopback floor: the least that any client could do.
//!
//! Commands are encoded beforehand, replies are counted by their bytes and not looked at. One thread
//! and one socket: a number of commands leave in one write, all their replies are read, and so on.
//! With one command it is a plain question and answer; with more it is what N tasks would do that
//! always asked together. What a real client loses against this is its own work, and smaller writes.

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
    /// How many bytes each is answered with.
    reply: usize,
    buffer: Vec<u8>,
}

impl Floor {
    /// Sends these commands, in turn. They must be of one size, and so must their replies.
    pub(crate) fn new(port: u16, commands: &[Cmd], reply: usize) -> Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        // A reply of another size than expected must not be waited for without end.
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        let packed: Vec<Vec<u8>> = commands.iter().map(Cmd::get_packed_command).collect();
        let command = packed.first().map_or(0, Vec::len);
        if packed.iter().any(|bytes| bytes.len() != command) {
            return Err("the floor's commands are not of one size".into());
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

    /// Sends so many commands at once, reads all their replies, and so on until the span is over.
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

    /// One question, one answer.
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
