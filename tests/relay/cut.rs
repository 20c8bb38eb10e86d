//! What was accepted arrives, in order, once: over a link that is cut, with a relay and a bridge that are killed, whoever opens the link.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kakehashi::crm::relay::Settings as Relay;

use crate::ends::{Near, PATIENCE, Place, batch, connect, contact, endpoint, entry, hold, local, seen};
use crate::hook::Hook;
use crate::ledger::Entry;
use crate::mutate::Dice;
use crate::proxy::Proxy;

const CONTACTS: u64 = 8;
const EACH: u64 = 60;
/// Sizes of events: most are small, some have several frames.
const SIZES: [usize; 8] = [20, 40, 60, 80, 150, 400, 3_000, 30_000];

async fn cut_at_random(near_opens: bool, seed: u64) {
    let place = Place::new();
    let hook = Arc::new(Hook::listen(0));
    let port = crate::ends::port();
    let proxy = Proxy::start(local(port), 40, seed).await;
    let (far_way, near_way) = match near_opens {
        true => (format!("listen = \"127.0.0.1:{port}\""), connect(proxy.port)),
        false => {
            let listen = Relay { listen: format!("127.0.0.1:{port}"), ..Relay::default() };
            (format!("connect = \"127.0.0.1:{}\"", proxy.port), listen)
        }
    };
    let _far = place.relay(&far_way, hook.port);
    let near = Near::start(&place.path("near"), place.endpoint(near_way));
    let mut dice = Dice(seed);
    let mut accepted = Vec::new();
    for sequence in 1..=EACH {
        let batches = (0..CONTACTS).map(|number| batch(number, sequence, SIZES[dice.below(SIZES.len())])).collect();
        accepted.extend(near.accept(batches).await);
    }
    near.until(|figures| figures.pending() == 0).await;
    seen(&hook, move |events| {
        events.iter().map(|event| event.id).collect::<HashSet<_>>().len() as u64 == CONTACTS * EACH
    })
    .await;
    let sums = hold(&accepted, &hook);
    assert_eq!((sums.duplicates, near.figures().died), (0, 0), "the relay stores an event once");
    assert!(proxy.connections() > 5, "the link was cut: {}", proxy.connections());
    println!(
        "cut at random, opened by the {} end: {} accepted and arrived, {} links, {} cuts, {} bytes for {} bytes of events",
        if near_opens { "near" } else { "far" },
        sums.accepted,
        proxy.connections(),
        40 - proxy.cuts_left(),
        proxy.bytes(),
        hook.arrived().iter().map(|(_, event)| event.to_json().len()).sum::<usize>(),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_from_the_bridge_that_is_cut_at_random_loses_nothing() {
    cut_at_random(true, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_from_the_relay_that_is_cut_at_random_loses_nothing() {
    cut_at_random(false, 2).await;
}

const ROLE: &str = "KAKEHASHI_RELAY_CHILD";

/// The bridge's side as a process that can be killed: folder, port and number of events of each contact. It says what is on disk.
#[tokio::test(flavor = "multi_thread")]
async fn child() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let (folder, rest) = role.split_once('|').unwrap();
    let (port, each) = rest.split_once('|').unwrap();
    let (folder, each): (PathBuf, u64) = (folder.into(), each.parse().unwrap());
    let near = Near::start(&folder.join("near"), endpoint(&folder, connect(port.parse().unwrap())));
    // what an earlier one had committed and could not say any more
    let mut next = Vec::new();
    for number in 0..CONTACTS {
        let events = near.outbox.events_of(contact(number)).unwrap();
        next.push(events.len() as u64 + 1);
        say(&events.iter().map(entry).collect::<Vec<_>>());
    }
    while next.iter().any(|sequence| *sequence <= each) {
        let waiting: Vec<usize> = (0..next.len()).filter(|number| next[*number] <= each).collect();
        let batches = waiting.iter().map(|number| batch(*number as u64, next[*number], 120)).collect();
        let accepted = near.accept(batches).await;
        waiting.iter().for_each(|number| next[*number] += 1);
        say(&accepted);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    near.until(|figures| figures.pending() == 0).await;
    println!("\ndone");
    std::future::pending::<()>().await;
}

fn say(accepted: &[Entry]) {
    let mut out = std::io::stdout().lock();
    for entry in accepted {
        writeln!(out, "\naccepted {} {} {} {}", entry.id, entry.contact, entry.sequence, entry.digest).unwrap();
    }
    out.flush().unwrap();
}

struct Bridge {
    process: Child,
    done: Arc<Mutex<bool>>,
}

impl Bridge {
    fn start(role: &str, accepted: &Arc<Mutex<Vec<Entry>>>) -> Bridge {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "cut::child", "--nocapture"])
            .env(ROLE, role)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let done = Arc::new(Mutex::new(false));
        let (out, accepted) = (process.stdout.take().unwrap(), Arc::clone(accepted));
        let told = Arc::clone(&done);
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                if line == "done" {
                    *told.lock().unwrap() = true;
                }
                accepted.lock().unwrap().extend(parse(&line));
            }
        });
        Bridge { process, done }
    }
}

fn parse(line: &str) -> Option<Entry> {
    let mut words = line.strip_prefix("accepted ")?.split(' ');
    let id = words.next()?.parse().ok()?;
    let contact = kakehashi::call::ContactId(words.next()?.parse().ok()?);
    let sequence = words.next()?.parse().ok()?;
    let digest = words.next().filter(|digest| digest.len() == 64)?.to_string();
    Some(Entry { id, contact, sequence, digest })
}

impl Drop for Bridge {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Both are killed in turn, at random moments, and the link is cut as well.
#[tokio::test(flavor = "multi_thread")]
async fn a_relay_and_a_bridge_that_are_killed_lose_nothing() {
    const KILLS: usize = 12;
    let (place, hook, port) = (Place::new(), Arc::new(Hook::listen(0)), crate::ends::port());
    let proxy = Proxy::start(local(port), 10, 7).await;
    let mut far = place.relay(&format!("listen = \"127.0.0.1:{port}\""), hook.port);
    let role = format!("{}|{}|{EACH}", place.folder.path().display(), proxy.port);
    let accepted = Arc::default();
    let mut bridge = Bridge::start(&role, &accepted);
    let mut dice = Dice(7);
    for kill in 0..KILLS {
        // until something more was accepted or arrived, and a little longer
        let (before, deadline) = (accepted.lock().unwrap().len() + hook.count(|_| true), Instant::now() + PATIENCE);
        while accepted.lock().unwrap().len() + hook.count(|_| true) <= before && !*bridge.done.lock().unwrap() {
            assert!(Instant::now() < deadline, "nothing moves after kill {kill}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        tokio::time::sleep(Duration::from_millis(dice.below(150) as u64)).await;
        match kill % 2 {
            0 => far = tokio::task::spawn_blocking(move || far.kill_and_start()).await.unwrap(),
            _ => {
                drop(bridge);
                bridge = Bridge::start(&role, &accepted);
            }
        }
    }
    let deadline = Instant::now() + PATIENCE;
    while !*bridge.done.lock().unwrap() {
        assert!(Instant::now() < deadline, "not everything was delivered");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    seen(&hook, move |events| {
        events.iter().map(|event| event.id).collect::<HashSet<_>>().len() as u64 == CONTACTS * EACH
    })
    .await;
    let mut all = accepted.lock().unwrap().clone();
    let mut known = HashSet::new();
    all.retain(|entry| known.insert(entry.id));
    let sums = hold(&all, &hook);
    assert_eq!(sums.accepted as u64, CONTACTS * EACH);
    println!(
        "{KILLS} kills, {} links: {} accepted and arrived, {} duplicates with the same id and text (of a relay killed between an answer and its note)",
        proxy.connections(),
        sums.accepted,
        sums.duplicates
    );
}
