//! Webhooks over real connections: signatures, certificates, proxies, and addresses that a receiver must not have. What fails says why, and waits.

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kakehashi::bridge::{deliver, now};
use kakehashi::call::ContactId;
use kakehashi::crm::address::{Given, judge};
use kakehashi::crm::key::ed25519_secret;
use kakehashi::crm::settings::{Endpoint, Secret};
use kakehashi::crm::verify::verify;
use kakehashi::events::{Caller, Data, Event};
use kakehashi::outbox::Batch;
use kakehashi::outbox::settings::Settings;
use kakehashi::outbox::store::{Listed, Outbox};
use kakehashi::time::Wall;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::WebPkiClientVerifier;
use uuid::Uuid;

#[path = "common/batch.rs"]
mod batch;
#[cfg(feature = "web")]
#[path = "webhook/dead_letters.rs"]
mod dead_letters;
#[path = "common/http.rs"]
mod http;
#[cfg(feature = "web")]
#[path = "webhook/thin.rs"]
mod thin;
#[path = "common/tls.rs"]
mod tls;
#[path = "webhook/zammad.rs"]
mod zammad;

use http::{PATIENCE, Proxy, Reply, Request, Server};
use tls::{Authority, Files, Pair};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn endpoint(url: String) -> Endpoint {
    Endpoint { url, secrets: vec![Secret(SECRET.into())], ..Endpoint::default() }
}

fn contact(number: u128) -> ContactId {
    ContactId(Uuid::from_u128(number))
}

fn batch(of: ContactId, sequence: u64) -> Batch {
    let caller = Caller { number: Some("+81600001234".into()), ..Caller::default() };
    batch::queued(of, sequence, caller, "市民課")
}

/// An endpoint that is delivered to.
struct Running {
    outbox: Outbox,
    deliverer: deliver::Deliverer,
    _folder: tempfile::TempDir,
}

impl Running {
    fn start(endpoint: Endpoint) -> Running {
        let folder = tempfile::tempdir().unwrap();
        let soon = Settings { breaker_pause_ms: 100, breaker_longest_ms: 100, ..Settings::default() };
        let settings = Settings { retry_schedule_ms: vec![100; 1_000], ..soon };
        let (outbox, committed) = Outbox::open(folder.path(), &settings, std::slice::from_ref(&endpoint.id)).unwrap();
        let (deliverer, _) = deliver::spawn(outbox.clone(), committed, &[endpoint], &settings, |_| {}).unwrap();
        Running { outbox, deliverer, _folder: folder }
    }

    async fn commit(&self, events: u64) {
        for sequence in 1..=events {
            self.outbox.commit(batch(contact(1), sequence)).unwrap().await.unwrap();
        }
    }

    /// The deliveries once they fit; only a failing test waits long.
    async fn until(&self, fits: impl Fn(&[Listed]) -> bool) -> Vec<Listed> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let listed = self.outbox.list(None, 100).unwrap();
            if fits(&listed) {
                return listed;
            }
            assert!(Instant::now() < deadline, "{listed:#?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Why the first delivery fails; it waits on.
    async fn failure(&self, expected: &str) {
        let listed =
            self.until(|all| all.iter().any(|one| one.error.as_deref().is_some_and(|e| e.contains(expected)))).await;
        assert!(listed.iter().all(|one| one.status == "pending"), "{listed:#?}");
    }

    async fn all_delivered(&self, events: usize) {
        self.until(|all| all.len() == events && all.iter().all(|one| one.status == "delivered")).await;
    }
}

/// TLS of a server; `clients`: the authority whose certificates it wants to see.
fn server_tls(own: &Pair, clients: Option<&Authority>) -> Option<Arc<rustls::ServerConfig>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        rustls::ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let roots = Arc::new(tls::roots(authority));
            builder.with_client_cert_verifier(
                WebPkiClientVerifier::builder_with_provider(roots, provider).build().unwrap(),
            )
        }
    };
    let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).unwrap();
    Some(Arc::new(builder.with_single_cert(tls::chain(&own.certificate), key).unwrap()))
}

fn accept(_: usize, _: &Request) -> Reply {
    Reply::new(204, "")
}

fn https(address: SocketAddr) -> String {
    format!("https://localhost:{}/hook", address.port())
}

fn sequences(server: &Server) -> Vec<u64> {
    let events = server.requests().into_iter().map(|request| String::from_utf8(request.body).unwrap());
    events.filter_map(|body| Event::from_json(&body).unwrap().sequence).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_believes_the_key_that_it_has_of_several() {
    let server = Server::start(accept);
    let (private, public) = ed25519_secret(&[7; 32]).unwrap();
    let mut endpoint = endpoint(server.url("/hook"));
    endpoint.secrets.push(Secret(private));
    let running = Running::start(endpoint);
    running.commit(1).await;
    running.all_delivered(1).await;
    let sent = server.requests().remove(0);
    let ask = |key: &str, body: &[u8]| {
        let (id, time, signature) =
            (sent.header("webhook-id"), sent.header("webhook-timestamp"), sent.header("webhook-signature"));
        verify(key, id, time, signature, body, now().wall)
    };
    assert_eq!((ask(SECRET, &sent.body), ask(&public, &sent.body)), (Ok(()), Ok(())));
    let (_, another) = ed25519_secret(&[8; 32]).unwrap();
    assert!(ask(&another, &sent.body).is_err() && ask(&public, b"{}").is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_certificate_keeps_events_waiting_until_it_is_replaced() {
    let (authority, files) = (Authority::new(), Files::new());
    let expired = authority.issue_with(&["localhost"], |params| {
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2020, 12, 31);
    });
    let old = Server::listen(0, server_tls(&expired, None), accept);
    let ca_file = files.write("ca.pem", &authority.pem());
    let running = Running::start(Endpoint { ca_file, ..endpoint(https(old.address)) });
    running.commit(3).await;
    running.failure("certificate has expired").await;
    assert!(old.requests().is_empty(), "nothing was sent over it");
    let port = old.address.port();
    drop(old);
    let mended = Server::listen(port, server_tls(&authority.issue(&["localhost"]), None), accept);
    running.all_delivered(3).await;
    assert_eq!(sequences(&mended), [1, 2, 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_name_and_an_unknown_authority_say_so() {
    let (authority, files) = (Authority::new(), Files::new());
    let ca_file = files.write("ca.pem", &authority.pem());
    let elsewhere = Server::listen(0, server_tls(&authority.issue(&["crm.example.jp"]), None), accept);
    let running = Running::start(Endpoint { ca_file, ..endpoint(https(elsewhere.address)) });
    running.commit(1).await;
    running.failure("certificate is for another name").await;

    let unknown = Server::listen(0, server_tls(&authority.issue(&["localhost"]), None), accept);
    // the system's authorities have not signed it
    let running = Running::start(endpoint(https(unknown.address)));
    running.commit(1).await;
    running.failure("authority that is not trusted here: give its certificate in ca_file").await;

    let plain = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = plain.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in plain.incoming().flatten() {
            let _ = std::io::Write::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
        }
    });
    let running = Running::start(endpoint(https(address)));
    running.commit(1).await;
    running.failure("does not speak TLS").await;
    assert!([elsewhere, unknown].iter().all(|server| server.requests().is_empty()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_certificate_is_shown_and_read_again_when_it_was_refused() {
    let (authority, stranger, files) = (Authority::new(), Authority::new(), Files::new());
    let server = Server::listen(0, server_tls(&authority.issue(&["localhost"]), Some(&authority)), accept);
    let ca_file = files.write("ca.pem", &authority.pem());
    let without = Running::start(Endpoint { ca_file: ca_file.clone(), ..endpoint(https(server.address)) });
    without.commit(1).await;
    without.failure("wants a client certificate: set client_cert_file").await;

    let (client_cert_file, client_key_file) = files.write_pair(&stranger.issue(&["bridge"]));
    let settings = Endpoint { ca_file, client_cert_file, client_key_file, ..endpoint(https(server.address)) };
    let running = Running::start(settings);
    running.commit(2).await;
    running.failure("refuses the client certificate").await;
    assert!(server.requests().is_empty());
    // a pair that does not fit together leaves the old one in force
    files.write("own.pem", &authority.issue(&["bridge"]).certificate);
    running.deliverer.reload();
    running.failure("refuses the client certificate").await;
    files.write_pair(&authority.issue(&["bridge"]));
    running.deliverer.reload();
    running.all_delivered(2).await;
    assert_eq!(sequences(&server), [1, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nginx_says_of_a_certificate_is_not_the_events_fault() {
    let page = "<html><head><title>400 No required SSL certificate was sent</title></head></html>";
    let server = Server::start(move |number, _| if number < 2 { Reply::new(400, page) } else { Reply::new(204, "") });
    let running = Running::start(endpoint(server.url("/hook")));
    running.commit(1).await;
    running.all_delivered(1).await;
    assert_eq!(server.requests().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_leads_to_names_that_only_it_knows() {
    let (authority, files) = (Authority::new(), Files::new());
    let server = Server::listen(0, server_tls(&authority.issue(&["crm.city.invalid"]), None), accept);
    let proxy = Proxy::start(server.address, Some("Basic YnJpZGdlOnNlc2FtZQ=="));
    let proxy_secret_file = files.write("proxy", "bridge:wrong\n");
    let running = Running::start(Endpoint {
        ca_file: files.write("ca.pem", &authority.pem()),
        proxy: format!("http://127.0.0.1:{}", proxy.port),
        proxy_secret_file,
        ..endpoint("https://crm.city.invalid/hook".into())
    });
    running.commit(1).await;
    running.failure("the proxy wants another user or password").await;
    files.write("proxy", "bridge:sesame\n");
    running.deliverer.reload();
    running.all_delivered(1).await;
    assert_eq!(proxy.targets.lock().unwrap().last().unwrap(), "CONNECT crm.city.invalid:443");
}

/// A name of this machine's /etc/hosts that leads to no public address, other than `localhost`.
fn inner_name() -> (String, std::net::IpAddr) {
    let hosts = std::fs::read_to_string("/etc/hosts").unwrap();
    let lines = hosts.lines().map(|line| line.split('#').next().unwrap_or_default());
    let names = lines.flat_map(|line| line.split_whitespace().skip(1)).filter(|name| *name != "localhost");
    let mut inner = names.filter_map(|name| {
        let first = (name, 0).to_socket_addrs().ok()?.next()?.ip();
        judge(first, Given::Name, &[]).is_err().then(|| (name.to_string(), first))
    });
    inner.next().expect("a name in /etc/hosts beside localhost")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_leads_into_the_own_network_is_followed_only_when_that_is_listed() {
    let (name, address) = inner_name();
    let running = Running::start(endpoint(format!("http://{name}:9/hook")));
    running.commit(1).await;
    let network = ipnet::IpNet::from(address);
    running.failure(&format!("{name} is at {address}")).await;
    running.failure(&format!("networks = [\"{network}\"]")).await;
    let networks = (name.as_str(), 0).to_socket_addrs().unwrap().map(|all| all.ip().into()).collect();
    let running = Running::start(Endpoint { networks, ..endpoint(format!("http://{name}:9/hook")) });
    running.commit(1).await;
    // it was tried: nothing listens there
    running.failure("no connection").await;
}

#[test]
fn addresses_where_clouds_keep_secrets_are_refused_at_the_start() {
    for (url, shown) in [
        ("http://169.254.169.254/latest", "169.254.169.254/32"),
        ("http://0xa9fea9fe/", "169.254.169.254/32"),
        ("http://2852039166/", "169.254.169.254/32"),
        ("http://[::ffff:169.254.169.254]/", "::ffff:169.254.169.254/128"),
        ("http://[fe80::1]/", "fe80::1/128"),
        ("http://0.0.0.0:80/", "0.0.0.0/32"),
        ("http://224.0.0.1/", "224.0.0.1/32"),
    ] {
        let error = deliver::check(&[endpoint(url.into())]).unwrap_err().to_string();
        assert!(error.contains("id = \"crm\": url") && error.contains(shown), "{url}: {error}");
        let networks = vec![shown.parse().unwrap()];
        deliver::check(&[Endpoint { networks, ..endpoint(url.into()) }]).unwrap();
    }
    let proxied = Endpoint { proxy: "http://169.254.0.1:3128".into(), ..endpoint("http://crm.example.jp/".into()) };
    let error = deliver::check(&[proxied]).unwrap_err().to_string();
    assert!(error.contains("proxy") && error.contains("169.254.0.1/32"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirection_is_not_followed() {
    let other = Server::start(accept);
    let target = other.url("/elsewhere");
    let server = Server::start(move |_, _| Reply::new(307, "").with("Location", target.clone()));
    let running = Running::start(endpoint(server.url("/hook")));
    running.commit(1).await;
    running.failure("status 307").await;
    assert!(other.requests().is_empty());
}

#[test]
fn wrong_files_are_named_with_what_to_do_and_nothing_of_a_key_is_shown() {
    let (authority, files) = (Authority::new(), Files::new());
    let pair = authority.issue(&["bridge"]);
    let (certificate, key) = files.write_pair(&pair);
    let (empty, other) = (files.write("empty.pem", ""), files.write("other.key", &authority.issue(&["b"]).key));
    let broken = files.write("broken.key", &pair.key.replace("-----END", "MIGHAgEAMBMGByqGSM49\n-----END"));
    let of = |change: &dyn Fn(&mut Endpoint)| {
        let mut endpoint = endpoint("https://crm.example.jp/".into());
        change(&mut endpoint);
        deliver::check(&[endpoint]).map_err(|error| error.to_string())
    };
    let own = |certificate: &std::path::Path, key: &std::path::Path| {
        of(&|e| (e.client_cert_file, e.client_key_file) = (certificate.into(), key.into()))
    };
    assert_eq!(own(&certificate, &key), Ok(()));
    let wrong = [
        (of(&|e| e.ca_file = "/nowhere/ca.pem".into()), ["ca_file = \"/nowhere/ca.pem\"", "correct the path"]),
        (of(&|e| e.ca_file = empty.clone()), ["ca_file", "no certificate is in it"]),
        (own(&certificate, &other), ["client_key_file", "belong together"]),
        (own(&certificate, &certificate), ["client_key_file", "no private key is in it"]),
        (own(&certificate, &broken), ["client_key_file", "expected"]),
        (own(&certificate, std::path::Path::new("")), ["client_key_file: empty", "expected"]),
        (own(std::path::Path::new(""), &key), ["client_cert_file: empty", "expected"]),
        (of(&|e| e.proxy = "socks5://h:1".into()), ["proxy", "http://host:port"]),
        (of(&|e| e.proxy = "http://u:sesame@h:1".into()), ["proxy", "proxy_secret_file"]),
        (
            of(&|e| (e.proxy, e.proxy_secret_file) = ("http://h:1".into(), empty.clone())),
            ["proxy_secret_file", "user:password"],
        ),
    ];
    for (result, words) in wrong {
        let error = result.unwrap_err();
        assert!(words.iter().all(|word| error.contains(word)) && error.contains("id = \"crm\""), "{error}");
        let shown = pair.key.lines().filter(|line| line.len() > 40).any(|line| error.contains(line));
        assert!(!shown && !error.contains("sesame"), "{error}");
    }
}
