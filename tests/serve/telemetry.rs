//! OpenTelemetry: the spans of a real call arrive at a collector, nothing personal does, and one that is away holds nothing up.

use std::collections::BTreeMap;
use std::io::{BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kakehashi::events::Event;
use nix::sys::signal::Signal;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;

use crate::drain::Exchange;
use crate::hook::{Hook, free_port, request};
use crate::{Bridge, dial, is_document, pattern, speak, write_config};

const TAKEN: &str = "the configuration was read again";
/// The header that the collector asks for.
const KEY: &str = "geheim-0815";

/// A collector: keeps what is sent to it.
struct Collector {
    port: u16,
    /// Each request that had the header.
    requests: Arc<Mutex<Vec<Sent>>>,
}

/// Path and body of a request.
type Sent = (String, Vec<u8>);

impl Collector {
    fn listen() -> Collector {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&requests);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let kept = Arc::clone(&kept);
                std::thread::spawn(move || {
                    let mut writer = stream.try_clone().unwrap();
                    let mut reader = BufReader::new(stream);
                    while let Some((headers, body)) = request(&mut reader) {
                        let has = |line: &str| headers.iter().any(|header| header == line);
                        assert!(
                            has("content-type: application/x-protobuf") && has(&format!("x-key: {KEY}")),
                            "{headers:?}"
                        );
                        let path = headers[0].split(' ').nth(1).unwrap().to_string();
                        kept.lock().unwrap().push((path, body));
                        let _ = writer.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
                    }
                });
            }
        });
        Collector { port, requests }
    }

    fn bodies(&self, path: &str) -> Vec<Vec<u8>> {
        let requests = self.requests.lock().unwrap();
        requests.iter().filter(|(own, _)| own == path).map(|(_, body)| body.clone()).collect()
    }
}

fn telemetry(config: &Path, url: &str) -> String {
    let headers = config.with_file_name("headers");
    std::fs::write(&headers, format!("x-key: {KEY}\n")).unwrap();
    format!(
        "[telemetry]\nurl = \"{url}\"\nheaders_file = \"{}\"\nmetrics_every_s = 1\ntimeout_ms = 300\n",
        headers.display()
    )
}

fn append(config: &Path, text: &str) {
    let whole = std::fs::read_to_string(config).unwrap() + text;
    std::fs::write(config, whole).unwrap();
}

/// A call from its ring to its document.
fn call(bridge: &Bridge, hook: &Hook, id: &str, calls: usize) -> Vec<Event> {
    let exchange = Exchange::of(bridge);
    let (ports, to) = dial(bridge.sip, &exchange.socket, id);
    speak(ports, 5, pattern);
    assert!(exchange.asks("BYE", id, &to).starts_with("SIP/2.0 200"));
    hook.until(|events| events.iter().filter(|event| is_document(event)).count() == calls)
}

fn text(span: &Span, key: &str) -> Option<String> {
    let found = span.attributes.iter().find(|attribute| attribute.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        Value::IntValue(number) => Some(number.to_string()),
        other => panic!("{other:?}"),
    }
}

/// Runs a call of the sample directory's agent with a collector, and gives what was told of it.
fn run(folder: &Path, media: u16) -> (Collector, Vec<Event>) {
    let (hook, collector) = (Hook::listen(0), Collector::listen());
    let config = write_config(folder, hook.port, media);
    append(&config, &telemetry(&config, &format!("http://127.0.0.1:{}/", collector.port)));
    let bridge = Bridge::start(&config);
    let events = call(&bridge, &hook, "c1", 1);
    // what waits is sent at the end
    bridge.stop();
    (collector, events)
}

fn spans(collector: &Collector) -> Vec<Span> {
    let mut spans = Vec::new();
    for body in collector.bodies("/v1/traces") {
        for of_resource in ExportTraceServiceRequest::decode(body.as_slice()).unwrap().resource_spans {
            let resource = of_resource.resource.unwrap();
            let named = |key: &str, value: &str| {
                let value = Some(Value::StringValue(value.into()));
                resource.attributes.iter().any(|one| one.key == key && one.value.as_ref().unwrap().value == value)
            };
            assert!(named("service.name", "kakehashi") && named("service.instance.id", "n1"), "{resource:?}");
            spans.extend(of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans));
        }
    }
    spans
}

#[test]
fn the_spans_of_a_call_arrive_below_their_contact_and_nothing_personal_does() {
    let folder = tempfile::tempdir().unwrap();
    let (collector, events) = run(folder.path(), 23_000);
    let spans = spans(&collector);
    let contact = events[0].contact.0;
    assert!(spans.iter().all(|span| span.trace_id == contact.as_bytes()), "one trace");
    let named = |name: &str| spans.iter().filter(|span| span.name == name).collect::<Vec<_>>();
    let [root] = named("contact")[..] else { panic!("{spans:#?}") };
    assert!(root.parent_span_id.is_empty() && text(root, "kakehashi.site").as_deref() == Some("osaka"));
    let [leg] = named("leg")[..] else { panic!("{spans:#?}") };
    let [talk] = named("talk")[..] else { panic!("{spans:#?}") };
    let [look_up] = named("look_up")[..] else { panic!("{spans:#?}") };
    assert_eq!((&leg.parent_span_id, &look_up.parent_span_id), (&root.span_id, &root.span_id));
    assert_eq!(talk.parent_span_id, leg.span_id);
    assert_eq!(text(look_up, "kakehashi.matches").as_deref(), Some("1"));
    assert!(
        root.start_time_unix_nano <= leg.start_time_unix_nano && talk.end_time_unix_nano <= root.end_time_unix_nano
    );
    let delivered: Vec<String> =
        named("deliver").iter().filter_map(|span| text(span, "kakehashi.event.type")).collect();
    for event in &events {
        assert!(
            delivered.iter().any(|kind| kind == event.type_name()),
            "{} is not in {delivered:?}",
            event.type_name()
        );
    }
    for span in named("deliver") {
        assert_eq!((&span.parent_span_id, text(span, "server.address").as_deref()), (&root.span_id, Some("127.0.0.1")));
        assert!(span.end_time_unix_nano >= span.start_time_unix_nano && span.status.is_none());
    }

    let mut figures = BTreeMap::new();
    for body in collector.bodies("/v1/metrics") {
        let request = ExportMetricsServiceRequest::decode(body.as_slice()).unwrap();
        let scopes = request.resource_metrics.into_iter().flat_map(|of_resource| of_resource.scope_metrics);
        figures.extend(scopes.flat_map(|scope| scope.metrics).map(|metric| (metric.name.clone(), metric)));
    }
    let Some(Data::Sum(sum)) = &figures["kakehashi_deliveries_delivered"].data else { panic!("{figures:#?}") };
    assert!(sum.is_monotonic && sum.data_points[0].start_time_unix_nano > 0);
    assert!(matches!(figures["kakehashi_deliveries_oldest_seconds"].data, Some(Data::Gauge(_))));

    let requests = collector.requests.lock().unwrap();
    for (path, body) in requests.iter() {
        for personal in [
            "0600001234",
            "81600001234",
            "6-0000-1234",
            "橋本",
            "花子",
            "山田",
            "op-yamada",
            "コールセンター",
            "住吉",
            KEY,
        ] {
            let found = body.windows(personal.len()).any(|part| part == personal.as_bytes());
            assert!(!found, "{personal} went to {path}");
        }
    }
}

/// The recognition of each utterance is below its contact too, and what was said is nowhere.
#[cfg(feature = "whisper")]
#[test]
fn the_recognition_of_what_is_said_arrives_and_the_words_do_not() {
    let folder = tempfile::tempdir().unwrap();
    let (hook, collector) = (Hook::listen(0), Collector::listen());
    let config = write_config(folder.path(), hook.port, 23_300);
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/kakehashi-lab-ja.bin");
    let told = std::fs::read_to_string(&config).unwrap().replace("transcribe = false", "transcribe = true");
    std::fs::write(&config, told + &format!("[speech]\nmodel = \"{}\"\nworkers = 1\n", model.display())).unwrap();
    append(&config, &telemetry(&config, &format!("http://127.0.0.1:{}", collector.port)));
    let bridge = Bridge::start(&config);
    let exchange = Exchange::of(&bridge);
    let (ports, to) = dial(bridge.sip, &exchange.socket, "c1");
    speak(ports, 450, crate::sample_call());
    assert!(exchange.asks("BYE", "c1", &to).starts_with("SIP/2.0 200"));
    let events = hook.until(|events| events.iter().any(is_document));
    bridge.stop();

    let texts = events.iter().filter_map(|event| match &event.data {
        kakehashi::events::Data::TranscriptFinal(said) => Some(said.text.clone()),
        _ => None,
    });
    let texts: Vec<String> = texts.filter(|text| text.chars().count() > 3).collect();
    assert!(!texts.is_empty());
    let spans = spans(&collector);
    let root = spans.iter().find(|span| span.name == "contact").unwrap();
    let recognized: Vec<&Span> = spans.iter().filter(|span| span.name == "recognize").collect();
    assert!(recognized.len() >= texts.len() && recognized.iter().all(|span| span.parent_span_id == root.span_id));
    for decode in spans.iter().filter(|span| span.name == "decode") {
        let parent = recognized.iter().find(|span| span.span_id == decode.parent_span_id).unwrap();
        assert!(parent.start_time_unix_nano <= decode.start_time_unix_nano);
    }
    for (path, body) in collector.requests.lock().unwrap().iter() {
        for text in &texts {
            let found = body.windows(text.len()).any(|part| part == text.as_bytes());
            assert!(!found, "what was said went to {path}");
        }
    }
}

/// The same, read by the message types that the OpenTelemetry project makes for Python.
#[test]
#[ignore = "needs the lab: make lab"]
fn the_official_messages_of_another_language_read_what_is_sent() {
    let folder = tempfile::tempdir().unwrap();
    let (collector, events) = run(folder.path(), 23_100);
    for (n, (path, body)) in collector.requests.lock().unwrap().iter().enumerate() {
        let kind = path.rsplit('/').next().unwrap();
        std::fs::write(folder.path().join(format!("{n:03}.{kind}")), body).unwrap();
    }
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    let lab = std::env::var_os("LAB_DIR").map_or_else(|| repository.join(".lab"), std::path::PathBuf::from);
    let output = std::process::Command::new(lab.join("venv/bin/python"))
        .arg(repository.join("tests/lab/otlp.py"))
        .arg(folder.path())
        .output()
        .expect("tests/lab/setup.sh has been run");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let told = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<serde_json::Value> = told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |name: &str| lines.iter().find(|line| line["name"] == name).unwrap_or_else(|| panic!("{name}: {told}"));
    assert_eq!(of("contact")["trace"], events[0].contact.0.simple().to_string());
    assert_eq!((&of("leg")["parent"], &of("talk")["parent"]), (&of("contact")["span"], &of("leg")["span"]));
    assert_eq!(of("deliver")["kind"], "SPAN_KIND_CLIENT");
    assert_eq!(of("kakehashi_deliveries_delivered")["data"], "sum");
}

/// How a collector can be away.
fn troubles() -> [(&'static str, u16); 4] {
    let spoil = |answer: &'static [u8]| {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            let mut open = Vec::new();
            for mut stream in listener.incoming().flatten() {
                let _ = stream.write_all(answer);
                open.push(stream);
            }
        });
        port
    };
    [
        ("nobody listens", free_port()),
        ("it never answers", spoil(b"")),
        ("garbage", spoil(b"\x00\xff\x15\x03\x01 not HTTP\r\n\r\n")),
        ("it refuses", spoil(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")),
    ]
}

fn metric(panel: SocketAddr, name: &str) -> f64 {
    let mut stream = TcpStream::connect(panel).unwrap();
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: {panel}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let found = answer.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    found.unwrap_or_else(|| panic!("{name}: {answer}"))
}

#[test]
fn a_collector_that_is_away_holds_nothing_up_and_what_it_misses_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let hook = Hook::listen(0);
    let config = write_config(folder.path(), hook.port, 23_200);
    let text = std::fs::read_to_string(&config).unwrap();
    let text = text.replace("[panel]\nenabled = false", "[panel]\nlisten = \"127.0.0.1:0\"");
    std::fs::write(&config, &text).unwrap();
    let bridge = Bridge::start(&config);
    let panel = bridge.panel.unwrap();
    let failed = || metric(panel, "kakehashi_telemetry_failures_total{signal=\"metrics\"}");
    for (n, (name, port)) in troubles().into_iter().enumerate() {
        // telemetry is switched on, and to another collector, while the bridge runs
        std::fs::write(&config, text.clone() + &telemetry(&config, &format!("http://127.0.0.1:{port}"))).unwrap();
        let before = failed();
        bridge.signal(Signal::SIGHUP);
        assert!(bridge.told(TAKEN, n + 1)["applied"].as_str().unwrap().contains("[telemetry] url"), "{name}");
        let events = call(&bridge, &hook, &format!("c{n}"), n + 1);
        assert!(!events.is_empty(), "{name}");
        let deadline = Instant::now() + Duration::from_secs(60);
        while failed() <= before {
            assert!(Instant::now() < deadline, "{name}: nothing is counted");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    // what the last one refuses is lost at once
    let deadline = Instant::now() + Duration::from_secs(60);
    while metric(panel, "kakehashi_telemetry_spans_dropped_total{reason=\"not_taken\"}") == 0.0 {
        assert!(Instant::now() < deadline, "no span is counted as lost");
        std::thread::sleep(Duration::from_millis(20));
    }
    std::fs::write(&config, text).unwrap();
    bridge.signal(Signal::SIGHUP);
    bridge.told(TAKEN, 5);
    let before = failed();
    call(&bridge, &hook, "last", 5);
    assert_eq!(failed(), before, "it is off again");
    bridge.stop();
}
