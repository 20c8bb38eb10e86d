//! Who calls, in every form that exchanges and carriers in Japan write it.

use std::collections::HashSet;

use kakehashi::call::number::Number;

/// `tests/data/numbers.csv`: a form, the number it is, its kind.
#[test]
fn every_form_of_a_number_is_read_as_it_should_be() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/numbers.csv");
    let mut reader = csv::Reader::from_path(path).unwrap();
    let (mut wrong, mut seen) = (Vec::new(), HashSet::new());
    for row in reader.records() {
        let row = row.unwrap();
        let (form, number, kind, what) = (&row[0], &row[1], &row[2], &row[3]);
        assert!(seen.insert(form.to_string()), "{form} is there twice");
        let read = Number::parse(form);
        let its_kind = serde_json::to_value(read.kind()).unwrap();
        if read.to_string() != number || its_kind != kind {
            wrong.push(format!("{form} ({what}): expected {number} {kind}, got {read} {its_kind}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen.len() >= 150, "only {} forms", seen.len());
}

#[test]
fn a_number_that_is_not_understood_is_never_equal_to_one_that_is() {
    for text in ["06-6362-123", "06-6362-12345", "0663621234x", "+0663621234", "00663621234"] {
        assert!(matches!(Number::parse(text), Number::Unknown(_)), "{text}");
    }
    let long = format!("06-6362-1234{}", " ".repeat(100));
    assert!(matches!(Number::parse(&long), Number::Unknown(_)), "what is cut off is not read");
}
