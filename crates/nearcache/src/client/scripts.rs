//! Running scripts: by their hash, and by their text where a server does not know them yet.

use redis::{Cmd, Pipeline, Value};

use super::Client;
use super::batch::parts;
use crate::error::{Error, Result};
use crate::script::{self, Input, Script};

impl Client {
    /// Runs a script by its hash, or by its text if the server does not know it yet.
    pub(crate) async fn run(&self, script: &'static Script, input: &Input) -> Result<Value> {
        match self.request(&script.by_name(input)).await {
            Err(error) if script::unknown(&error) => {
                self.guarded().learn(&[script]);
                self.request(&script.by_text(input)).await
            }
            reply => reply,
        }
    }

    /// Runs a script once for each input, in as few round trips as the size allows. The replies are in the order of the
    /// inputs.
    pub(crate) async fn run_many(
        &self,
        script: &'static Script,
        inputs: &[Input],
    ) -> Result<Vec<Result<Value>>> {
        if let [input] = inputs {
            return Ok(vec![self.run(script, input).await]);
        }
        if self.is_spread() {
            let calls: Vec<_> = inputs.iter().map(|input| (script, input)).collect();
            return self.run_each(&calls).await;
        }
        self.guarded().learn(&[script]);
        let mut replies = Vec::with_capacity(inputs.len());
        for part in parts(inputs, Input::bytes) {
            let [first, rest @ ..] = part else { continue };
            // The first one teaches the script to a server that does not know it yet.
            let text = script.by_text(first);
            let named = rest.iter().map(|input| script.by_name(input));
            let replied = self.send_all(std::iter::once(text).chain(named)).await?;
            for (reply, input) in replied.into_iter().zip(part) {
                replies.push(match reply {
                    // It has forgotten the script between two commands, or a proxy has spread them over servers.
                    Err(error) if script::unknown(&error) => {
                        self.request(&script.by_text(input)).await
                    }
                    reply => reply,
                });
            }
        }
        Ok(replies)
    }

    /// Runs scripts, each with its input, in as few round trips as the size allows: one more where a server does not know
    /// one yet. The replies are in the order of the calls. They may be carried out in any order, on several servers.
    pub(crate) async fn run_each(
        &self,
        calls: &[(&'static Script, &Input)],
    ) -> Result<Vec<Result<Value>>> {
        let mut replies = Vec::with_capacity(calls.len());
        for part in parts(calls, |(_, input)| input.bytes()) {
            let named = part.iter().map(|(script, input)| script.by_name(input));
            let first = replies.len();
            replies.extend(self.send_all(named).await?);
            let is_unknown = |at: &usize| {
                let reply = replies.get(first + at);
                matches!(reply, Some(Err(error)) if script::unknown(error))
            };
            let unknown: Vec<usize> = (0..part.len()).filter(is_unknown).collect();
            if unknown.is_empty() {
                continue;
            }
            let again: Vec<_> = unknown.iter().map(|at| part[*at]).collect();
            for (script, _) in &again {
                self.guarded().learn(&[script]);
            }
            let size = |(script, input): &(&'static Script, &Input)| script.bytes() + input.bytes();
            let mut taught = Vec::with_capacity(again.len());
            for part in parts(&again, size) {
                let texts = part.iter().map(|(script, input)| script.by_text(input));
                taught.extend(match self.send_all(texts).await {
                    Ok(replies) => replies,
                    Err(error) => part.iter().map(|_| Err(error.clone())).collect(),
                });
            }
            for (at, reply) in unknown.into_iter().zip(taught) {
                replies[first + at] = reply;
            }
        }
        Ok(replies)
    }

    /// Sends commands together. An error reply is an error.
    async fn send_all(&self, commands: impl Iterator<Item = Cmd>) -> Result<Vec<Result<Value>>> {
        let mut pipeline = Pipeline::new();
        for command in commands {
            pipeline.add_command(command);
        }
        let replies = self.pipeline(&pipeline).await?;
        let reply = |reply| match reply {
            Value::ServerError(error) => Err(Error::from_server(&error).on_host(self.host())),
            reply => Ok(reply),
        };
        Ok(replies.into_iter().map(reply).collect())
    }
}
