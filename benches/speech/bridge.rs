//! Our side: `kakehashi serve`, called by SIP; finals by its webhooks, partials from its live feed.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kakehashi::events::Data;
use kakehashi::pbx::Speaker;
use serde_json::Value;

use crate::Size;
use crate::figures::{Heard, Run};
use crate::hook::Hook;
use crate::scene::Scene;
use crate::serve::Wanted;
use crate::talk::{Call, converse};
use crate::told::{e164, numbers};

/// While nothing comes for so long after the calls, nothing will.
const QUIET: Duration = Duration::from_secs(70);

fn number(call: usize) -> String {
    format!("0665{call:06}")
}

/// Makes the calls of the scenes with one bridge.
pub(crate) fn run(scenes: &[Scene], size: &Size) -> Run {
    // on the disk that the build is on: the system's temporary folder may be memory
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench-speech");
    let _ = std::fs::remove_dir_all(&folder);
    let hook = Hook::listen(0);
    let speech = format!("model = \"{}\"\nworkers = {}\nthreads = 1", size.model.display(), size.cores);
    let bridge = Wanted { folder: &folder, hook: hook.port, speech: &speech, exchange: None }.start();
    let partials = watch(bridge.panel);
    let place = |(n, scene): (usize, &Scene)| Call::place(bridge.sip(), &number(n), scene.lines.clone());
    let calls: Vec<Call> = scenes.iter().enumerate().map(place).collect();
    let (cpu, began) = (bridge.cpu(), Instant::now());
    let sent = converse(&calls);
    let cores = (bridge.cpu() - cpu) / began.elapsed().as_secs_f64();
    hook.documents(calls.len(), QUIET);
    bridge.stop();
    let arrived = hook.arrived();
    let by_number: HashMap<String, usize> = (0..scenes.len()).map(|n| (e164(&number(n)), n)).collect();
    let of_contact: HashMap<_, usize> = numbers(arrived.iter().map(|(_, event)| event))
        .into_iter()
        .filter_map(|(contact, number)| Some((contact, *by_number.get(&number)?)))
        .collect();
    let finals = arrived.iter().filter_map(|(at, event)| {
        let Data::TranscriptFinal(text) = &event.data else { return None };
        let line = usize::from(text.speaker == Speaker::Agent);
        let (from, to) = (text.start_ms as usize * 8, text.end_ms as usize * 8);
        Some(Heard { call: *of_contact.get(&event.contact)?, line, from, to, text: text.text_raw.clone(), at: *at })
    });
    let finals = finals.collect();
    let partials = partials.lock().unwrap();
    let of_id: HashMap<String, usize> = of_contact.iter().map(|(contact, call)| (contact.to_string(), *call)).collect();
    let partials = partials.iter().filter_map(|(at, body)| partial(*at, body, &of_id)).collect();
    let _ = std::fs::remove_dir_all(&folder);
    Run { sent, finals, partials, cores }
}

type Partials = Arc<Mutex<Vec<(Instant, Value)>>>;

/// Reads the live feed; keeps `transcript.partial` with the moment when each came.
fn watch(panel: SocketAddr) -> Partials {
    let mut stream = TcpStream::connect(panel).unwrap();
    write!(stream, "GET /v1/feed HTTP/1.1\r\nhost: {panel}\r\n\r\n").unwrap();
    let partials = Partials::default();
    let seen = Arc::clone(&partials);
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            let at = Instant::now();
            let body = line.strip_prefix("data: ").filter(|body| body.contains("kakehashi.transcript.partial."));
            if let Some(body) = body.and_then(|body| serde_json::from_str(body).ok()) {
                seen.lock().unwrap().push((at, body));
            }
        }
    });
    partials
}

/// A partial as a text of its call: its utterance is `<stream>/<start in ms>`, its subject `contact/<contact>/…`.
fn partial(at: Instant, body: &Value, of_contact: &HashMap<String, usize>) -> Option<Heard> {
    let contact = body["subject"].as_str()?.split('/').nth(1)?;
    let data = &body["data"];
    let from = data["utterance"].as_str()?.rsplit('/').next()?.parse::<usize>().ok()? * 8;
    let line = usize::from(data["speaker"] == "agent");
    let part = |key: &str| data[key].as_str().unwrap_or_default();
    let text = [part("stable"), part("tail")].concat();
    Some(Heard { call: *of_contact.get(contact)?, line, from, to: from + 1, text, at })
}
