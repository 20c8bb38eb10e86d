//! `kakehashi probe`: can this exchange feed the bridge? Asks it, and says what knocks it out, what it has, and what to change.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::bridge::probe::{Plan, SipPlan, User, run as look};
use crate::config::Config;
use crate::pbx::asterisk;
use crate::probe::report::{Circumstances, Report};
use crate::probe::{Lang, State, html, text};

/// Check whether an exchange can feed the bridge: what knocks it out first, then every check with what was seen and what to change.
///
/// Nothing on the exchange is changed. Calls are placed only to --test-number and --own-number.
/// Exit codes: 0 it can be connected, 1 it is knocked out, 2 the probe could not run, 3 something that decides was not seen.
#[derive(Debug, clap::Args)]
pub struct ProbeArgs {
    /// Configuration file: takes addresses and credentials from its `[[pbx]]`.
    #[arg(long, short, value_name = "FILE", requires = "pbx")]
    pub config: Option<PathBuf>,
    /// Which `[[pbx]]` of the configuration.
    #[arg(long, value_name = "ID", requires = "config")]
    pub pbx: Option<String>,
    /// Where the exchange speaks SIP.
    #[arg(long, value_name = "HOST[:PORT]")]
    pub sip: Option<String>,
    /// Port of SIP over TLS; 5061, or the one above the SIP port when that was given.
    #[arg(long, value_name = "PORT")]
    pub tls_port: Option<u16>,
    /// Certificate authorities that should vouch for the exchange's certificate (PEM).
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// Our own certificate for TLS (PEM), for an exchange that asks for one.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_certificate: Option<PathBuf>,
    /// Its key (PEM).
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    pub tls_key: Option<PathBuf>,
    /// User (extension) for SIP.
    #[arg(long, requires = "password_file")]
    pub user: Option<String>,
    /// User of the digest, where it is not the extension.
    #[arg(long, value_name = "USER", requires = "user")]
    pub auth_user: Option<String>,
    /// File whose first line is that user's password.
    #[arg(long, value_name = "FILE", requires = "user")]
    pub password_file: Option<PathBuf>,
    /// ARI of an Asterisk, for example http://pbx:8088/ari.
    #[arg(long, value_name = "URL")]
    pub ari: Option<String>,
    /// User of ari.conf.
    #[arg(long, value_name = "USER", requires = "ari")]
    pub ari_user: Option<String>,
    /// File whose first line is that user's password.
    #[arg(long, value_name = "FILE", requires = "ari")]
    pub ari_password_file: Option<PathBuf>,
    /// Address of this machine as the exchange reaches it; the one that the route to it has, when left out.
    #[arg(long, value_name = "HOST")]
    pub rtp_host: Option<String>,
    /// A number that answers by itself (an announcement, an echo test): short test calls are placed to it.
    #[arg(long, value_name = "EXT")]
    pub test_number: Option<String>,
    /// A number that rings the bridge: it is called, and taken on --listen.
    #[arg(long, value_name = "EXT")]
    pub own_number: Option<String>,
    /// An extension whose dialog events are subscribed to.
    #[arg(long, value_name = "EXT")]
    pub watch: Option<String>,
    /// Where the exchange sends the bridge's calls to (UDP and TCP). A running bridge must not listen there.
    #[arg(long, value_name = "ADDR:PORT")]
    pub listen: Option<SocketAddr>,
    /// Context of the dialplan in which ARI dials --own-number when --sip is not given.
    #[arg(long, value_name = "NAME", requires = "ari")]
    pub context: Option<String>,
    /// Wait this many seconds for a person to call the bridge's number.
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "60", requires = "listen")]
    pub wait_call: Option<u16>,
    /// One JSON document (kakehashi.probe/1) instead of text.
    #[arg(long)]
    pub json: bool,
    /// Write a Japanese HTML page for a verification report.
    #[arg(long, value_name = "FILE.html")]
    pub report: Option<PathBuf>,
    /// `ja` or `en`; by the locale, else ja.
    #[arg(long, value_name = "LANG", value_parser = ["ja", "en"])]
    pub lang: Option<String>,
}

/// Runs the subcommand.
///
/// # Errors
/// When the arguments do not fit together or a file cannot be read or written.
pub fn run(args: &ProbeArgs) -> ExitCode {
    match probe(args) {
        Ok(State::Pass) => ExitCode::SUCCESS,
        Ok(State::Fail) => ExitCode::from(1),
        Ok(State::Unknown | State::Inapplicable) => ExitCode::from(3),
        Err(error) => {
            eprintln!("kakehashi: {}", super::chain(error.as_ref()));
            ExitCode::from(2)
        }
    }
}

type Error = Box<dyn std::error::Error + Send + Sync>;

fn probe(args: &ProbeArgs) -> Result<State, Error> {
    let plan = plan(args)?;
    let lang = lang(args);
    announce(&plan, lang);
    let began = crate::bridge::now().wall;
    let clock = Instant::now();
    let runtime = super::runtime()?;
    let (sender, stop) = watch::channel(false);
    let facts = runtime.block_on(async {
        let work = look(&plan, stop);
        tokio::pin!(work);
        tokio::select! {
            facts = &mut work => return facts,
            _ = tokio::signal::ctrl_c() => {}
        }
        // what was begun is ended in order, then what was seen is told
        let _ = sender.send(true);
        work.await
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    let circumstances = Circumstances {
        at: began.rfc3339(),
        at_jst: jst(began),
        seconds: clock.elapsed().as_millis() as f64 / 1_000.0,
        bridge: env!("CARGO_PKG_VERSION").into(),
        machine: machine(),
        sip: plan.sip.as_ref().map(|sip| format!("{}:{} (TLS {})", sip.host, sip.port, sip.tls_port)),
        ari: plan.ari.as_ref().map(|ari| without_credentials(&ari.url)),
        calls_placed: plan.places_calls(),
    };
    let report = Report::of(&facts, circumstances);
    if let Some(path) = &args.report {
        std::fs::write(path, html::page(&report)).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    let shown = if args.json { format!("{}\n", report.json()) } else { text::print(&report, lang) };
    std::io::stdout().write_all(shown.as_bytes())?;
    Ok(report.verdict.state)
}

fn announce(plan: &Plan, lang: Lang) {
    if !plan.places_calls() {
        return;
    }
    match lang {
        Lang::Ja => eprintln!(
            "これから PBX へ短い試験通話を発信します（--test-number / --own-number の番号だけ）。設定は変えません。"
        ),
        Lang::En => {
            eprintln!("Short test calls to --test-number / --own-number will be placed. No setting is changed.")
        }
    }
}

fn plan(args: &ProbeArgs) -> Result<Plan, Error> {
    let mut plan = match (&args.config, &args.pbx) {
        (Some(path), Some(id)) => from_config(&super::load_config(path)?, path, id)?,
        _ => Plan::default(),
    };
    if let Some(text) = &args.sip {
        plan.sip = Some(sip(text, args.tls_port)?);
    }
    if let (Some(name), Some(file)) = (&args.user, &args.password_file) {
        let username = args.auth_user.clone().unwrap_or_else(|| name.clone());
        plan.user = Some(User { name: name.clone(), username, password: first_line(file)? });
    }
    if let Some(url) = &args.ari {
        let password = args.ari_password_file.as_deref().map(first_line).transpose()?.unwrap_or_default();
        let user = args.ari_user.clone().unwrap_or_else(|| asterisk::Settings::default().user);
        plan.ari = Some(asterisk::Settings {
            url: url.clone(),
            user,
            password,
            rtp_host: String::new(),
            ..Default::default()
        });
    }
    if let (Some(ari), Some(host)) = (&mut plan.ari, &args.rtp_host) {
        ari.rtp_host.clone_from(host);
    }
    if plan.sip.is_none() && plan.ari.is_none() && args.wait_call.is_none() {
        return Err("nothing to look at: give --config FILE --pbx ID, or --sip HOST, or --ari URL".into());
    }
    plan.test_number.clone_from(&args.test_number);
    plan.own_number.clone_from(&args.own_number);
    plan.watch = args.watch.clone().or(plan.watch);
    plan.context.clone_from(&args.context);
    plan.ca_file = args.ca_file.clone().or(plan.ca_file);
    plan.certificate = args.tls_certificate.clone().zip(args.tls_key.clone()).or(plan.certificate);
    plan.listen = args.listen.or(plan.listen);
    plan.wait_call = args.wait_call.map(|seconds| Duration::from_secs(seconds.into()));
    for number in [&plan.test_number, &plan.own_number, &plan.watch].into_iter().flatten() {
        if number.is_empty() || number.len() > 64 || number.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err("an extension is 1 to 64 characters without blanks".into());
        }
    }
    Ok(plan)
}

fn from_config(config: &Config, path: &Path, id: &str) -> Result<Plan, Error> {
    let known = || config.pbx.iter().map(|pbx| pbx.id.as_str()).collect::<Vec<_>>().join(", ");
    let pbx = config.pbx.iter().find(|pbx| pbx.id == id);
    let pbx = pbx.ok_or_else(|| format!("{}: no [[pbx]] `{id}`; it has: {}", path.display(), known()))?;
    let of_peer = pbx.sip.as_ref().map(|peer| (peer.tls_certificate.clone(), peer.tls_key.clone()));
    let of_peer = of_peer.filter(|(certificate, _)| !certificate.as_os_str().is_empty());
    let own = of_peer.unwrap_or_else(|| (config.sip.tls_certificate.clone(), config.sip.tls_key.clone()));
    let mut plan = Plan {
        ari: pbx.ari.clone(),
        listen: config.sip.listen_udp.first().copied(),
        certificate: Some(own).filter(|(certificate, _)| !certificate.as_os_str().is_empty()),
        ..Plan::default()
    };
    let Some(peer) = &pbx.sip else { return Ok(plan) };
    plan.ca_file = Some(peer.tls_ca.clone()).filter(|path| !path.as_os_str().is_empty());
    plan.watch = peer.watch.as_ref().and_then(|watch| watch.extensions.first().cloned());
    if let Some(register) = &peer.register {
        plan.sip = Some(sip(&register.registrar, None)?);
        let either = |first: &String, second: &String| if first.is_empty() { second.clone() } else { first.clone() };
        let password = match register.password.is_empty() && !register.password_file.is_empty() {
            true => first_line(Path::new(&register.password_file))?,
            false => register.password.clone(),
        };
        let username = either(&register.username, &register.user);
        plan.user = Some(User { name: register.user.clone(), username, password });
    } else if let Some(server) = peer.watch.as_ref().map(|watch| &watch.server).filter(|server| !server.is_empty()) {
        plan.sip = Some(sip(server, None)?);
    } else if let Some(one) = peer.peers.iter().find(|net| net.prefix_len() == net.max_prefix_len()) {
        // one address and no network: that is the exchange itself
        plan.sip = Some(sip(&one.addr().to_string(), None)?);
    }
    Ok(plan)
}

/// `HOST`, `HOST:PORT`, `[IPv6]:PORT` or a bare IPv6 address.
fn sip(text: &str, tls_port: Option<u16>) -> Result<SipPlan, Error> {
    let wrong = || format!("--sip {text:?}: expected HOST or HOST:PORT, an IPv6 address with a port in brackets");
    let bare = text.parse::<std::net::Ipv6Addr>().is_ok();
    let (host, port) = match text.rsplit_once(':') {
        _ if bare => (text, None),
        Some((host, port)) if !text.ends_with(']') => (host, Some(port.parse::<u16>().map_err(|_| wrong())?)),
        _ => (text, None),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() || host.contains(['/', '@', ' ']) || port == Some(0) {
        return Err(wrong().into());
    }
    let above = port.map_or(5_061, |port| port.saturating_add(1));
    Ok(SipPlan { host: host.into(), port: port.unwrap_or(5_060), tls_port: tls_port.unwrap_or(above) })
}

fn first_line(path: &Path) -> Result<String, Error> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("{}: {error}; expected a file whose first line is the password", path.display()))?;
    Ok(text.lines().next().unwrap_or_default().trim().into())
}

fn lang(args: &ProbeArgs) -> Lang {
    let locale =
        ["LC_ALL", "LC_MESSAGES", "LANG"].iter().find_map(|name| std::env::var(name).ok().filter(|v| !v.is_empty()));
    let english = locale.is_some_and(|locale| locale.starts_with("en"));
    match args.lang.as_deref() {
        Some("en") => Lang::En,
        Some(_) => Lang::Ja,
        None if english => Lang::En,
        None => Lang::Ja,
    }
}

fn jst(at: crate::time::Wall) -> String {
    jiff::Timestamp::from_microsecond(at.0)
        .map(|stamp| {
            stamp.to_zoned(jiff::tz::TimeZone::fixed(jiff::tz::offset(9))).strftime("%Y-%m-%d %H:%M:%S JST").to_string()
        })
        .unwrap_or_default()
}

fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let release = read("/proc/sys/kernel/osrelease");
    let processors = read("/proc/cpuinfo");
    let model = processors.lines().find(|line| line.starts_with("model name")).and_then(|line| line.split_once(": "));
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let (system, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    format!("{system} {} {arch}, {} × {cores}", release.trim(), model.map_or("CPU", |(_, name)| name))
}

/// A URL without user and password, should it have them.
fn without_credentials(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => format!("{scheme}://{}", rest.rsplit_once('@').map_or(rest, |(_, host)| host)),
        None => url.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_gives_addresses_extension_and_certificates() {
        let text = r#"
            [sip]
            enabled = true
            listen_udp = ["127.0.0.1:5080"]
            [[site]]
            id = "osaka"
            [[pbx]]
            id = "main"
            site = "osaka"
            [pbx.sip]
            peers = ["192.0.2.10/32"]
            [pbx.sip.register]
            registrar = "192.0.2.10:5070"
            user = "101"
            username = "telephone-101"
            password = "word"
            [pbx.sip.watch]
            extensions = ["2001", "2002"]
            [[pbx]]
            id = "branch"
            site = "osaka"
            [pbx.ari]
            url = "http://192.0.2.10:8088/ari"
            [pbx.sip]
            peers = ["198.51.100.0/24", "192.0.2.20/32"]
        "#;
        let path = Path::new("site.toml");
        let config = Config::parse(path, text).unwrap();
        let main = from_config(&config, path, "main").unwrap();
        let (sip, user) = (main.sip.unwrap(), main.user.unwrap());
        assert_eq!((sip.host.as_str(), sip.port, sip.tls_port), ("192.0.2.10", 5_070, 5_071));
        assert_eq!(
            (user.name.as_str(), user.username.as_str(), user.password.as_str()),
            ("101", "telephone-101", "word")
        );
        assert_eq!((main.watch.as_deref(), main.listen.unwrap().port()), (Some("2001"), 5_080));
        assert!(main.ari.is_none() && main.certificate.is_none());
        let branch = from_config(&config, path, "branch").unwrap();
        assert_eq!(branch.sip.unwrap().host, "192.0.2.20", "one address and no network is the exchange itself");
        assert!(branch.ari.is_some() && branch.user.is_none());
        assert!(from_config(&config, path, "none").unwrap_err().to_string().contains("main, branch"));
    }

    #[test]
    fn hosts_and_ports_are_read() {
        let read = |text: &str| sip(text, None).map(|plan| (plan.host, plan.port, plan.tls_port)).ok();
        assert_eq!(read("pbx"), Some(("pbx".into(), 5_060, 5_061)));
        assert_eq!(read("127.0.0.1:15060"), Some(("127.0.0.1".into(), 15_060, 15_061)));
        assert_eq!(read("[::1]:5070"), Some(("::1".into(), 5_070, 5_071)));
        assert_eq!(read("fd00::1"), Some(("fd00::1".into(), 5_060, 5_061)));
        for wrong in ["", ":5060", "a b", "sip:x@y", "pbx:0", "pbx:70000"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
        assert_eq!(without_credentials("http://u:p@h/ari"), "http://h/ari");
    }
}
