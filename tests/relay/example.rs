//! The example of a relay's configuration is good, and what is wrong in one names its key.

use std::process::Command;

use crate::ends::Place;

fn check(place: &Place, text: &str) -> (bool, String) {
    let file = place.path("example.toml");
    std::fs::write(&file, text).unwrap();
    let done = Command::new(env!("CARGO_BIN_EXE_kakehashi"))
        .args(["relay", "--check", "--config"])
        .arg(file)
        .output()
        .unwrap();
    (done.status.success(), String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned())
}

#[test]
fn the_example_is_good_and_a_wrong_file_is_named_with_its_key() {
    let place = Place::new();
    std::fs::write(place.path("crm.key"), crate::hook::SECRET).unwrap();
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/config/relay.toml");
    let folder = place.folder.path().display().to_string();
    let text = std::fs::read_to_string(example).unwrap().replace("/etc/kakehashi", &folder);
    let text = text.replace("link-ca.pem", "ca.pem");
    let (good, told) = check(&place, &text);
    assert!(good && told.contains("bridge.city.example.jp"), "{told}");
    for (from, to, words) in [
        ("relay.key", "ca.pem", "[relay] key_file"),
        ("relay.pem", "none.pem", "[relay] certificate_file"),
        ("ca.pem", "crm.key", "[relay] ca_file"),
        ("keepalive_s = 60", "keepalive_s = 0", "[relay] keepalive_s"),
        ("crm.key", "none.key", "secret_file"),
        ("[metrics]", "[metric]", "line 30"),
    ] {
        let (good, told) = check(&place, &text.replace(from, to));
        assert!(!good && told.contains(words), "{words}: {told}");
    }
}
