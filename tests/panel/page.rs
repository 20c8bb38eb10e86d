//! The page in a browser: what an operator reads while it rings, in the call and at its end. Each test leaves a picture to look at
//! below `target/panel/`. They need Chromium: `tests/lab/chromium.sh`, then `cargo test --test panel page -- --ignored`.

use std::path::PathBuf;

use kakehashi::call::correction::Corrected;
use kakehashi::call::number::NumberKind;
use kakehashi::call::pause::{Cause, Scope};
use kakehashi::events::*;
use kakehashi::panel::settings::Token;
use kakehashi::panel::{Control, Controller, FeedHandle, PanelHandle, Settings, spawn};
use kakehashi::pbx::{DivertReason, Speaker, Tag, Withheld};
use kakehashi::time::Wall;

use crate::events::{Call, agent, correct, number};

async fn start(settings: Settings) -> (PanelHandle, FeedHandle) {
    let settings = Settings { listen: ([127, 0, 0, 1], 0).into(), ..settings };
    let feed = FeedHandle::new(settings.limits()).unwrap();
    (spawn(settings, feed.clone(), None).await.unwrap(), feed)
}

/// Seconds ago, so that the counters on the picture are what they would be.
fn ago(seconds: i64) -> Wall {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Wall(now.as_micros() as i64 - seconds * 1_000_000)
}

/// Opens the page, waits for `wait`, takes the picture `name`, and gives what can be read on it.
async fn shot(panel: &PanelHandle, query: &str, name: &str, wait: &[&str], more: &[&str]) -> String {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).with_file_name("panel");
    std::fs::create_dir_all(&folder).unwrap();
    let text = folder.join(format!("{name}.txt"));
    let mut command = tokio::process::Command::new("node");
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lab/panel_shot.mjs"));
    command.arg("--url").arg(format!("http://{}/{query}", panel.local_addr));
    command.arg("--out").arg(folder.join(format!("{name}.png"))).arg("--text").arg(&text);
    for word in wait {
        command.arg("--wait").arg(word);
    }
    let output = command.args(more).kill_on_drop(true).output().await.expect("node is installed");
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    std::fs::read_to_string(text).unwrap()
}

fn matches(count: usize) -> Vec<Match> {
    let people = [
        ("橋本 由紀子", "住吉区御幣島3丁目・国民健康保険 相談中（7月12日）"),
        ("橋本 健一", "住吉区御幣島3丁目・世帯主"),
        ("橋本 さくら", "西淀川区・児童手当"),
    ];
    let person = |(at, (name, note)): (usize, &(&str, &str))| Match {
        id: format!("c-{at}"),
        name: (*name).into(),
        note: Some((*note).into()),
        url: Some(format!("https://crm.example.jp/contacts/{at}")),
        ..Match::default()
    };
    people.iter().enumerate().take(count).map(person).collect()
}

/// A conversation as the demo plays it, `upto` turns of it.
fn talk(call: &Call, feed: &FeedHandle, upto: usize) {
    let lines = [
        (Speaker::Agent, "お電話ありがとうございます。大阪市総合コールセンター、担当の加藤でございます。"),
        (Speaker::Caller, "すみません、地域活動協議会について教えてください。"),
        (Speaker::Agent, "地域活動協議会についてのお問い合わせですね。お住まいの区を教えていただけますか。"),
        (Speaker::Caller, "はい、そうです。住吉区のみてじまに住んでいる橋本と申します。"),
        (Speaker::Agent, "勝山の区民センターでもお手続きいただけます。"),
        (Speaker::Caller, "だいこくちょうの老人福祉センターは何時まで開いていますか。"),
        (Speaker::Agent, "受付時間は午前9時から午後5時30分までです。"),
        (
            Speaker::Caller,
            "国民健康保険の脱退届も、そこで出せますか。子どもの分も一緒に持っていきたいのですが、印鑑は要りますか。",
        ),
        (
            Speaker::Agent,
            "はい、お子様の分も一緒にお手続きいただけます。印鑑は不要ですが、ご本人を確認できるものをお持ちください。",
        ),
        (Speaker::Caller, "わかりました。ありがとうございます。"),
    ];
    for (number, (speaker, text)) in lines.into_iter().enumerate().take(upto) {
        let mut said = call.said(12_000 + number as u64 * 7_000, speaker, number as u32, text);
        match number {
            3 => correct(&mut said, "みてじま", "御幣島", "ミテジマ"),
            5 => {
                correct(&mut said, "だいこくちょう", "大国町", "ダイコクチョウ");
                said.gaps = vec![(said.start_ms + 300, said.start_ms + 1_540)];
            }
            7 => correct(&mut said, "脱退届", "資格喪失届", "シカクソウシツトドケ"),
            8 => said.confidence = 0.31,
            _ => {}
        }
        feed.publish(&call.event_of(said));
    }
}

fn in_call(feed: &FeedHandle, seconds: i64, turns: usize) -> (Call, Agent) {
    let (call, kato) = (Call::new(1, ago(seconds), number("+819012345678")), agent("201", "加藤 花子"));
    feed.publish(&call.queued(0));
    feed.publish(&call.ringing(3_000, 1, &kato));
    feed.publish(&call.pop(3_010, 1, &kato, LookUp::Done, matches(1)));
    feed.publish(&call.answered(10_000, 1, &kato));
    talk(&call, feed, turns);
    (call, kato)
}

fn document(call: &Call, complete: bool) -> Event {
    let coverage = |speaker, transcribed, silent, lost, failed| LegCoverage {
        leg: call.leg(1),
        speaker,
        coverage: Coverage {
            duration: transcribed + silent + lost + failed,
            transcribed,
            silent,
            lost,
            failed,
            ..Coverage::default()
        },
        unheard: None,
    };
    let failed = Turn {
        utterance: "Caller/99".into(),
        leg: call.leg(1),
        speaker: Speaker::Caller,
        start: call.at(75_000),
        end: call.at(78_000),
        text: None,
        corrections: vec![],
        corrected: None,
    };
    let turns = if complete { vec![] } else { vec![failed] };
    let lost = if complete { 0 } else { 1_240 };
    let failed = if complete { 0 } else { 3_100 };
    let rows = vec![
        coverage(Speaker::Caller, 31_200, 52_460 - lost - failed, lost, failed),
        coverage(Speaker::Agent, 38_900, 44_760, 0, 0),
    ];
    let data = TranscriptDocument { revision: 1, turns, coverage: rows, complete, pauses: Vec::new() };
    call.event(96_000, None, Data::TranscriptDocument(data))
}

#[tokio::test]
#[ignore = "needs Chromium: tests/lab/chromium.sh"]
async fn while_it_rings_the_look_up_is_pending_and_then_there() {
    let (panel, feed) = start(Settings::default()).await;
    let (call, kato) = (Call::new(1, ago(14), number("+819012345678")), agent("201", "加藤 花子"));
    feed.publish(&call.queued(0));
    feed.publish(&call.ringing(8_000, 1, &kato));
    feed.publish(&call.pop(8_010, 1, &kato, LookUp::Pending, vec![]));
    let text = shot(&panel, "?extension=201", "ringing-pending", &["着信中", "照会しています"], &[]).await;
    assert!(text.contains("090-1234-5678") && text.contains("携帯電話"), "{text}");
    feed.publish(&call.pop(8_300, 1, &kato, LookUp::Done, matches(1)));
    let text = shot(&panel, "?extension=201", "ringing-one", &["橋本 由紀子"], &[]).await;
    assert!(text.contains("総合案内") && text.contains("06-4301-7285") && text.contains("加藤 花子"), "{text}");
    feed.publish(&call.withdrawn(9_000, 1, &kato, WithdrawReason::AnsweredElsewhere));
    let gone = CallEnded {
        reason: EndReason::AnsweredElsewhere,
        caller: call.caller.clone(),
        called: "0643017285".into(),
        started: call.start,
        legs: vec![LegRecord {
            leg: call.leg(1),
            agent: kato.clone(),
            tier: kakehashi::call::Tier::Second,
            queue: None,
            previous_leg: None,
            offered: call.start,
            ringing: Some(call.at(8_000)),
            answered: None,
            ended: Some(call.at(9_000)),
            reason: Some(EndReason::AnsweredElsewhere),
        }],
        keys: vec![],
    };
    feed.publish(&call.event(9_000, Some(call.leg(1)), Data::CallEnded(gone)));
    let text = shot(&panel, "?extension=201", "ringing-withdrawn", &["着信を待っています"], &[]).await;
    assert!(!text.contains("090-1234-5678") && text.contains("表示する応対はありません"), "{text}");
}

#[tokio::test]
#[ignore = "needs Chromium: tests/lab/chromium.sh"]
async fn a_withdrawn_pop_says_why_before_it_goes() {
    let (panel, feed) = start(Settings::default()).await;
    let kato = agent("201", "加藤 花子");
    // again and again, until the page has seen a pop come and go
    let ring = async {
        for n in 1.. {
            let call = Call::new(n, ago(3), number("+819012345678"));
            feed.publish(&call.ringing(0, 1, &kato));
            feed.publish(&call.pop(0, 1, &kato, LookUp::Pending, vec![]));
            tokio::time::sleep(std::time::Duration::from_millis(300)).await;
            feed.publish(&call.withdrawn(3_000, 1, &kato, WithdrawReason::AnsweredElsewhere));
            feed.publish(&call.ended(3_000, EndReason::CallerHangup));
            tokio::time::sleep(std::time::Duration::from_millis(3_000)).await;
        }
    };
    let gone = ["--gone", "着信中"];
    tokio::select! {
        text = shot(&panel, "?extension=201", "withdrawn", &["ほかの担当者が応答しました"], &gone) => assert!(text.contains("着信終了") && !text.contains("呼出中"), "{text}"),
        () = ring => {}
    }
}

#[tokio::test]
#[ignore = "needs Chromium: tests/lab/chromium.sh"]
async fn several_candidates_and_no_number_are_normal_states() {
    let (panel, feed) = start(Settings::default()).await;
    let (call, kato) = (Call::new(1, ago(9), number("+81662088181")), agent("201", "加藤 花子"));
    feed.publish(&call.ringing(4_000, 1, &kato));
    feed.publish(&call.pop(4_000, 1, &kato, LookUp::Done, matches(3)));
    for (n, withheld) in [Withheld::Refused, Withheld::Payphone, Withheld::Unavailable, Withheld::ServiceConflict]
        .into_iter()
        .enumerate()
    {
        let caller = Caller { withheld: Some(withheld), ..Caller::default() };
        let (call, other) = (Call::new(2 + n as u128, ago(6 - n as i64), caller), agent("202", "鈴木 一郎"));
        feed.publish(&call.ringing(0, 1, &other));
        feed.publish(&call.pop(0, 1, &other, LookUp::Skipped, vec![]));
    }
    let wait = ["06-6208-8181", "3件の登録", "非通知", "公衆電話", "表示圏外", "サービス競合"];
    shot(&panel, "", "ringing-many", &wait, &["--height", "900"]).await;
}

/// What the CRM has of her stands below her name; texts stay texts, and what is no web address is no link.
#[tokio::test]
#[ignore = "needs Chromium: tests/lab/chromium.sh"]
async fn open_cases_and_earlier_calls_stand_below_the_caller() {
    let (panel, feed) = start(Settings::default()).await;
    let (call, kato) = (Call::new(1, ago(9), number("+819012345678")), agent("201", "加藤 花子"));
    let entry = |title: &str, days: i64, state: Option<&str>, url: &str| Entry {
        title: title.into(),
        time: Some(ago(days * 86_400)),
        state: state.map(String::from),
        url: (!url.is_empty()).then(|| url.into()),
    };
    let mut found = matches(1);
    found[0].cases = vec![
        entry("国民健康保険の減免 <img src=x onerror=alert(1)>", 3, Some("審査中"), "https://crm.example.jp/web#id=1"),
        entry("住民票の写し", 40, Some("新規"), "javascript:alert(1)"),
        Entry { title: "時期も状態も分からない案件".into(), ..Entry::default() },
    ];
    found[0].history = (1..=7).map(|n| entry(&format!("着信 {n}回前"), n * 10, Some("完了"), "")).collect();
    feed.publish(&call.ringing(4_000, 1, &kato));
    feed.publish(&call.pop(4_000, 1, &kato, LookUp::Done, found));
    let wait = ["未完了の案件", "<img src=x onerror=alert(1)>", "審査中", "これまでの応対", "着信 5回前"];
    let mut all = matches(3);
    all.iter_mut().for_each(|one| one.cases = vec![entry("児童手当", 2, Some("新規"), "https://crm.example.jp/2")]);
    let script = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("links.js");
    let links = r#"if ([...document.querySelectorAll(".entries a")].map((link) => `${link.href} ${link.rel}`).join() !==
        "https://crm.example.jp/web#id=1 noopener noreferrer") throw new Error("links: " + document.querySelector(".entries").innerHTML)"#;
    std::fs::write(&script, links).unwrap();
    let more = ["--height", "900", "--eval", script.to_str().unwrap()];
    let text = shot(&panel, "?extension=201", "ringing-cases", &wait, &more).await;
    assert!(!text.contains("着信 6回前"), "five at most: {text}");
    feed.publish(&call.pop(4_500, 1, &kato, LookUp::Done, all));
    shot(&panel, "?extension=201", "ringing-cases-many", &["3件の登録", "児童手当"], &[]).await;
}

#[tokio::test]
#[ignore = "needs Chromium: tests/lab/chromium.sh"]
async fn in_the_call_both_parties_are_read_on_their_sides() {
    let (panel, feed) = start(Settings::default()).await;
    let (call, _) = in_call(&feed, 85, 9);
    let text = shot(&panel, "?extension=201", "call", &["通話中", "印鑑は不要"], &["--focus", ".fix"]).await;
    assert!(text.contains("音声欠落 1.2秒") && text.contains("資格喪失届") && text.contains("発信者"), "{text}");
    let behind = TranscriptDelayed { waiting: 3, behind_ms: 8_200 };
    feed.publish(&call.event(84_000, None, Data::TranscriptDelayed(behind)));
    let up = ["--scroll-up", ".talk-box", "--focus", ".fix", "--height", "640"];
    let text = shot(&panel, "?extension=201", "call-behind", &["3件が認識待ち"], &up).await;
    assert!(text.contains("最新へ"), "{text}");
    let zoomed = ["--zoom", "2", "--full"];
    shot(&panel, "?extension=201", "call-zoom", &["印鑑は不要"], &zoomed).await;
    // another telephone of the same operator rings meanwhile
    let second = Call::new(2, ago(4), number("+815012345678"));
    feed.publish(&second.ringing(0, 1, &agent("201", "加藤 花子")));
    feed.publish(&second.pop(0, 1, &agent("201", "加藤 花子"), LookUp::Done, vec![]));
    let text = shot(&panel, "?extension=201", "call-and-ring", &["着信中", "登録なし"], &[]).await;
    assert!(text.contains("印鑑は不要"), "the call stays on the screen: {text}");
}

#[tokio::test]
#[ignore = "needs Chromium: tests/lab/chromium.sh"]
async fn an_operator_puts_a_text_right_and_everybody_sees_it() {
    let settings = Settings { listen: ([127, 0, 0, 1], 0).into(), ..Settings::default() };
    let feed = FeedHandle::new(settings.limits()).unwrap();
    let (call, _) = in_call(&feed, 85, 0);
    let heard = call.said(20_000, Speaker::Caller, 3, "ミクニの<b>マド</b>口");
    let utterance = heard.utterance.clone();
    feed.publish(&call.event_of(heard));
    let (shown, told, leg) =
        (feed.clone(), std::sync::Mutex::new(Call::new(1, ago(85), number("+819012345678"))), call.leg(1));
    // the bridge: what is asked becomes an event
    let controller: Controller = std::sync::Arc::new(move |wish| {
        let Control::Correct { correction, answer, .. } = wish else { return false };
        let (text, revision) = (correction.text, correction.revision.unwrap() + 1);
        let data = TranscriptCorrected {
            leg,
            utterance: correction.utterance,
            revision,
            speaker: Speaker::Caller,
            start: told.lock().unwrap().at(20_000),
            before: "ミクニの<b>マド</b>口".into(),
            text: text.clone(),
            from: "panel".into(),
            agent: correction.agent,
        };
        shown.publish(&told.lock().unwrap().event(84_000, Some(leg), Data::TranscriptCorrected(data)));
        let (stored, resolves) = tokio::sync::oneshot::channel();
        stored.send(()).unwrap();
        answer.send(Ok((Corrected { revision, text }, resolves))).is_ok()
    });
    let panel = spawn(settings, feed.clone(), Some(controller)).await.unwrap();
    let script = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("correct.js");
    std::fs::write(&script, "(async () => { const field = document.querySelector('.correct-text'); const before = field.value; field.value = '三国の <i>窓口</i>'; \
         document.querySelector('.correct-form').requestSubmit(); \
         while (document.querySelector('.correct-form') || !document.querySelector('.tag.corrected')) await new Promise((done) => setTimeout(done, 20)); return before; })()").unwrap();
    let acts = ["--click", ".correct-button", "--eval", script.to_str().unwrap()];
    let text = shot(&panel, "?extension=201", "correcting", &["通話中", "マド", "✎"], &acts).await;
    assert!(text.contains("三国の <i>窓口</i>") && text.contains("訂正済（201）") && !text.contains("マド"), "{text}");
    // whoever comes later sees it too, and what was heard; a final that comes again changes nothing
    feed.publish(&call.event_of(TranscriptFinal { utterance, ..call.said(20_000, Speaker::Caller, 3, "ミクニ") }));
    let text =
        shot(&panel, "", "corrected", &["三国の <i>窓口</i>", "訂正済（201）"], &["--click", ".correct-button"]).await;
    assert!(text.contains("訂正を保存"), "{text}");
}

#[tokio::test]
#[ignore = "needs Chromium: tests/lab/chromium.sh"]
async fn what_is_being_said_is_read_while_it_is_said_and_then_as_it_is_final() {
    let (panel, feed) = start(Settings::default()).await;
    let (call, _) = in_call(&feed, 60, 5);
    feed.publish(&call.partial(52_000, Speaker::Caller, 50, 1, ["", "だいこくちょう"]));
    let newest = ["大国町の老人福祉センターは", "何時まで開いて"];
    feed.publish(&call.partial(52_000, Speaker::Caller, 50, 2, newest));
    feed.publish(&call.partial(56_000, Speaker::Agent, 51, 1, ["", "はい"]));
    let more = ["--wait-css", ".turn.running.agent", "--gone", "だいこくちょう"];
    let text = shot(&panel, "?extension=201", "partial", &["何時まで開いて", "認識中"], &more).await;
    assert!(
        text.contains("大国町の老人福祉センターは何時まで開いて"),
        "settled text and the rest are one line: {text}"
    );
    feed.publish(&call.turn(52_000, Speaker::Caller, 50, "大国町の老人福祉センターは何時まで開いていますか。"));
    feed.publish(&call.partial(52_000, Speaker::Caller, 50, 3, ["大国町の老人福祉センターは", "何時まで"]));
    feed.publish(&call.partial(56_000, Speaker::Agent, 51, 2, ["", ""]));
    let text = shot(&panel, "?extension=201", "partial-final", &["開いていますか"], &["--gone", "認識中"]).await;
    assert_eq!(text.matches("大国町の老人福祉センターは").count(), 1, "once, and final: {text}");
}

#[tokio::test]
#[ignore = "needs Chromium: tests/lab/chromium.sh"]
async fn the_end_says_why_and_what_was_documented() {
    let (panel, feed) = start(Settings::default()).await;
    let (call, _) = in_call(&feed, 120, 10);
    feed.publish(&call.ended(94_000, EndReason::CallerHangup));
    shot(&panel, "?extension=201", "ended-writing", &["発信者が切断", "記録を作成しています"], &[]).await;
    feed.publish(&document(&call, false));
    let text = shot(&panel, "?extension=201", "ended-incomplete", &["未認識の部分", "認識できませんでした"], &[]).await;
    assert!(text.contains("認識失敗 3.1秒") && text.contains("音声欠落 1.2秒"), "{text}");
    let Data::TranscriptDocument(mut whole) = document(&call, true).data else { unreachable!() };
    whole.revision = 2;
    feed.publish(&call.event(97_000, None, Data::TranscriptDocument(whole)));
    shot(&panel, "?extension=201", "ended", &["第2版"], &[]).await;
}

#[tokio::test]
#[ignore = "needs Chromium: tests/lab/chromium.sh"]
async fn a_supervisor_sees_all_contacts() {
    let (panel, feed) = start(Settings::default()).await;
    let (call, kato) = in_call(&feed, 200, 6);
    feed.publish(&call.held(70_000, 1, &kato));
    let yamada = agent("305", "山田 太郎");
    feed.publish(&call.ringing(190_000, 2, &yamada));
    feed.publish(&call.pop(190_000, 2, &yamada, LookUp::Done, matches(1)));
    for n in 20..22 {
        let (new, suzuki) = (Call::new(n, ago(24 - n as i64), number("+81721621234")), agent("202", "鈴木 一郎"));
        feed.publish(&new.ringing(0, 1, &suzuki));
        feed.publish(&new.pop(0, 1, &suzuki, LookUp::Pending, vec![]));
    }
    for n in 2..14_u128 {
        let other = Call::new(n, ago(30 + n as i64 * 17), number(&format!("+8190{:08}", 12_345_670 + n)));
        let someone = agent(&format!("{}", 200 + n), "担当者");
        feed.publish(&other.queued(0));
        if n % 3 > 0 {
            feed.publish(&other.ringing(5_000, 1, &someone));
            feed.publish(&other.answered(9_000, 1, &someone));
            feed.publish(&other.turn(12_000, Speaker::Caller, 0, "粗大ごみの申し込みをお願いします。"));
        }
        if n % 5 == 0 {
            feed.publish(&other.ended(25_000, EndReason::AgentHangup));
        }
    }
    shot(&panel, "", "supervisor", &["待ち呼", "保留中", "終了", "呼出 2"], &["--click", "[data-contact$='c00001']"])
        .await;
}

#[tokio::test]
#[ignore = "needs Chromium: tests/lab/chromium.sh"]
async fn hostile_text_is_shown_as_text() {
    let (panel, feed) = start(Settings::default()).await;
    let evil = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>";
    let caller = Caller {
        number: None,
        raw: Some("\u{202e}8765-4321\u{0}<b>0120</b>".into()),
        display: Some(format!("{evil}\u{202e}\u{0}{}", "名".repeat(10_000))),
        ..Caller::default()
    };
    let (call, kato) = (Call::new(1, ago(20), caller), Agent { name: Some(evil.into()), ..agent("201", "") });
    let hostile = Match {
        id: "1".into(),
        name: evil.into(),
        note: Some("\u{2067}=cmd|' /C calc'!A0".into()),
        url: Some("javascript:alert(1)".into()),
        ..Match::default()
    };
    feed.publish(&call.queued(0));
    feed.publish(&call.ringing(1_000, 1, &kato));
    feed.publish(&call.pop(1_000, 1, &kato, LookUp::Done, vec![hostile]));
    let text = shot(&panel, "", "hostile-ringing", &["着信中"], &["--height", "900"]).await;
    assert!(
        text.contains("<script>document.title") && text.contains("以下省略") && !text.contains('\u{202e}'),
        "{text}"
    );
    assert!(!text.contains("CRMで開く"), "a script address must not become a link");
    feed.publish(&call.answered(2_000, 1, &kato));
    let mut said =
        call.said(5_000, Speaker::Caller, 0, &format!("{evil} \u{202e}右から左\u{0} {}", "長".repeat(3_000)));
    correct(&mut said, "右から左", "<u>左</u>", "<i>ヒダリ</i>");
    said.corrections.push(Correction {
        start: 9_999_999,
        end: 3,
        from: evil.into(),
        to: evil.into(),
        reading: evil.into(),
        distance: f32::NAN,
    });
    feed.publish(&call.event_of(said));
    let script = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("hostile.js");
    std::fs::write(&script, "document.querySelectorAll('.talk img, .talk script, .talk u, .talk i, a[href^=javascript]').length + document.title").unwrap();
    let text = shot(&panel, "", "hostile-call", &["通話中", "<u>左</u>"], &["--eval", script.to_str().unwrap()]).await;
    assert!(text.contains("<img src=x") && !text.contains('\u{202e}') && !text.contains('\0'), "{text}");
}

#[tokio::test]
#[ignore = "needs Chromium: tests/lab/chromium.sh"]
async fn an_operator_signs_in_with_the_token() {
    let (panel, feed) =
        start(Settings { token: Token::new("correct-horse-battery-staple"), ..Settings::default() }).await;
    in_call(&feed, 60, 4);
    let text = shot(&panel, "?extension=201", "sign-in", &["トークン"], &[]).await;
    assert!(!text.contains("090"), "{text}");
    let typed = ["--type", "#token=correct-horse-battery-staple", "--click", "#sign-in-form button", "--after", "1500"];
    let text = shot(&panel, "?extension=201", "signed-in", &["トークン"], &typed).await;
    assert!(text.contains("090-1234-5678") && text.contains("サインアウト"), "{text}");
    let wrong = ["--type", "#token=wrong", "--click", "#sign-in-form button", "--after", "1000"];
    let text = shot(&panel, "?extension=201", "sign-in-wrong", &["トークン"], &wrong).await;
    assert!(text.contains("トークンが違います"), "{text}");
}

#[tokio::test]
#[ignore = "needs Chromium: tests/lab/chromium.sh"]
async fn a_cut_connection_is_said_and_resumed_by_itself() {
    let one_seat = Settings { max_clients: 1, ..Settings::default() };
    let (panel, feed) = start(one_seat.clone()).await;
    in_call(&feed, 60, 4);
    let address = panel.local_addr;
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).with_file_name("panel");
    std::fs::create_dir_all(&folder).unwrap();
    let mut command = tokio::process::Command::new("node");
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lab/panel_shot.mjs"));
    command.arg("--url").arg(format!("http://{address}/?extension=201")).arg("--out").arg(folder.join("resumed.png"));
    command.args(["--wait", "切れている間の発話です。", "--wait", "接続中", "--gone", "接続が切れました"]);
    let page = command.kill_on_drop(true).output();
    let restart = async {
        // the page has the only seat: it is connected
        while !crate::client::Connection::get(address, "/v1/feed", "").await.until("\r\n\r\n").await.contains(" 503 ") {
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
        panel.close().await;
        let settings = Settings { listen: address, ..one_seat };
        let feed = FeedHandle::new(settings.limits()).unwrap();
        let (call, _) = in_call(&feed, 60, 4);
        feed.publish(&call.turn(50_000, Speaker::Caller, 50, "切れている間の発話です。"));
        spawn(settings, feed, None).await.unwrap()
    };
    let (output, _panel) = tokio::join!(page, restart);
    let output = output.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
#[ignore = "needs Chromium: tests/lab/chromium.sh"]
async fn the_operator_sees_what_kind_of_caller_it_is_from_where_it_was_diverted_and_that_it_is_paused() {
    let (panel, feed) = start(Settings::default()).await;
    let diverted = DivertedFrom {
        number: Some("+81662088181".into()),
        raw: Some("0662088181".into()),
        reason: Some(DivertReason::Busy),
    };
    let caller = Caller {
        kind: Some(NumberKind::Ip),
        tags: vec![Tag::Relay],
        diverted: Some(diverted),
        ..number("+815012345678")
    };
    let (call, kato) = (Call::new(1, ago(40), caller), agent("201", "加藤 花子"));
    feed.publish(&call.ringing(1_000, 1, &kato));
    feed.publish(&call.pop(1_010, 1, &kato, LookUp::Done, matches(1)));
    let text = shot(&panel, "?extension=201", "relay-ringing", &["着信中"], &[]).await;
    for words in ["電話リレーサービス", "通訳オペレーター", "転送元", "06-6208-8181（話中のため）", "IP電話（050）"]
    {
        assert!(text.contains(words), "{words}: {text}");
    }
    feed.publish(&call.answered(6_000, 1, &kato));
    talk(&call, &feed, 2);
    let running = shot(&panel, "?extension=201", "keep", &["一時停止する"], &[]).await;
    assert!(running.contains("録音・文字起こしの対象です"), "{running}");
    let pause = RecordingPause {
        scope: Scope::Both,
        cause: Cause::Asked,
        reason: None,
        record_paused: true,
        transcribe_paused: true,
    };
    feed.publish(&call.event(30_000, None, Data::RecordingPaused(pause.clone())));
    let paused = shot(&panel, "?extension=201", "keep-paused", &["再開する"], &[]).await;
    assert!(paused.contains("録音と文字起こしを一時停止しています"), "{paused}");
    let resumed = RecordingPause { record_paused: false, transcribe_paused: false, ..pause };
    feed.publish(&call.event(35_000, None, Data::RecordingResumed(resumed)));
    let again = shot(&panel, "?extension=201", "keep-again", &["一時停止する"], &[]).await;
    assert!(!again.contains("停止しています"), "{again}");
}

/// The new person reads who had the caller before, and what was said until then, while the telephone still rings.
#[tokio::test]
#[ignore = "needs Chromium: tests/lab/chromium.sh"]
async fn a_transferred_call_says_who_had_it_before() {
    let (panel, feed) = start(Settings::default()).await;
    let (call, kato) = in_call(&feed, 90, 6);
    let sato = agent("301", "佐藤 浩");
    let consultation = Call::new(2, ago(20), number("+815000000000"));
    let linked = ContactLinked {
        contact: consultation.contact,
        relation: kakehashi::pbx::Relation::Consultation,
        kind: kakehashi::pbx::TransferKind::Attended,
    };
    feed.publish(&call.event(80_000, None, Data::ContactLinked(linked)));
    feed.publish(&call.ringing(80_500, 2, &sato));
    let mut pop = call.pop(80_500, 2, &sato, LookUp::Done, matches(1));
    if let Data::ScreenPop(pop) = &mut pop.data {
        let transfer = PopTransfer { kind: kakehashi::pbx::TransferKind::Blind, leg: call.leg(1), agent: kato.clone() };
        pop.transfer = Some(transfer);
    }
    feed.publish(&pop);
    let wait = ["転送: 前の担当", "加藤 花子", "これまでの会話（6件）を読む", "地域活動協議会について教えてください"];
    let text = shot(&panel, "?extension=301", "transferred", &wait, &["--click", ".pop .quiet-button"]).await;
    assert!(text.contains("この件の相談の通話を開く"), "{text}");
}

/// The third tier reads why the citizen calls, and what was said, marked and heard; texts from outside stay texts.
#[tokio::test]
#[ignore = "needs Chromium: tests/lab/chromium.sh"]
async fn a_pop_says_why_and_what_is_handed_over() {
    let (panel, feed) = start(Settings::default()).await;
    let (call, kato) = in_call(&feed, 90, 6);
    let sato = agent("301", "佐藤 浩");
    let at = call.at(0);
    let context: ContactContext = serde_json::from_value(serde_json::json!({
        "context": uuid::Uuid::from_u128(7), "version": 1, "from": "portal", "by": "number", "posted": at, "attached": at,
        "known": {"reason": "住民票の写し <img src=x onerror=alert(1)>", "page": {"url": "https://portal.example.jp/juminhyo", "title": "住民票の写しの請求"},
            "chat": "javascript:alert(1)", "citizen": "ref-0815", "slots": [{"key": "通数", "value": "2通"}, {"key": "続柄", "value": "本人"}]},
    }))
    .unwrap();
    let utterance = |n: u64| format!("u{n}");
    let turn = |n: u64, speaker: &str, text: &str| serde_json::json!({"utterance": utterance(n), "leg": call.leg(1), "speaker": speaker, "start": call.at(n * 1_000), "text": text});
    let handover: Handover = serde_json::from_value(serde_json::json!({
        "handover": uuid::Uuid::from_u128(8), "revision": 1, "kind": "blind", "from_leg": call.leg(1), "from_agent": kato, "target": "0662088181",
        "note": "本人確認は済んでいます", "context": [context],
        "legs": [{"leg": call.leg(1), "agent": kato, "tier": "second", "offered": at, "answered": call.at(2_000), "ended": call.at(80_000), "reason": "transferred"}],
        "turns": [turn(3, "caller", "住民票の写しがほしいのですが"), turn(5, "agent", "番号は************ですね"), turn(7, "caller", "はい、急いでいます")],
        "omitted_turns": 4, "pending": 1,
        "marks": [{"mark": uuid::Uuid::from_u128(9), "utterance": utterance(7), "leg": call.leg(1), "speaker": "caller", "start": call.at(7_000), "text": "はい、急いでいます", "note": "期限あり"}],
        "terms": [{"surface": "住民票", "class": "procedure", "count": 2}, {"surface": "御幣島", "class": "place", "count": 1}],
    }))
    .unwrap();
    feed.publish(&call.event(60_000, None, Data::ContactContext(context.clone())));
    feed.publish(&call.event(80_000, Some(call.leg(1)), Data::ContactHandover(Box::new(handover.clone()))));
    feed.publish(&call.ringing(80_500, 2, &sato));
    let mut pop = call.pop(80_500, 2, &sato, LookUp::Done, matches(1));
    if let Data::ScreenPop(pop) = &mut pop.data {
        (pop.context, pop.handover) = (vec![context], Some(Box::new(handover)));
        let kind = kakehashi::pbx::TransferKind::Blind;
        pop.transfer = Some(PopTransfer { kind, leg: call.leg(1), agent: kato.clone() });
    }
    feed.publish(&pop);
    let wait = [
        "なぜ（事前の情報）",
        "<img src=x onerror=alert(1)>",
        "住民票の写しの請求",
        "2通",
        "引き継ぎ（転送）",
        "本人確認は済んでいます",
        "★ 発信者",
        "期限あり",
        "×2",
        "これより前の4件",
        "文字になっていない発話が1件",
        "番号は************ですね",
    ];
    let text = shot(&panel, "?extension=301", "handover", &wait, &["--width", "1280", "--height", "1000"]).await;
    assert!(!text.contains("チャットを開く"), "an address of no web page is no link: {text}");
    // whoever has the call marks passages and writes the note
    let own = shot(
        &panel,
        &format!("?extension={}", kato.extension),
        "marking",
        &["引き継ぎメモ", "☆", "なぜ（事前の情報）"],
        &["--click", ".mark-button"],
    )
    .await;
    assert!(own.contains("保存"), "{own}");
}
