//! `kakehashi model`: fetching by real HTTP and TLS with every fault on the way, importing, verifying, listing.

#[path = "common/http.rs"]
mod http;
#[path = "common/tls.rs"]
mod tls;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use http::{Proxy, Reply, Request, Server};
use kakehashi::cli::model::InstallError;
use kakehashi::cli::model::fetch::{FetchError, fetch};
use kakehashi::speech::catalogue::{Catalogue, Model, Settings};
use kakehashi::speech::manifest::Manifest;

/// The file that every server of these tests offers: the shipped model.
static WHOLE: LazyLock<Arc<Vec<u8>>> =
    LazyLock::new(|| Arc::new(std::fs::read("models/kakehashi-lab-ja.bin").unwrap()));
const LENGTH: usize = 28_269_625;
const FILE: &str = "kakehashi-lab-ja.bin";
/// Tries without a pause.
const AT_ONCE: [Duration; 3] = [Duration::ZERO; 3];

fn model() -> Model {
    Catalogue::built_in().find("kakehashi-lab-ja").unwrap().clone()
}

fn settings(dir: &Path, mirror: &str) -> Settings {
    Settings { dir: dir.into(), mirror: mirror.into(), proxy: "none".into(), ..Settings::default() }
}

async fn fetched(dir: &Path, server: &Server) -> Result<PathBuf, FetchError> {
    fetch(&model(), &settings(dir, &server.url("/m")), &AT_ONCE, &mut |_| {}).await
}

/// The first byte that is asked for.
fn start_of(request: &Request) -> usize {
    let range = request.header("range");
    if range.is_empty() { 0 } else { range.strip_prefix("bytes=").unwrap().strip_suffix('-').unwrap().parse().unwrap() }
}

/// The answer of a server that keeps to RFC 9110: the part that is asked for, when the tag still fits.
fn right(request: &Request, tag: &str) -> Reply {
    let start = start_of(request);
    let stale = !request.header("if-range").is_empty() && request.header("if-range") != tag;
    if start == 0 || stale {
        return Reply::new(200, WHOLE.to_vec()).with("ETag", tag);
    }
    let range = format!("bytes {start}-{}/{LENGTH}", LENGTH - 1);
    Reply::new(206, WHOLE[start..].to_vec()).with("ETag", tag).with("Content-Range", range)
}

fn is_whole(dir: &Path) {
    assert!(std::fs::read(dir.join(FILE)).unwrap() == **WHOLE, "the file is not the one that was offered");
    let manifest = Manifest::parse(&std::fs::read_to_string(dir.join("kakehashi-lab-ja.toml")).unwrap()).unwrap();
    assert_eq!(manifest.file.unwrap().sha256, model().sha256);
    let mut names: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, [FILE, "kakehashi-lab-ja.toml"], "nothing else is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_cut_again_and_again_is_taken_up_where_it_ended() {
    let server = Server::start(|number, request| {
        let reply = right(request, "\"v1\"");
        // more cuts than tries: each brings something, so the tries begin anew
        if number < 8 { reply.cut_after(3_000_000) } else { reply }
    });
    let dir = tempfile::tempdir().unwrap();
    let path = fetched(dir.path(), &server).await.unwrap();
    assert_eq!(path, dir.path().join(FILE));
    is_whole(dir.path());
    let requests = server.requests();
    assert_eq!((requests.len(), requests[0].header("range"), requests[0].header("if-range")), (9, "", ""));
    assert!(requests[1..].iter().all(|request| request.header("if-range") == "\"v1\""));
    let starts: Vec<usize> = requests.iter().map(start_of).collect();
    assert!(starts.is_sorted_by(|a, b| a < b) && *starts.last().unwrap() > 20_000_000, "{starts:?}");
    assert!(requests.iter().all(|request| request.target == "/m/kakehashi-lab-ja.bin"));
    // a second fetch only computes the checksum
    fetched(dir.path(), &server).await.unwrap();
    assert_eq!(server.requests().len(), 9);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_run_left_is_taken_up_and_a_changed_etag_begins_anew() {
    let dir = tempfile::tempdir().unwrap();
    let part = dir.path().join(format!("{FILE}.part"));
    let cut = Server::start(|_, request| {
        right(request, "\"old\"").cut_after(if start_of(request) == 0 { 1_000_000 } else { 0 })
    });
    let error = fetched(dir.path(), &cut).await.unwrap_err().to_string();
    assert!(error.contains("run the command again") && error.contains(".part"), "{error}");
    assert!(std::fs::metadata(&part).unwrap().len() >= 900_000);
    // the origin has another file now: If-Range makes it send the whole
    let server = Server::start(|_, request| right(request, "\"new\""));
    fetched(dir.path(), &server).await.unwrap();
    is_whole(dir.path());
    assert_eq!(server.requests()[0].header("if-range"), "\"old\"");
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_ranges_and_one_with_weak_tags_still_give_the_whole_file() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(|number, _| {
        let reply = Reply::new(200, WHOLE.to_vec());
        if number == 0 { reply.cut_after(2_000_000) } else { reply }
    });
    fetched(dir.path(), &server).await.unwrap();
    is_whole(dir.path());

    // each time a little more than the time before, and never all: it is not asked for ever
    let dir = tempfile::tempdir().unwrap();
    let endless = Server::start(|number, _| Reply::new(200, WHOLE.to_vec()).cut_after(1_000_000 + number * 10_000));
    let error = fetched(dir.path(), &endless).await.unwrap_err().to_string();
    assert!(error.contains("run the command again"), "{error}");
    assert_eq!(endless.requests().len(), AT_ONCE.len() + 1);
    // also where a good answer in between brings something each time
    let dir = tempfile::tempdir().unwrap();
    let mixed = Server::start(|number, request| match number % 2 {
        0 => Reply::new(200, WHOLE.to_vec()).with("ETag", "\"v1\"").cut_after(1_000_000),
        _ => right(request, "\"v1\"").cut_after(1_000_000),
    });
    assert!(fetched(dir.path(), &mixed).await.is_err());
    assert_eq!(mixed.requests().len(), 2 * AT_ONCE.len() + 1);

    let dir = tempfile::tempdir().unwrap();
    let weak = Server::start(|number, request| {
        assert_eq!(request.header("if-range"), "", "a weak tag may not stand there");
        let reply = right(request, "W/\"v1\"");
        if number == 0 { reply.cut_after(2_000_000) } else { reply }
    });
    fetched(dir.path(), &weak).await.unwrap();
    is_whole(dir.path());
    assert!(start_of(&weak.requests()[1]) > 1_000_000, "the checksum tells whether the parts belong together");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_answers_to_a_range_are_not_put_together() {
    // another start than was asked for; a tag of another file; a range that cannot be; nothing of that length (416)
    type Fault = fn(&Request) -> Reply;
    let faults: [Fault; 4] = [
        |_| Reply::new(206, WHOLE[5..].to_vec()).with("Content-Range", format!("bytes 5-{}/{LENGTH}", LENGTH - 1)),
        |request| {
            let start = start_of(request);
            let range = format!("bytes {start}-{}/{LENGTH}", LENGTH - 1);
            Reply::new(206, WHOLE[start..].to_vec()).with("ETag", "\"other\"").with("Content-Range", range)
        },
        |_| Reply::new(206, b"x".to_vec()).with("Content-Range", "bytes 9-5/3"),
        |_| Reply::new(416, Vec::new()).with("Content-Range", "bytes */5"),
    ];
    for (number_of_fault, fault) in faults.into_iter().enumerate() {
        let server = Server::start(move |number, request| match number {
            0 => right(request, "\"v1\"").cut_after(1_000_000),
            1 => fault(request), // If-Range is not looked at
            _ => right(request, "\"v2\""),
        });
        let dir = tempfile::tempdir().unwrap();
        fetched(dir.path(), &server).await.unwrap_or_else(|error| panic!("fault {number_of_fault}: {error}"));
        is_whole(dir.path());
        let starts: Vec<usize> = server.requests().iter().map(start_of).collect();
        assert!(starts.len() == 3 && starts[1] > 0 && starts[2] == 0, "fault {number_of_fault}: {starts:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_file_is_removed_and_never_installed() {
    let mut damaged = WHOLE.to_vec();
    damaged[20_000_000] ^= 1;
    let damaged = Arc::new(damaged);
    let server = Server::start(move |_, _| Reply::new(200, damaged.to_vec()));
    let dir = tempfile::tempdir().unwrap();
    let error = fetched(dir.path(), &server).await.unwrap_err();
    assert!(matches!(&error, FetchError::Install(InstallError::Wrong { mismatch, .. }) if mismatch.what == "SHA-256"));
    let said = error.to_string();
    assert!(said.contains(&model().sha256) && said.contains("Try again") && said.contains("127.0.0.1"), "{said}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is left of it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_a_proxy_a_longer_file_and_a_shorter_one_are_told_at_once() {
    let page = Server::start(|_, _| Reply::new(200, "<html>Please log in</html>").with("Content-Type", "text/html"));
    let longer = Server::start(|_, _| Reply { unsized_body: true, ..Reply::new(200, vec![0; LENGTH + 1]) });
    for (server, part) in [(page, "it has 26 bytes"), (longer, "longer")] {
        let dir = tempfile::tempdir().unwrap();
        let said = fetched(dir.path(), &server).await.unwrap_err().to_string();
        assert!(said.contains(part) && said.contains("28269625 bytes") && said.contains("--mirror"), "{said}");
        assert_eq!(server.requests().len(), 1);
        assert!(!dir.path().join(FILE).exists());
    }
    // the end of a body without a length is no end of the file
    let shorter = Server::start(|number, request| match number {
        0 => Reply { unsized_body: true, ..Reply::new(200, WHOLE[..5_000_000].to_vec()) },
        _ => right(request, "\"v1\""),
    });
    let dir = tempfile::tempdir().unwrap();
    fetched(dir.path(), &shorter).await.unwrap();
    is_whole(dir.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_say_what_to_do_and_a_busy_server_is_asked_again() {
    for (status, part) in [(404, "own names"), (403, "--mirror"), (401, "who asks"), (302, "redirects")] {
        let server = Server::start(move |_, _| Reply::new(status, "secret page"));
        let dir = tempfile::tempdir().unwrap();
        let said = fetched(dir.path(), &server).await.unwrap_err().to_string();
        assert!(
            said.contains(&format!("status {status}")) && said.contains(part) && !said.contains("secret"),
            "{said}"
        );
        assert_eq!(server.requests().len(), 1, "{status}");
    }
    let busy = Server::start(|number, request| match number {
        0 => Reply::new(503, "").with("Retry-After", "0"),
        1 => Reply::new(429, ""),
        _ => right(request, "\"v1\""),
    });
    let dir = tempfile::tempdir().unwrap();
    fetched(dir.path(), &busy).await.unwrap();
    is_whole(dir.path());
    let always = Server::start(|_, _| Reply::new(500, ""));
    let said = fetched(tempfile::tempdir().unwrap().path(), &always).await.unwrap_err().to_string();
    assert!(said.contains("status 500") && said.contains("0 of 28269625 bytes"), "{said}");
    assert_eq!(always.requests().len(), AT_ONCE.len() + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn redirections_are_followed_with_the_range_and_never_from_tls_to_plain() {
    let target = Server::start(|number, request| {
        let reply = right(request, "\"v1\"");
        if number == 0 { reply.cut_after(1_000_000) } else { reply }
    });
    let to = target.url("/store/abc?Signature=s3cret");
    let origin = Server::start(move |_, _| Reply::new(302, "").with("Location", to.clone()));
    let dir = tempfile::tempdir().unwrap();
    fetched(dir.path(), &origin).await.unwrap();
    is_whole(dir.path());
    assert_eq!(origin.requests().len(), 2, "the origin is asked again: the address it gave may have expired");
    assert!(start_of(&target.requests()[1]) > 500_000 && target.requests()[1].header("if-range") == "\"v1\"");

    let authority = tls::Authority::new();
    let files = tls::Files::new();
    let pair = authority.issue(&["127.0.0.1"]);
    let plain = target.url("/x");
    let secure = Server::start_tls(&pair.certificate, &pair.key, move |_, _| {
        Reply::new(302, "").with("Location", plain.clone())
    });
    let dir = tempfile::tempdir().unwrap();
    let mirror = format!("https://{}/m", secure.address);
    let settings = Settings { ca: files.write("ca.pem", &authority.pem()), ..settings(dir.path(), &mirror) };
    let said = fetch(&model(), &settings, &AT_ONCE, &mut |_| {}).await.unwrap_err().to_string();
    assert!(said.contains("status 302") && said.contains("https to http"), "{said}");
    assert_eq!(target.requests().len(), 2, "it was not asked");
    let endless = Arc::new(std::sync::OnceLock::<String>::new());
    let own = endless.clone();
    let circle = Server::start(move |_, _| Reply::new(302, "").with("Location", own.get().unwrap().clone()));
    endless.set(circle.url("/m/again")).unwrap();
    let said = fetched(dir.path(), &circle).await.unwrap_err().to_string();
    assert!(said.contains("too often"), "{said}");
}

fn kakehashi(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kakehashi"));
    for name in
        ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy"]
    {
        command.env_remove(name);
    }
    command.args(args).output().unwrap()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn through_a_proxy_to_a_mirror_with_a_private_authority_by_the_configuration() {
    let authority = tls::Authority::new();
    let files = tls::Files::new();
    let pair = authority.issue(&["models.example.test"]);
    let server = Server::start_tls(&pair.certificate, &pair.key, |number, request| {
        let reply = right(request, "\"v1\"");
        if number == 0 { reply.cut_after(4_000_000) } else { reply }
    });
    // user:pass in base64
    let proxy = Proxy::start(server.address, Some("Basic dXNlcjpwYXNz"));
    let dir = tempfile::tempdir().unwrap();
    let config = files.write(
        "kakehashi.toml",
        &format!(
            "[models]\ndir = {:?}\nmirror = \"https://models.example.test/whisper\"\nproxy = \"http://user:pass@127.0.0.1:{}\"\nca = {:?}\n",
            dir.path(),
            proxy.port,
            files.write("ca.pem", &authority.pem())
        ),
    );
    let config = config.to_str().unwrap();
    let output = kakehashi(&["model", "fetch", "kakehashi-lab-ja", "--config", config]);
    assert!(output.status.success(), "{}", said(&output));
    assert!(said(&output).contains("[speech] model"), "{}", said(&output));
    is_whole(dir.path());
    let targets = proxy.targets.lock().unwrap().clone();
    assert!(
        !targets.is_empty() && targets.iter().all(|target| target == "CONNECT models.example.test:443"),
        "{targets:?}"
    );
    assert!(start_of(&server.requests()[1]) > 3_000_000);
    // verified and listed as what it is
    let output = kakehashi(&["model", "verify", "--config", config]);
    assert!(
        output.status.success() && said(&output).contains("as published for kakehashi-lab-ja"),
        "{}",
        said(&output)
    );
    let list = kakehashi(&["model", "list", "--json", "--config", config]);
    let list: serde_json::Value = serde_json::from_slice(&list.stdout).unwrap();
    let state =
        |name: &str| list.as_array().unwrap().iter().find(|model| model["name"] == name).unwrap()["state"].clone();
    assert_eq!((state("kakehashi-lab-ja"), state("large-v3-turbo")), ("installed".into(), "absent".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_authority_a_proxy_that_refuses_and_wrong_settings_are_named() {
    let authority = tls::Authority::new();
    let pair = authority.issue(&["models.example.test"]);
    let server = Server::start_tls(&pair.certificate, &pair.key, |_, request| right(request, "\"v1\""));
    let dir = tempfile::tempdir().unwrap();
    let files = tls::Files::new();
    let ca = files.write("ca.pem", &authority.pem());
    let open = Proxy::start(server.address, None);
    let closed = Proxy::start(server.address, Some("Basic nobody"));
    let mirror = "https://models.example.test/m";
    let by = |proxy: &str, ca: PathBuf| Settings { proxy: proxy.into(), ca, ..settings(dir.path(), mirror) };
    let (open, closed) =
        (format!("http://127.0.0.1:{}", open.port), format!("http://u:s3cret@127.0.0.1:{}", closed.port));
    for (settings, part) in [
        (by(&open, PathBuf::new()), "--ca"),
        (by(&closed, ca.clone()), "proxy wants user and password"),
        (by("127.0.0.1:3128", ca.clone()), "[models] proxy"),
        (by("socks5://127.0.0.1:1", ca.clone()), "http://[user:password@]host:port"),
        (by(&open, files.write("empty.pem", "")), "no certificate is in it"),
        (by(&open, files.path("absent.pem")), "absent.pem"),
        (settings(dir.path(), "ftp://mirror/m"), "scheme `ftp`"),
        (settings(dir.path(), ""), "no origin"),
    ] {
        let said = fetch(&model(), &settings, &[Duration::ZERO], &mut |_| {}).await.unwrap_err().to_string();
        assert!(said.contains(part) && !said.contains("s3cret"), "{part} in {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_and_a_second_fetch_are_told_before_and_while_it_is_written() {
    let server = Server::start(|_, request| right(request, "\"v1\""));
    let dir = tempfile::tempdir().unwrap();
    let huge = Model { bytes: 1 << 60, ..model() };
    let error = fetch(&huge, &settings(dir.path(), &server.url("/m")), &AT_ONCE, &mut |_| {}).await.unwrap_err();
    assert!(matches!(error, FetchError::Install(InstallError::Room { .. })), "{error}");
    assert!(server.requests().is_empty(), "nobody was asked");

    let full = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("/dev/full", full.path().join(format!("{FILE}.part"))).unwrap();
    let said = fetched(full.path(), &server).await.unwrap_err().to_string();
    assert!(said.contains("No space left on device") && said.contains("goes on where it stopped"), "{said}");

    let held = tempfile::tempdir().unwrap();
    let part = std::fs::File::create(held.path().join(format!("{FILE}.part"))).unwrap();
    let lock = nix::fcntl::Flock::lock(part, nix::fcntl::FlockArg::LockExclusiveNonblock).unwrap();
    let said = fetched(held.path(), &server).await.unwrap_err().to_string();
    assert!(said.contains("another kakehashi"), "{said}");
    drop(lock);
    fetched(held.path(), &server).await.unwrap();
    is_whole(held.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn thresholds_that_were_set_stay_and_what_is_in_the_way_is_not_overwritten() {
    let server = Server::start(|_, request| right(request, "\"v1\""));
    let dir = tempfile::tempdir().unwrap();
    let manifest = dir.path().join("kakehashi-lab-ja.toml");
    std::fs::write(&manifest, "[decode]\nbeam = 3\n").unwrap();
    fetched(dir.path(), &server).await.unwrap();
    let kept = Manifest::parse(&std::fs::read_to_string(&manifest).unwrap()).unwrap();
    assert_eq!((kept.decode.beam, kept.file.unwrap().bytes), (3, LENGTH as u64));

    let other = tempfile::tempdir().unwrap();
    std::fs::write(other.path().join("kakehashi-lab-ja.toml"), "[decode]\nbeams = 3\n").unwrap();
    let before = server.requests().len();
    let said = fetched(other.path(), &server).await.unwrap_err().to_string();
    assert!(
        said.contains("kakehashi-lab-ja.toml") && said.contains("beams") && server.requests().len() == before,
        "{said}"
    );

    let mine = tempfile::tempdir().unwrap();
    std::fs::write(mine.path().join(FILE), "mine").unwrap();
    let said = fetched(mine.path(), &server).await.unwrap_err().to_string();
    assert!(said.contains(FILE), "{said}");
    assert_eq!(std::fs::read(mine.path().join(FILE)).unwrap(), b"mine");
}

#[test]
fn a_stick_brings_a_model_only_when_its_checksum_is_known() {
    let (stick, models) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let dir = models.path().to_str().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = stick.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    };
    // renamed on the way: known by its content
    let renamed = file("copy of model.bin", &WHOLE);
    let output = kakehashi(&["model", "import", &renamed, "--dir", dir]);
    assert!(output.status.success(), "{}", said(&output));
    is_whole(models.path());
    // again: nothing to do
    assert!(kakehashi(&["model", "import", &renamed, "--dir", dir]).status.success());

    let mut damaged = WHOLE.to_vec();
    damaged[25_000_000] ^= 1;
    let cases = [
        (vec![file(FILE, &damaged)], "its SHA-256 is"),
        (
            vec![file("half.bin", &WHOLE[..1_000_000]), "--name".into(), "kakehashi-lab-ja".into()],
            "its size is 1000000 bytes",
        ),
        (vec![file("own.bin", &damaged)], "--sha256"),
        (vec![file("own.bin", &damaged), "--sha256".into(), "ab".repeat(32)], "copy it again"),
        (vec![file("own.bin", &damaged), "--sha256".into(), "ab".into()], "64 hexadecimal digits"),
        (vec![file("whole.bin", &WHOLE), "--name".into(), "no-such".into()], "large-v3-turbo"),
        (vec![stick.path().join("absent.bin").to_str().unwrap().into()], "absent.bin"),
    ];
    for (args, part) in cases {
        let mut all = vec!["model", "import", "--dir", dir];
        all.extend(args.iter().map(String::as_str));
        let output = kakehashi(&all);
        assert!(!output.status.success() && said(&output).contains(part), "{part} in {}", said(&output));
    }
    is_whole(models.path());
}

#[test]
fn an_own_model_with_the_checksum_of_its_supplier_is_taken_and_a_foreign_file_is_not() {
    use sha2::Digest;
    let (stick, models) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let dir = models.path().to_str().unwrap();
    let hex = |bytes: &[u8]| sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let mut own = WHOLE.to_vec();
    let last = own.len() - 1;
    own[last] ^= 1; // another weight
    std::fs::write(stick.path().join("city.bin"), &own).unwrap();
    std::fs::write(stick.path().join("text.bin"), "no model").unwrap();
    let import = |name: &str, sum: &str| {
        kakehashi(&["model", "import", stick.path().join(name).to_str().unwrap(), "--dir", dir, "--sha256", sum])
    };
    let output = import("city.bin", &hex(&own));
    assert!(output.status.success(), "{}", said(&output));
    let output = import("text.bin", &hex(b"no model"));
    assert!(!output.status.success() && said(&output).contains("ggml format"), "{}", said(&output));
    assert!(!models.path().join("text.bin").exists() && !models.path().join("text.bin.part").exists());
    let output = kakehashi(&["model", "verify", "--dir", dir]);
    assert!(output.status.success() && said(&output).contains("as its manifest says"), "{}", said(&output));
    // a bit that tips over on the disk is found
    own[10_000_000] ^= 4;
    std::fs::write(models.path().join("city.bin"), &own).unwrap();
    let output = kakehashi(&["model", "verify", "--dir", dir]);
    assert!(
        !output.status.success() && said(&output).contains("WRONG") && said(&output).contains("1 of 1"),
        "{}",
        said(&output)
    );
}

#[test]
fn the_list_names_every_model_and_says_what_was_not_proved() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("ggml-tiny.bin"), "x").unwrap();
    std::fs::File::create(dir.path().join("ggml-base.bin.part")).unwrap().set_len(73_975_733).unwrap();
    let output = kakehashi(&["model", "list", "--dir", dir.path().to_str().unwrap()]);
    let text = said(&output);
    for part in ["large-v3-turbo-q5_0", "Apache-2.0", "other file", "50 %", "No checksum was computed", "1877"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let output = kakehashi(&["model", "fetch", "large-v4"]);
    assert!(!output.status.success() && said(&output).contains("expected one of: large-v3-turbo"), "{}", said(&output));
}
