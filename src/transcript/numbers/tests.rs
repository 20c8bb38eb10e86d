//! Spoken and written forms side by side.

use super::*;
use crate::dictionary::{Settings, Source};

fn form(text: &str) -> String {
    written(text, &[]).text
}

fn all(pairs: &[(&str, &str)]) {
    let wrong: Vec<_> = pairs.iter().filter(|(spoken, wanted)| form(spoken) != *wanted).collect();
    let shown: Vec<_> =
        wrong.iter().map(|(spoken, wanted)| format!("{spoken} → {} (not {wanted})", form(spoken))).collect();
    assert!(wrong.is_empty(), "{shown:#?}");
}

#[test]
fn dates_of_both_calendars() {
    all(&[
        ("令和八年十一月二十七日です", "令和8年11月27日です"),
        ("昭和五十年生まれ", "昭和50年生まれ"),
        ("平成三十一年四月一日", "平成31年4月1日"),
        ("令和元年五月", "令和元年5月"),
        ("二〇二六年度の", "2026年度の"),
        ("二千二十六年三月", "2026年3月"),
        ("午後三時半から", "午後3時半から"),
        ("午前十時十五分まで", "午前10時15分まで"),
        ("三か月前と二週間後", "3か月前と2週間後"),
        ("一時から", "1時から"),
        ("十三日の金曜日", "13日の金曜日"),
    ]);
}

#[test]
fn amounts_and_counters() {
    all(&[
        ("手数料は三百五十円です", "手数料は350円です"),
        ("千円と二千円", "1000円と2000円"),
        ("十二万三千四百円", "12万3400円"),
        ("一億二千万円", "1億2000万円"),
        ("五人家族で子どもが三人", "5人家族で子どもが3人"),
        ("六十五歳以上", "65歳以上"),
        ("二階の五番窓口", "2階の5番窓口"),
        ("一番窓口へ", "1番窓口へ"),
        ("第三条第二項", "第3条第2項"),
        ("三割負担", "3割負担"),
        ("三点五パーセント", "3.5パーセント"),
        ("〇点五パーセント", "0.5パーセント"),
        ("十分ほどお待ちください", "10分ほどお待ちください"),
        ("駅から歩いて十分です", "駅から歩いて10分です"),
        ("三分の二", "3分の2"),
        ("全部で三百二十です", "全部で320です"),
        ("１２３号室", "123号室"),
        ("三十七度五分", "37度5分"),
        ("3万5千円", "3万5000円"),
    ]);
}

#[test]
fn addresses_and_postal_codes() {
    all(&[
        ("三国二丁目十番五号", "三国2丁目10番5号"),
        ("十三本町一丁目三番二十号", "十三本町1丁目3番20号"),
        ("住所は三の二の一です", "住所は3-2-1です"),
        ("二丁目三の五", "2丁目3-5"),
        ("中之島一丁目3の20", "中之島1丁目3-20"),
        ("郵便番号は五三二〇〇〇三です", "郵便番号は532-0003です"),
        ("郵便番号は五三二の〇〇〇三です", "郵便番号は532-0003です"),
        ("〒5320003", "〒532-0003"),
        ("三〇五号室", "305号室"),
    ]);
}

#[test]
fn telephone_numbers() {
    let wanted = "電話は06-1234-5678です";
    for spoken in [
        "電話は〇六一二三四五六七八です",
        "電話は〇六の一二三四の五六七八です",
        "電話はゼロロク、イチニーサンヨン、ゴーロクナナハチです",
        "電話はゼロロクのイチニサンシのゴロクシチハチです",
        "電話は06 1234 5678です",
        "電話は０６－１２３４－５６７８です",
        "電話は06ハイフン1234ハイフン5678です",
        "電話は0612345678です",
        "電話は06の1234の5678です",
    ] {
        assert_eq!(form(spoken), wanted, "{spoken}");
    }
    all(&[
        ("090の1234の5678", "090-1234-5678"),
        ("マルキューマルイチニーサンヨンゴーロクナナハチ", "090-1234-5678"),
        ("0120、123、456です", "0120-123-456です"),
        ("06-1234-5678、090-1234-5678", "06-1234-5678、090-1234-5678"),
    ]);
}

#[test]
fn words_and_names_stay() {
    for text in [
        "一緒に行きます",
        "十分に注意してください",
        "それで十分です",
        "三つあります",
        "一番いいのは",
        "統一された窓口",
        "一時的に",
        "もう一度お願いします",
        "一部の方",
        "一応、一般の",
        "八戸から四日市まで",
        "五所川原市",
        "八尾市と三国",
        "十三に住んでいます",
        "千日前と四天王寺",
        "六本木と三軒茶屋",
        "二三日かかります",
        "二、三日",
        "万一のとき",
        "第三者",
        "七五三のお祝い",
        "千葉県と三重県",
        "九条と一条",
        "日本一",
        "一人暮らし",
        "百人町",
        "三好さんと五十嵐さん",
        "イチゴとサンゴとミクニ",
        "田中さんとロクさん",
        "",
    ] {
        assert_eq!(form(text), text);
        assert!(written(text, &[]).edits.is_empty());
    }
}

#[test]
fn what_is_written_already_stays() {
    for text in [
        "10月5日の12時にお願いします。",
        "06-1234-5678です。",
        "大阪市北区梅田3丁目2-1",
        "2026-11-27",
        "350円",
        "3.5%",
        "令和8年度",
    ] {
        assert_eq!(form(text), text);
    }
}

#[test]
fn written_twice_is_written_once() {
    for text in [
        "令和八年十一月二十七日です",
        "十二万三千四百円",
        "電話は〇六の一二三四の五六七八です",
        "三の二の一",
        "五人家族",
    ] {
        assert_eq!(form(&form(text)), form(text));
    }
}

#[test]
fn names_of_the_dictionary_win() {
    let csv = "surface,reading\n千本通二丁目公園,センボンドオリ\n十三,ジュウソウ\n三丁目会館,サンチョウメカイカン\n";
    let sources = [Source { name: "d.csv", bytes: csv.as_bytes() }];
    let dictionary = Dictionary::load(&sources, &Settings::default()).unwrap();
    let form = |text: &str| written(text, &names(text, &dictionary)).text;
    assert_eq!(form("三丁目会館は三丁目です"), "三丁目会館は3丁目です");
    assert_eq!(form("千本通二丁目公園へ"), "千本通二丁目公園へ");
    assert_eq!(form("十三で十三日に"), "十三で13日に");
    assert_eq!(names("ありません", &dictionary), []);
}

#[test]
fn every_place_is_found_again() {
    let text = "八戸で三百二十円、三国です";
    let written = written(text, &[]);
    assert_eq!(written.text, "八戸で320円、三国です");
    let at = text.chars().position(|sign| sign == '国').unwrap() - 1;
    assert_eq!(written.text.chars().nth(edit::place(&written.edits, at, false)), Some('三'));
}
