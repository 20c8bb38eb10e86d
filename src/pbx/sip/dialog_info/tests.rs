//! Documents as exchanges send them, and such as nobody should.

use encoding_rs::{EUC_JP, SHIFT_JIS};

use super::*;

/// RFC 4235 §6.1, a message of the flow, with a namespace prefix and what may stand around it.
const FULL: &str = r#"<?xml version="1.0"?>
<d:dialog-info xmlns:d="urn:ietf:params:xml:ns:dialog-info" xmlns:x="urn:other" version="2" state="full" entity="sip:2001@example.com">
  <!-- a comment --><x:state>terminated</x:state>
  <d:dialog id="as7d900as8" call-id="a84b4c76e66710" local-tag="1928301774" remote-tag="456887766" direction="recipient">
<x:state>terminated</x:state>
<d:state event="remote-bye" code="200">confirmed</d:state>
<d:local><d:target uri="sip:2001@192.0.2.4"><d:param pname="+sip.rendering" pval="no"/></d:target></d:local>
<d:remote><d:identity display="橋本 &amp; &#x5B50;">sip:06&#54;3621234@example.com</d:identity><d:target uri="sip:x@y"/></d:remote>
  </d:dialog>
</d:dialog-info>"#;

fn parse(text: &str) -> Result<Document, Error> {
    Document::parse(text.as_bytes(), None)
}

#[test]
fn a_document_with_everything() {
    let document = parse(FULL).unwrap();
    assert_eq!((document.version, document.full, document.entity.as_str()), (2, true, "sip:2001@example.com"));
    let expected = Dialog {
        id: "as7d900as8".into(),
        call_id: Some("a84b4c76e66710".into()),
        local_tag: Some("1928301774".into()),
        remote_tag: Some("456887766".into()),
        direction: Some(Direction::Recipient),
        state: State::Confirmed,
        event: Some(Reason::RemoteBye),
        code: Some(200),
        remote: Party { identity: Some("sip:0663621234@example.com".into()), display: Some("橋本 & 子".into()) },
        held: true,
    };
    assert_eq!(document.dialogs, [expected]);
    assert_eq!(parse(&FULL.replace("d:", "").replace(":d=", "=")).unwrap(), document, "the default namespace");
}

#[test]
fn other_charsets_by_declaration_by_header_and_by_guess() {
    let text = FULL.replace("<?xml version=\"1.0\"?>", "<?xml version='1.0' encoding='Shift_JIS'?>");
    let cp932 = SHIFT_JIS.encode(&text).0;
    let display = |document: Document| document.dialogs[0].remote.display.clone().unwrap();
    assert_eq!(display(Document::parse(&cp932, None).unwrap()), "橋本 & 子");
    let euc = EUC_JP.encode(FULL).0;
    assert_eq!(display(Document::parse(&euc, Some("EUC-JP")).unwrap()), "橋本 & 子");
    let guessed = SHIFT_JIS.encode(FULL).0;
    assert_eq!(display(Document::parse(&guessed, None).unwrap()), "橋本 & 子");
}

#[test]
fn what_is_hostile_or_something_else_is_refused() {
    let head = "<dialog-info xmlns=\"urn:ietf:params:xml:ns:dialog-info\" version=\"0\" state=\"full\">";
    let whole = |inside: &str| parse(&format!("{head}{inside}</dialog-info>"));
    assert_eq!(whole("").unwrap().dialogs, []);
    assert_eq!(parse(&format!("<!DOCTYPE x [<!ENTITY a \"b\">]>{head}</dialog-info>")), Err(Error::Dtd));
    assert_eq!(whole("<dialog id=\"&a;\"/>"), Err(Error::Syntax));
    assert_eq!(whole("<dialog><state>&bomb;</state></dialog>"), Err(Error::Syntax));
    assert_eq!(whole("<n:dialog/>"), Err(Error::Syntax));
    assert_eq!(whole(&"<dialog/>".repeat(DIALOGS_MAX + 1)), Err(Error::TooLarge));
    assert_eq!(whole(&"<x/>".repeat(ELEMENTS_MAX + 1)), Err(Error::TooLarge));
    assert_eq!(whole(&"<x>".repeat(DEPTH_MAX)), Err(Error::TooLarge));
    assert_eq!(whole(&" ".repeat(BYTES_MAX)), Err(Error::TooLarge));
    assert_eq!(parse(head), Err(Error::Syntax));
    for other in ["", "text", "<presence/>", "<dialog-info version='1'/>", "<dialog-info state='full' version='-1'/>"] {
        assert_eq!(parse(other), Err(Error::NotDialogInfo), "{other}");
    }
    let other = head.replace("dialog-info\" v", "pidf\" v");
    assert_eq!(parse(&format!("{other}</dialog-info>")), Err(Error::NotDialogInfo));
    let long = whole(&format!("<dialog id=\"{}\"/>", "9".repeat(9_000))).unwrap();
    assert_eq!(long.dialogs[0].id.len(), TEXT_MAX);
}
