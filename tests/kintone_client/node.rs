//! kintone's own client as a child of a test (`tests/lab/kintone.mjs`).

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use crate::kintone::Kintone;

/// The client at work; ends with the test.
pub(crate) struct Client {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    /// Answers that came before somebody asked for them.
    early: HashMap<u64, Value>,
    calls: u64,
}

impl Client {
    /// The client takes HTTP without TLS only from this name.
    pub(crate) fn of(kintone: &Kintone) -> Client {
        Self::at(&format!("http://localhost:{}", kintone.port()), None)
    }

    /// By TLS, with this certificate (PEM) trusted.
    pub(crate) fn by_tls(kintone: &Kintone, certificate: &Path) -> Client {
        Self::at(&format!("https://localhost:{}", kintone.port()), Some(certificate))
    }

    fn at(url: &str, trusted: Option<&Path>) -> Client {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
        let lab = std::env::var_os("LAB_DIR").map_or_else(|| repository.join(".lab"), Into::into);
        let node = lab.join("node");
        assert!(node.join("node_modules").is_dir(), "{} is empty: run tests/lab/node.sh", node.display());
        let mut process = Command::new("node")
            .arg(repository.join("tests/lab/kintone.mjs"))
            .args(["--url", url])
            .env("NODE_FOLDER", node)
            .envs(trusted.map(|certificate| ("NODE_EXTRA_CA_CERTS", certificate)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("node is there: tests/lab/node.sh");
        let (input, output) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        Client { process, input, output: BufReader::new(output), early: HashMap::new(), calls: 0 }
    }

    /// Starts a call, as `record.addRecord`; gives its number.
    pub(crate) fn send(&mut self, auth: &Value, method: &str, params: Value) -> u64 {
        self.calls += 1;
        let line = json!({"call": self.calls, "auth": auth, "method": method, "params": params});
        writeln!(self.input, "{line}").unwrap();
        self.calls
    }

    /// What the client made of the answer: its result, or its error.
    pub(crate) fn receive(&mut self, call: u64) -> Result<Value, Value> {
        let answer = loop {
            if let Some(answer) = self.early.remove(&call) {
                break answer;
            }
            let (number, answer) = self.next();
            self.early.insert(number, answer);
        };
        match answer.get("error") {
            Some(error) => Err(error.clone()),
            None => Ok(answer["result"].clone()),
        }
    }

    /// The call that is answered first of those that are under way.
    pub(crate) fn first(&mut self) -> u64 {
        let (number, answer) = self.next();
        self.early.insert(number, answer);
        number
    }

    fn next(&mut self) -> (u64, Value) {
        let mut line = String::new();
        assert!(self.output.read_line(&mut line).unwrap() > 0, "tests/lab/kintone.mjs ended: see above");
        let answer: Value = serde_json::from_str(&line).unwrap();
        (answer["call"].as_u64().unwrap(), answer)
    }

    pub(crate) fn call(&mut self, auth: &Value, method: &str, params: Value) -> Result<Value, Value> {
        let call = self.send(auth, method, params);
        self.receive(call)
    }

    /// A call that is to go well.
    pub(crate) fn done(&mut self, auth: &Value, method: &str, params: Value) -> Value {
        self.call(auth, method, params).unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    /// Status and code with which a call is refused, in the client's own error.
    pub(crate) fn refused(&mut self, auth: &Value, method: &str, params: Value) -> (u64, String) {
        let error = self.call(auth, method, params).expect_err("it is to be refused");
        told(&error)
    }
}

/// Status and code of the client's own error.
pub(crate) fn told(error: &Value) -> (u64, String) {
    assert_eq!(error["kind"], "KintoneRestAPIError", "{error}");
    (error["status"].as_u64().unwrap(), error["code"].as_str().unwrap().to_owned())
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
