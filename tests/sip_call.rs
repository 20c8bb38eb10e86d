//! Calls to the real SIP edge by an independent caller (rsipstack), over UDP and TCP, with real RTP.

#[path = "common/sip.rs"]
mod bridge;

use std::sync::Arc;
use std::time::Duration;

use bridge::{PATIENCE, SDP, Wanted, audio_ports, speak};
use kakehashi::media::codec::decode_ulaw;
use kakehashi::pbx::{EndCause, Fidelity, KeyKind, Signal, Speaker};
use rsipstack::EndpointBuilder;
use rsipstack::dialog::dialog::{DialogState, DialogStateReceiver, DialogStateSender};
use rsipstack::dialog::dialog_layer::DialogLayer;
use rsipstack::dialog::invitation::InviteOption;
use rsipstack::dialog::invite_dialog::InviteDialog;
use rsipstack::sip::{Header, Response, Uri};
use rsipstack::transport::TransportLayer;
use rsipstack::transport::udp::UdpConnection;
use tokio::time::timeout;

/// rsipstack as a telephone.
struct Telephone {
    dialogs: Arc<DialogLayer>,
    states: DialogStateSender,
    seen: DialogStateReceiver,
    contact: Uri,
    calls: u32,
}

impl Telephone {
    async fn new() -> Telephone {
        let layer = TransportLayer::new(Default::default());
        let udp = UdpConnection::create_connection("127.0.0.1:0".parse().unwrap(), None, None).await.unwrap();
        layer.add_transport(udp.into());
        let endpoint = EndpointBuilder::new().with_transport_layer(layer).build();
        let port = endpoint.get_addrs()[0].addr.port.map(|port| port.value()).unwrap();
        let mut incoming = endpoint.incoming_transactions().unwrap();
        let dialogs = Arc::new(DialogLayer::new(endpoint.inner.clone()));
        let inner = endpoint.inner.clone();
        tokio::spawn(async move { inner.serve().await.ok() });
        let known = dialogs.clone();
        tokio::spawn(async move {
            while let Some(mut transaction) = incoming.recv().await {
                let known = known.clone();
                tokio::spawn(async move {
                    // rsipstack knows a dialog a moment after its ACK went out; a BYE may be faster
                    let mut dialog = known.match_dialog(&transaction);
                    while dialog.is_none() {
                        tokio::time::sleep(Duration::from_millis(5)).await;
                        dialog = known.match_dialog(&transaction);
                    }
                    dialog?.handle(&mut transaction).await.ok()
                });
            }
        });
        let (states, seen) = dialogs.new_dialog_state_channel();
        let contact = Uri::try_from(format!("sip:0663621234@127.0.0.1:{port}").as_str()).unwrap();
        Telephone { dialogs, states, seen, contact, calls: 0 }
    }

    fn option(&mut self, callee: &str, sdp: Option<&str>) -> InviteOption {
        self.calls += 1;
        InviteOption {
            caller: self.contact.clone(),
            callee: Uri::try_from(callee).unwrap(),
            contact: self.contact.clone(),
            offer: sdp.map(|sdp| sdp.as_bytes().to_vec()),
            call_id: Some(format!("rsipstack-{}", self.calls)),
            ..InviteOption::default()
        }
    }

    async fn call(&mut self, callee: &str, sdp: Option<&str>) -> (InviteDialog, Response) {
        let option = self.option(callee, sdp);
        let (dialog, answer) =
            timeout(PATIENCE, self.dialogs.do_invite(option, self.states.clone())).await.unwrap().unwrap();
        (dialog, answer.expect("an answer"))
    }

    /// Waits for the end of a dialog.
    async fn over(&mut self) {
        loop {
            if let DialogState::Terminated(..) = timeout(PATIENCE, self.seen.recv()).await.unwrap().unwrap() {
                return;
            }
        }
    }
}

fn text(answer: &Response) -> String {
    String::from_utf8(answer.body.clone()).unwrap()
}

async fn a_whole_call(first_port: u16, tcp: bool) {
    let mut bridge = Wanted::new(first_port).start().await.unwrap();
    let mut telephone = Telephone::new().await;
    let callee =
        if tcp { format!("sip:7001@{};transport=tcp", bridge.tcp()) } else { format!("sip:7001@{}", bridge.udp()) };
    let (dialog, answer) = telephone.call(&callee, Some(SDP)).await;
    assert_eq!(answer.status_code.code(), 200);
    let Signal::CallAppeared { caller, called, keys, fidelity } = bridge.signal().await else { panic!() };
    assert_eq!((caller.number.as_deref(), called.as_str()), (Some("0663621234"), "7001"));
    assert_eq!((keys[0].kind, fidelity), (KeyKind::CallId, Fidelity::OwnLeg));
    let told = bridge.until(|signal| matches!(signal, Signal::StreamAdded { .. })).await;
    assert!(
        matches!(&told[..], [Signal::LegAppeared { .. }, Signal::LegRinging(_), Signal::LegAnswered(_), _]),
        "{told:?}"
    );
    let Some(Signal::StreamAdded { stream, speaker: Speaker::Caller, .. }) = told.last() else { panic!("{told:?}") };
    let port = audio_ports(&text(&answer))[0];
    assert!((first_port..first_port + 40).contains(&port), "{port}");
    let spoken = speak(port, 0, 50, 3);

    let options = dialog.options(None).await.unwrap().unwrap();
    assert_eq!(options.status_code.code(), 200);
    let sdp = || Some(vec![Header::ContentType("application/sdp".into())]);
    let hold = SDP.replace("m=audio", "a=sendonly\r\nm=audio");
    for (offer, expected) in [(hold.as_str(), "recvonly"), (SDP, "sendrecv")] {
        let answer = dialog.reinvite(sdp(), Some(offer.as_bytes().to_vec())).await.unwrap().unwrap();
        assert_eq!(answer.status_code.code(), 200);
        assert!(text(&answer).contains(&format!("a={expected}\r\n")), "{}", text(&answer));
    }
    assert!(matches!(bridge.signal().await, Signal::LegHeld(_)));
    assert!(matches!(bridge.signal().await, Signal::LegResumed(_)));

    dialog.bye().await.unwrap();
    let told = bridge.until(|signal| matches!(signal, Signal::CallEnded(_))).await;
    assert!(
        matches!(
            &told[..],
            [Signal::StreamRemoved(_), Signal::LegEnded(_, EndCause::Normal), Signal::CallEnded(EndCause::Normal)]
        ),
        "{told:?}"
    );
    let expected: Vec<i16> = spoken.iter().map(|byte| decode_ulaw(*byte)).collect();
    assert!(bridge.pcm(&[*stream]) == [expected], "what was said is heard, bit for bit");
    let counters = bridge.sip.counters();
    assert_eq!((counters.calls, counters.uas.calls, counters.uas.malformed), (0, 1, 0));
    bridge.sip.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_whole_call_over_udp() {
    a_whole_call(24_000, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_whole_call_over_tcp() {
    a_whole_call(24_100, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recording_leg_has_both_parties_on_their_own_streams() {
    let mut bridge = Wanted::new(24_200).start().await.unwrap();
    let mut telephone = Telephone::new().await;
    let two = format!("{}m=audio 40002 RTP/AVP 0\r\na=sendonly\r\n", SDP.replace("m=audio", "a=sendonly\r\nm=audio"));
    let (dialog, answer) = telephone.call(&format!("sip:7001@{}", bridge.udp()), Some(&two)).await;
    let ports = audio_ports(&text(&answer));
    let told = bridge.until(|signal| matches!(signal, Signal::StreamAdded { speaker: Speaker::Agent, .. })).await;
    let streams: Vec<_> = told
        .iter()
        .filter_map(|signal| if let Signal::StreamAdded { stream, .. } = signal { Some(*stream) } else { None })
        .collect();
    let spoken = [speak(ports[0], 0, 30, 1), speak(ports[1], 0, 30, 99)];
    dialog.bye().await.unwrap();
    bridge.until(|signal| matches!(signal, Signal::CallEnded(_))).await;
    let heard = bridge.pcm(&streams);
    for (spoken, heard) in spoken.iter().zip(&heard) {
        let expected: Vec<i16> = spoken.iter().map(|byte| decode_ulaw(*byte)).collect();
        assert!(*heard == expected, "the first line is the caller's stream, the second the agent's");
    }
    assert_ne!(heard[0], heard[1]);
    bridge.sip.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_caller_gives_up_while_it_rings() {
    let mut bridge = Wanted { answer_after_ms: 60_000, ..Wanted::new(24_300) }.start().await.unwrap();
    let mut telephone = Telephone::new().await;
    let option = telephone.option(&format!("sip:7001@{}", bridge.udp()), Some(SDP));
    let (dialog, call) = telephone.dialogs.do_invite_async(option, telephone.states.clone()).unwrap();
    bridge.until(|signal| matches!(signal, Signal::LegRinging(_))).await;
    while !matches!(telephone.seen.recv().await, Some(DialogState::Early(..))) {}
    dialog.cancel().await.unwrap();
    let told = bridge.until(|signal| matches!(signal, Signal::CallEnded(_))).await;
    assert!(
        matches!(&told[..], [Signal::LegEnded(_, EndCause::Cancelled), Signal::CallEnded(EndCause::Cancelled)]),
        "{told:?}"
    );
    let (_, answer) = timeout(PATIENCE, call).await.unwrap().unwrap().unwrap();
    assert_eq!(answer.unwrap().status_code.code(), 487);
    bridge.sip.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_hangs_up_every_call() {
    let mut bridge = Wanted::new(24_400).start().await.unwrap();
    let mut telephone = Telephone::new().await;
    let udp = telephone.call(&format!("sip:7001@{}", bridge.udp()), Some(SDP)).await;
    let tcp = telephone.call(&format!("sip:7002@{};transport=tcp", bridge.tcp()), None).await;
    assert_eq!((udp.1.status_code.code(), tcp.1.status_code.code()), (200, 200));
    bridge.until(|signal| matches!(signal, Signal::StreamAdded { .. })).await;
    bridge.sip.stop().await;
    telephone.over().await;
    telephone.over().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_bridge_and_one_without_ports_answer_503() {
    let mut wanted = Wanted::new(24_500);
    wanted.settings.max_calls = 1;
    let bridge = wanted.start().await.unwrap();
    let mut telephone = Telephone::new().await;
    let callee = format!("sip:7001@{}", bridge.udp());
    let first = telephone.call(&callee, Some(SDP)).await;
    let (_, answer) = telephone.call(&callee, Some(SDP)).await;
    assert_eq!(answer.status_code.code(), 503);
    first.0.bye().await.unwrap();
    bridge.sip.stop().await;

    let bridge = Wanted { ports: (24_540, 3), ..Wanted::new(24_540) }.start().await.unwrap();
    let callee = format!("sip:7001@{}", bridge.udp());
    let first = telephone.call(&callee, Some(SDP)).await;
    assert_eq!(first.1.status_code.code(), 200);
    let (_, answer) = telephone.call(&callee, Some(SDP)).await;
    assert_eq!(answer.status_code.code(), 503);
    let retry = answer.headers.iter().any(|header| header.to_string().starts_with("Retry-After: 10"));
    assert!(retry, "{answer}");
    first.0.bye().await.unwrap();
    bridge.sip.stop().await;
}
