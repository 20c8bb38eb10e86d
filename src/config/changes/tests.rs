//! Every key of the reference is either live or needs a restart, and what needs a restart stays as it was.

use super::*;

const PATH: &str = "k.toml";

/// The reference with its commented sections made real.
fn whole() -> Table {
    let text = include_str!("../../../config/kakehashi.toml");
    let text: Vec<&str> = text.lines().map(|line| line.strip_prefix("#: ").unwrap_or(line)).collect();
    let whole: Config = toml::from_str(&text.join("\n")).unwrap();
    Table::try_from(&whole).unwrap()
}

/// Ways to every key, through the first row of each section in double brackets.
fn keys(prefix: &[String], table: &Table, found: &mut Vec<Vec<String>>) {
    for (key, value) in table {
        let way = [prefix, std::slice::from_ref(key)].concat();
        match value {
            Value::Table(inner) => keys(&way, inner, found),
            Value::Array(rows) if rows.first().is_some_and(Value::is_table) => {
                keys(&way, rows[0].as_table().unwrap(), found);
            }
            _ => found.push(way),
        }
    }
}

fn set(table: &mut Table, way: &[String], wanted: Value) {
    let value = table.get_mut(&way[0]).unwrap();
    match value {
        Value::Table(inner) => set(inner, &way[1..], wanted),
        Value::Array(rows) if way.len() > 1 => set(rows[0].as_table_mut().unwrap(), &way[1..], wanted),
        _ => *value = wanted,
    }
}

/// What is found when one key changes, and the merged table.
fn change(old: &Table, way: &[String]) -> (Found, Table, Table) {
    let (mut merged, mut new) = (old.clone(), old.clone());
    set(&mut new, way, Value::String("something else".into()));
    let mut found = Found::default();
    found.table(&Place::default(), &mut merged, &new);
    (found, merged, new)
}

#[test]
fn every_key_is_taken_or_named_as_one_that_needs_a_restart() {
    let mut old = whole();
    let endpoint = old["endpoint"].as_array_mut().unwrap()[0].as_table_mut().unwrap();
    KEPT.iter().for_each(|section| drop(endpoint.remove(*section)));
    let (mut all, mut taken) = (Vec::new(), BTreeSet::<&str>::new());
    keys(&[], &old, &mut all);
    assert!(all.len() > 250, "{}", all.len());
    for way in all {
        let (found, merged, new) = change(&old, &way);
        let key = way.join(".");
        match (found.applied.as_slice(), found.need_restart.as_slice()) {
            ([one], []) => {
                assert!(merged == new, "{key}");
                taken.extend(LIVE.iter().filter(|live| key == **live || key.starts_with(&format!("{live}."))).copied());
                assert!(one.contains(way.last().unwrap()) || one.starts_with("[["), "{key}: {one}");
            }
            ([], [_, ..]) => assert!(merged == old, "{key} needs a restart and was taken"),
            other => panic!("{key}: {other:?}"),
        }
    }
    let unknown: Vec<_> = LIVE.iter().filter(|live| !taken.contains(**live)).collect();
    assert!(unknown.is_empty(), "no such keys: {unknown:?}");
}

#[test]
fn nothing_of_an_endpoint_with_a_kept_connection_is_live() {
    let old = whole();
    let mut all = Vec::new();
    keys(&[], &old, &mut all);
    for way in all.iter().filter(|way| way[0] == "endpoint") {
        let (found, merged, _) = change(&old, way);
        assert!(found.applied.is_empty() && !found.need_restart.is_empty() && merged == old, "{way:?}");
    }
}

fn of(old: &str, new: &str) -> Result<Changes, String> {
    let read = |text| Config::parse(Path::new(PATH), text).unwrap();
    changes(&read(old), &read(new), Path::new(PATH)).map_err(|error| error.to_string())
}

#[test]
fn changes_are_named_as_people_write_them() {
    let old = "[node]\ncalls_ms = 1\n[[site]]\nid = \"a\"\n[[endpoint]]\nid = \"crm\"\n[[endpoint]]\nid = \"old\"\n[speech]\nworkers = 1\n";
    let new = "[node]\ncalls_ms = 2\nid = \"n2\"\n[[site]]\nid = \"a\"\ncontacts = \"c.csv\"\n[[endpoint]]\nid = \"new\"\n[[endpoint]]\nid = \"crm\"\n\
               secrets = [\"x\"]\n[endpoint.odoo]\n[[panel.client]]\nid = \"bot\"\ntoken = \"0123456789abcdef\"\n[speech]\nworkers = 2\n[speech.remote]\nmodel = \"m\"\n";
    let found = of(old, new).unwrap();
    assert_eq!(
        found.applied,
        ["[[endpoint]] id = \"crm\": secrets", "[node] calls_ms", "[[panel.client]]", "[[site]] id = \"a\": contacts"]
    );
    assert_eq!(
        found.need_restart,
        [
            "[[endpoint]] id = \"crm\": odoo",
            "[[endpoint]] id = \"old\" (taken out)",
            "[[endpoint]] id = \"new\" (added)",
            "[node] id",
            "[speech.remote] model",
            "[speech] workers"
        ]
    );
    let in_force = found.in_force;
    assert_eq!((in_force.node.id.as_str(), in_force.node.calls_ms, in_force.speech.workers), ("n1", 2, 1));
    assert_eq!(in_force.endpoint.iter().map(|one| one.id.as_str()).collect::<Vec<_>>(), ["crm", "old"]);
    assert!(in_force.endpoint[0].secrets.len() == 1 && in_force.endpoint[0].odoo.is_none());
}

#[test]
fn the_same_file_changes_nothing_and_what_needs_a_restart_is_named_each_time() {
    let text = "[node]\nid = \"n2\"\npublic_url = \"https://k.example.jp\"\n[[endpoint]]\nid = \"crm\"\nthin = true\n";
    let same = of(text, text).unwrap();
    assert_eq!((same.applied.len(), same.need_restart.len()), (0, 0));
    assert_eq!(same.in_force, Config::parse(Path::new(PATH), text).unwrap());
    let again = of("", "[node]\nid = \"n2\"\n").unwrap();
    let new = Config::parse(Path::new(PATH), "[node]\nid = \"n2\"\n").unwrap();
    assert_eq!(changes(&again.in_force, &new, Path::new(PATH)).unwrap().need_restart, ["[node] id"]);
}

#[test]
fn live_keys_that_need_what_is_not_live_are_refused_together() {
    let old = "[panel]\nenabled = false\n[[endpoint]]\nid = \"crm\"\n";
    let error = of(old, "[[endpoint]]\nid = \"crm\"\nthin = true\n").unwrap_err();
    assert!(error.contains("what needs a restart: [panel] enabled") && error.contains(": thin"), "{error}");
}
