//! One worker process: how it is started, and how it does one job.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use super::Error;
use crate::speech::protocol::{Decoder, FromWorker, Hello, Message, ProtocolError, Sound, ToWorker, VERSION, Words};
use crate::speech::settings::Settings;
use crate::speech::{Job, Outcome};

/// A process that is ready; it is killed when this is dropped.
#[derive(Debug)]
pub(super) struct Worker {
    child: Child,
    input: ChildStdin,
    output: ChildStdout,
    decoder: Decoder,
    /// Version of the dictionary that it has.
    dictionary: String,
}

impl Worker {
    /// Starts a process and waits until its model is loaded.
    pub(super) async fn start(executable: &Path, settings: &Settings) -> Result<Worker, Error> {
        let patience = Duration::from_millis(settings.start_timeout_ms.into());
        let model = settings.model.clone();
        let mut worker = Worker::spawn(executable)?;
        let greeting = ToWorker::Hello(Hello {
            protocol: VERSION,
            model: model.clone(),
            language: settings.language.clone(),
            threads: settings.threads.max(1),
            nice: settings.nice,
        });
        let _ = worker.send(&greeting).await; // a worker that is gone already shows below
        match timeout(patience, worker.receive()).await {
            Err(_) => Err(Error::Slow { model, seconds: patience.as_secs() }),
            Ok(Ok(Some(FromWorker::Ready(_)))) => Ok(worker),
            Ok(Ok(Some(FromWorker::Refused(reason)))) => Err(Error::Refused(reason)),
            Ok(Ok(_)) => Err(Error::Ended { model, status: worker.end().await }),
            Ok(Err(error)) => Err(error.into()),
        }
    }

    fn spawn(executable: &Path) -> Result<Worker, Error> {
        let wrong = |source| Error::Spawn { path: executable.into(), source };
        let mut child = Command::new(executable)
            .arg("worker")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()
            .map_err(wrong)?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(wrong(std::io::Error::other("it has no pipes")));
        };
        Ok(Worker { child, input, output, decoder: Decoder::default(), dictionary: String::new() })
    }

    /// Its process id; 0 once it has ended.
    pub(super) fn pid(&self) -> u32 {
        self.child.id().unwrap_or(0)
    }

    /// Does one job, which is given up when `given_up` comes; an error means that the worker is of no more use.
    pub(super) async fn work(
        &mut self,
        job: &Job,
        words: &Words,
        given_up: impl Future<Output = ()>,
    ) -> Result<Outcome, String> {
        if self.dictionary != words.version {
            self.send(&ToWorker::Dictionary(words.clone())).await?;
            self.dictionary.clone_from(&words.version);
        }
        let (pcm, scopes) = (job.pcm.clone(), job.scopes.clone());
        self.send(&ToWorker::Job(Sound { id: job.id, kind: job.kind, rate: job.rate, pcm, scopes })).await?;
        tokio::pin!(given_up);
        let mut asked = false;
        let answer = loop {
            tokio::select! {
                answer = self.receive() => break answer,
                () = &mut given_up, if !asked => {
                    asked = true;
                    self.send(&ToWorker::Abort(job.id)).await?;
                }
            }
        };
        match answer {
            Ok(Some(FromWorker::Done(done))) if done.id == job.id => Ok(Outcome { id: done.id, result: done.result }),
            Ok(Some(_)) => Err("the worker answered something else".into()),
            Ok(None) => Err(format!("the worker ended ({})", self.end().await)),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Kills it if it still runs; how it ended.
    pub(super) async fn end(&mut self) -> String {
        let _ = self.child.start_kill();
        self.child.wait().await.map_or_else(|error| error.to_string(), |status| status.to_string())
    }

    async fn send(&mut self, message: &ToWorker) -> Result<(), String> {
        let mut bytes = Vec::new();
        message.write(&mut bytes).map_err(|error| error.to_string())?;
        self.input.write_all(&bytes).await.map_err(|error| format!("the worker takes nothing more: {error}"))
    }

    /// The next message; `None` when the worker has ended. Nothing is lost when it is dropped before it comes.
    async fn receive(&mut self) -> Result<Option<FromWorker>, ProtocolError> {
        let mut buffer = [0; 8_192];
        loop {
            if let Some(message) = self.decoder.message()? {
                return Ok(Some(message));
            }
            match self.output.read(&mut buffer).await {
                Ok(got) if got > 0 => self.decoder.push(buffer.get(..got).unwrap_or_default()),
                _ => return Ok(None),
            }
        }
    }
}
