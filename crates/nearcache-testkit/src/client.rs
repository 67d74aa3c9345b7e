//! A connection for commands whose arguments may be any bytes, and whose replies are more than a line.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// A reply, as RESP2 has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// `+OK`, a number, or the bytes of a string.
    Text(Vec<u8>),
    /// An error, as in `ERR unknown command`.
    Error(String),
    /// No value.
    Nil,
    /// Several.
    Array(Vec<Reply>),
}

impl Reply {
    /// The text of a string, a status, a number or an error; nothing of anything else.
    pub fn text(&self) -> String {
        match self {
            Reply::Text(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            Reply::Error(text) => text.clone(),
            Reply::Nil | Reply::Array(_) => String::new(),
        }
    }

    /// The elements of an array, as bytes.
    pub fn elements(&self) -> Vec<Vec<u8>> {
        let Reply::Array(elements) = self else {
            return Vec::new();
        };
        let bytes = elements.iter().map(|element| match element {
            Reply::Text(bytes) => bytes.clone(),
            other => other.text().into_bytes(),
        });
        bytes.collect()
    }

    /// Whether it is an error.
    pub fn is_error(&self) -> bool {
        matches!(self, Reply::Error(_))
    }
}

/// See the module.
#[derive(Debug)]
pub struct Client(BufReader<TcpStream>);

impl Client {
    /// # Errors
    /// Nobody listens on this port of 127.0.0.1.
    pub fn open(port: u16) -> io::Result<Client> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Client(BufReader::new(stream)))
    }

    /// Runs one command.
    ///
    /// # Errors
    /// The server closes the connection, or does not answer within 15 seconds.
    pub fn ask<A: AsRef<[u8]>>(&mut self, arguments: &[A]) -> io::Result<Reply> {
        let mut bytes = format!("*{}\r\n", arguments.len()).into_bytes();
        for argument in arguments {
            let argument = argument.as_ref();
            bytes.extend(format!("${}\r\n", argument.len()).into_bytes());
            bytes.extend(argument);
            bytes.extend(b"\r\n");
        }
        self.0.get_mut().write_all(&bytes)?;
        self.reply()
    }

    fn reply(&mut self) -> io::Result<Reply> {
        let mut line = String::new();
        if self.0.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let Some((kind, rest)) = line.trim_end().split_at_checked(1) else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        let length = rest.parse::<usize>();
        Ok(match (kind, length) {
            ("+" | ":", _) => Reply::Text(rest.as_bytes().to_vec()),
            ("-", _) => Reply::Error(rest.to_owned()),
            ("$", Ok(length)) => {
                let mut bulk = vec![0; length + 2];
                self.0.read_exact(&mut bulk)?;
                bulk.truncate(length);
                Reply::Text(bulk)
            }
            ("*", Ok(length)) => {
                let elements: io::Result<Vec<_>> = (0..length).map(|_| self.reply()).collect();
                Reply::Array(elements?)
            }
            ("$" | "*", Err(_)) => Reply::Nil,
            _ => return Err(io::ErrorKind::InvalidData.into()),
        })
    }
}
