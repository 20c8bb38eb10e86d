//! The laboratory's NATS server, and worker machines in networks of their own.
#![allow(dead_code)] // each test binary uses its part

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// A NATS server with JetStream at work; ends with the test.
pub(crate) struct Server {
    script: Child,
    pub(crate) port: u16,
}

impl Server {
    /// On a port of its own, with what `store` holds from an earlier run (empty: nothing, and nothing is kept).
    pub(crate) fn start(port: Option<u16>, store: &str) -> Server {
        Server::configured(port, store, &[])
    }

    /// One that lets in only whom `docs/growing.md` lets in: `bridge` and `worker`, each with the password `secret`.
    pub(crate) fn guarded() -> Server {
        let docs = std::fs::read_to_string("docs/growing.md").unwrap();
        let begin = docs.find("authorization {").unwrap();
        let text = docs[begin..].split("```").next().unwrap().replace("$2a$…", "secret");
        Server::configured(None, "", &[("NATS_MORE", &text)])
    }

    /// One that speaks TLS by what stands in `folder`: own.pem, own.key, authority.pem.
    pub(crate) fn encrypted(folder: &std::path::Path) -> Server {
        Server::configured(None, "", &[("NATS_TLS", folder.to_str().unwrap())])
    }

    fn configured(port: Option<u16>, store: &str, more: &[(&str, &str)]) -> Server {
        let mut command = Command::new("tests/lab/nats.sh");
        command.envs(more.iter().copied());
        command.arg("up").env("NATS_LISTEN", "0.0.0.0").stdout(Stdio::piped());
        if let Some(port) = port {
            command.arg(port.to_string());
        } else if !store.is_empty() {
            command.arg(free_port().to_string());
        }
        if !store.is_empty() {
            command.arg(store);
        }
        let mut script = command.spawn().expect("tests/lab/setup.sh --root has been run");
        let lines = BufReader::new(script.stdout.take().unwrap()).lines();
        let url = lines.map_while(Result::ok).find_map(|line| line.strip_prefix("URL=").map(str::to_owned));
        let url = url.expect("tests/lab/nats.sh says why it did not start");
        let port = url.rsplit(':').next().unwrap().parse().unwrap();
        Server { script, port }
    }

    /// Where the machine at this address, or this one, finds it.
    pub(crate) fn url(&self, host: &str) -> String {
        format!("nats://{host}:{}", self.port)
    }

    /// Ends it without a chance to say anything.
    pub(crate) fn kill(&mut self) {
        // the server gets TERM when its script dies; sooner is worse, so it is killed first
        let pid = self.script.id();
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        for child in children.split_whitespace() {
            kill("KILL", child.parse().unwrap());
        }
        let _ = self.script.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // one that was killed has no process id any more
        if matches!(self.script.try_wait(), Ok(None)) {
            kill("TERM", self.script.id());
        }
        let _ = self.script.wait();
    }
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Sends a signal.
pub(crate) fn kill(signal: &str, pid: u32) {
    let _ = Command::new("kill").args([&format!("-{signal}"), &pid.to_string()]).stderr(Stdio::null()).status();
}

/// A network namespace with one cable (veth) to this machine, and what runs in it.
pub(crate) struct Machine {
    namespace: String,
    cable: String,
    /// This machine's address on the cable.
    pub(crate) gateway: String,
    worker: Option<Child>,
}

fn ip(args: &str) -> bool {
    Command::new("ip").args(args.split_whitespace()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

impl Machine {
    /// `None`, with the reason printed, where namespaces are refused.
    pub(crate) fn new(number: u8) -> Option<Machine> {
        let own = std::process::id();
        let (namespace, cable) = (format!("kakehashi-{own}-{number}"), format!("kk{own}-{number}"));
        if !ip(&format!("netns add {namespace}")) {
            println!("SKIPPED: `ip netns add` is refused here (it takes root and network namespaces)");
            return None;
        }
        // several laboratories may run at once
        let net = format!("10.{}.{number}", 64 + own % 128);
        let machine = Machine { namespace, cable, gateway: format!("{net}.1"), worker: None };
        let (namespace, cable) = (&machine.namespace, &machine.cable);
        for step in [
            format!("link add {cable} type veth peer name eth0 netns {namespace}"),
            format!("addr add {net}.1/24 dev {cable}"),
            format!("link set {cable} up"),
            format!("-n {namespace} addr add {net}.2/24 dev eth0"),
            format!("-n {namespace} link set eth0 up"),
            format!("-n {namespace} link set lo up"),
        ] {
            assert!(ip(&step), "ip {step}");
        }
        Some(machine)
    }

    /// Starts `kakehashi worker` there.
    pub(crate) fn work(&mut self, server: &Server, model: &str) {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace, env!("CARGO_BIN_EXE_kakehashi"), "worker"]);
        command.args(["--nats", &server.url(&self.gateway), "--model", model, "--workers", "1"]);
        self.worker = Some(command.spawn().unwrap());
    }

    /// Signals the worker's process.
    pub(crate) fn signal(&self, signal: &str) {
        kill(signal, self.worker.as_ref().unwrap().id());
    }

    /// Plugs the cable in, or pulls it out.
    pub(crate) fn cable(&self, state: &str) {
        assert!(ip(&format!("link set {} {state}", self.cable)));
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Some(mut worker) = self.worker.take() {
            let _ = worker.kill();
            let _ = worker.wait();
        }
        ip(&format!("link del {}", self.cable));
        ip(&format!("netns del {}", self.namespace));
    }
}
