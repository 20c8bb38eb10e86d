//! Softphones that call by WHIP, many at once in a process of its own: two tracks of PCMU each, over ICE, DTLS and SRTP of the `webrtc` crate.

use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::time::{Instant, sleep, sleep_until};

#[path = "../../tests/common/softphone.rs"]
mod softphone;
use softphone::Softphone;

/// Runs `web PANEL CALLS` (the panel's address gives tokens and says where WHIP is); gives `false` when it is something else.
pub(crate) fn run(what: &str) -> bool {
    let words: Vec<&str> = what.split(' ').collect();
    let ["web", panel, calls] = words.as_slice() else { return false };
    let _ = rustls::crypto::ring::default_provider().install_default();
    let calls = calls.parse().unwrap();
    tokio::runtime::Runtime::new().unwrap().block_on(speak(panel, calls));
    true
}

async fn call(http: &reqwest::Client, panel: &str, number: u32) -> Softphone {
    let wish = format!(r#"{{"pbx":"bench","called":"7001","extension":"2{number:03}","number":"0901234{number:04}"}}"#);
    let opened =
        http.post(format!("http://{panel}/v1/web-calls")).body(wish).send().await.unwrap().text().await.unwrap();
    let opened: serde_json::Value = serde_json::from_str(&opened).unwrap();
    let field = |name: &str| opened[name].as_str().unwrap_or_else(|| panic!("{opened}")).to_string();
    let mut phone = Softphone::new(&["agent", "caller"]).await;
    let offer = phone.offer().await;
    let request = http.post(field("whip_url")).bearer_auth(field("token")).header("content-type", "application/sdp");
    let answer = request.body(offer).send().await.unwrap();
    assert_eq!(answer.status(), 201);
    phone.accept(&answer.text().await.unwrap()).await;
    phone.connected().await;
    phone
}

/// Sets the calls up, says `ready`, speaks into every track until a line comes, says how many packets it sent, and ends.
async fn speak(panel: &str, calls: u32) {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut phones = Vec::new();
    for number in 0..calls {
        phones.push(call(&http, panel, number).await);
    }
    println!("ready");
    let stopped = tokio::spawn(async { BufReader::new(tokio::io::stdin()).lines().next_line().await });
    let (began, mut sent, mut n) = (Instant::now(), 0, 0);
    while !stopped.is_finished() {
        for phone in &mut phones {
            phone.say(&[vec![0x55; 160], vec![0x55; 160]]).await;
            sent += 2;
        }
        n += 1;
        sleep_until(began + Duration::from_millis(20) * n).await;
    }
    println!("{sent}");
    // what is under way arrives before the calls end
    sleep(Duration::from_millis(500)).await;
    std::process::exit(0);
}
