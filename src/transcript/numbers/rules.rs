//! What is rewritten: which numerals of a text are numbers, by what stands around them.

use super::counters::counter;
use super::digits::{Script, digit, is_kanji, is_numeral};
use super::edit::{Edit, in_order};
use super::run::{self, Group};
use super::telephone::{hyphenated, telephone_at};
use super::value::{Number, number};
use super::words::{begins, begins_any, ends_any, word};

/// A stretch of a text that is not rewritten, in Unicode scalar values.
pub type Kept = (usize, usize);

/// How far before a number 郵便番号 may stand.
const NEAR: usize = 16;

/// The changes that make the numbers of a text written numbers.
pub(super) fn edits(signs: &[char], kept: &[Kept]) -> Vec<Edit> {
    let mut edits = Vec::new();
    for run in run::runs(signs) {
        let stays = |group: &Group| {
            let is_word = group.script == Script::Kanji && word(signs.get(group.start..).unwrap_or_default()).is_some();
            is_word || kept.iter().any(|(from, to)| group.start < *to && *from < group.end)
        };
        for part in run.split(stays) {
            rows(signs, part, &mut edits);
        }
    }
    let edits = in_order(edits);
    let (mut values, mut at, mut passed) = (Vec::new(), 0, 0);
    while at < signs.len() {
        let rest = signs.get(at..).unwrap_or_default();
        let keeps = kept.iter().find(|(from, to)| *from <= at && at < *to).map(|(_, to)| *to);
        while edits.get(passed).is_some_and(|edit: &Edit| edit.end <= at) {
            passed += 1;
        }
        let taken = edits.get(passed).filter(|edit| edit.start <= at).map(|edit| edit.end);
        if let Some(end) = keeps.or(taken) {
            at = end;
        } else if let Some(length) = word(rest) {
            at += length;
        } else if rest.first().is_some_and(|sign| is_numeral(*sign)) {
            at += value(signs, at, &mut values);
        } else {
            at += 1;
        }
    }
    in_order(edits.into_iter().chain(values).collect())
}

/// Telephone numbers, postal codes, and rows of digits that can be nothing else.
fn rows(signs: &[char], run: &[Group], edits: &mut Vec<Edit>) {
    let mut at = 0;
    while at < run.len() {
        let joined =
            telephone_at(run, at).map(|to| (to, true)).or_else(|| postal_at(signs, run, at).map(|to| (to, false)));
        let joined = joined.or_else(|| block_numbers_at(signs, run, at).map(|to| (to, false)));
        match joined {
            Some((to, telephone)) => {
                let groups = run.get(at..to).unwrap_or_default();
                let text = match groups {
                    [one] if telephone => hyphenated(&text_of(one)).unwrap_or_else(|| text_of(one)),
                    [one] => one_postal(&text_of(one)),
                    several => several.iter().map(text_of).collect::<Vec<_>>().join("-"),
                };
                push(signs, groups, text, edits);
                at = to;
            }
            None => {
                row(signs, run, at, edits);
                at += 1;
            }
        }
    }
}

fn push(signs: &[char], groups: &[Group], with: String, edits: &mut Vec<Edit>) {
    let (Some(first), Some(last)) = (groups.first(), groups.last()) else { return };
    let before = signs.get(first.start..last.end).unwrap_or_default();
    if !before.iter().copied().eq(with.chars()) {
        edits.push(Edit { start: first.start, end: last.end, with });
    }
}

fn text_of(group: &Group) -> String {
    group.digits.iter().map(|digit| char::from(b'0' + digit)).collect()
}

/// One group that is rewritten without its neighbours: names of digits, full-width digits, and kanji digits in a row.
fn row(signs: &[char], run: &[Group], at: usize, edits: &mut Vec<Edit>) {
    let Some(group) = run.get(at) else { return };
    let (many, zero) = (group.digits.len() >= 3, group.digits.contains(&0));
    let after = signs.get(group.end..).unwrap_or_default();
    let is_row = match group.script {
        Script::Name => run::length(run) > 3,
        Script::FullWidth => !after.first().is_some_and(|sign| is_numeral(*sign)),
        // 一二三 are three numbers of one, two and three in no text
        Script::Kanji => {
            (many || (zero && group.digits.len() == 2)) && !after.first().is_some_and(|sign| is_numeral(*sign))
        }
        Script::Ascii | Script::Value => false,
    };
    if is_row {
        push(signs, std::slice::from_ref(group), text_of(group), edits);
    }
    let Some(next) = run.get(at + 1).filter(|_| is_digits(group)) else { return };
    let between = signs.get(group.end..next.start).unwrap_or_default();
    if is_digits(next) && begins_any(between, &["ハイフン", "はいふん", "ダッシュ"]) && between.len() <= 4 {
        edits.push(Edit { start: group.end, end: next.start, with: "-".into() });
    }
}

fn is_digits(group: &Group) -> bool {
    group.script != Script::Value
}

/// 三 and four digits, or seven, behind 郵便番号 or 〒.
fn postal_at(signs: &[char], run: &[Group], at: usize) -> Option<usize> {
    let first = run.get(at)?;
    let before = signs.get(first.start.saturating_sub(NEAR)..first.start)?;
    let named = before.contains(&'〒') || before.windows(4).any(|signs| begins(signs, "郵便番号"));
    let lengths: Vec<usize> = run.get(at..)?.iter().take(2).map(|group| group.digits.len()).collect();
    match lengths.as_slice() {
        _ if !named => None,
        [7, ..] => Some(at + 1),
        [3, 4, ..] => Some(at + 2),
        _ => None,
    }
}

fn one_postal(digits: &str) -> String {
    match (digits.get(..3), digits.get(3..)) {
        (Some(first), Some(rest)) if digits.len() == 7 => format!("{first}-{rest}"),
        _ => digits.to_string(),
    }
}

/// 三の二の一: three numbers or more that are joined by の, each with at most four digits; two of them behind 丁目 or 番地.
fn block_numbers_at(signs: &[char], run: &[Group], at: usize) -> Option<usize> {
    let first = run.get(at).filter(|group| group.digits.len() <= 4 && group.script != Script::Name)?;
    let joins = |(own, next): (&Group, &Group)| {
        let between = signs.get(own.end..next.start).unwrap_or_default();
        matches!(between, ['の' | 'ノ' | '-' | '－' | '−']) && next.digits.len() <= 4 && next.script != Script::Name
    };
    if signs.get(first.end) != Some(&'の') {
        return None;
    }
    let run = run.get(at..)?;
    let joined = run.iter().zip(run.iter().skip(1)).take_while(|pair| joins(*pair)).count();
    let before = signs.get(..first.start)?;
    let needed = if ends_any(before, &["丁目", "番地", "番"]) { 1 } else { 2 };
    (joined >= needed).then_some(at + joined + 1)
}

/// One number that is a value; tells how many signs it takes.
fn value(signs: &[char], at: usize, edits: &mut Vec<Edit>) -> usize {
    let rest = signs.get(at..).unwrap_or_default();
    let before = signs.get(..at).unwrap_or_default();
    let Some(found) = number(rest) else {
        return rest.iter().take_while(|sign| is_numeral(**sign)).count().max(1);
    };
    let after = rest.get(found.length..).unwrap_or_default();
    if found.kanji
        && let Some((length, with)) = decimal(&found, after)
    {
        edits.push(Edit { start: at, end: at + found.length + length, with });
        return found.length + length;
    }
    let is_part = ends_any(before, &["分の"]) && before.iter().rev().nth(2).is_some_and(|sign| is_numeral(*sign));
    if found.kanji && (is_part || counts(before, rest, &found, after) || stands_alone(before, &found, after)) {
        edits.push(Edit { start: at, end: at + found.length, with: found.written.clone() });
    }
    found.length
}

/// 三点五パーセント.
fn decimal(whole: &Number, after: &[char]) -> Option<(usize, String)> {
    let after = after.strip_prefix(&['点'])?;
    let length = after.iter().take_while(|sign| digit(**sign).is_some()).count();
    let behind = after.get(length..)?;
    let unit = begins_any(
        behind,
        &[
            "パーセント",
            "％",
            "%",
            "倍",
            "度",
            "キロ",
            "メートル",
            "センチ",
            "ミリ",
            "トン",
            "平米",
            "リットル",
            "ポイント",
        ],
    );
    let digits: String =
        after.get(..length)?.iter().filter_map(|sign| digit(*sign)).map(|d| char::from(b'0' + d)).collect();
    (length > 0 && unit).then(|| (length + 1, format!("{}.{digits}", whole.written)))
}

/// Whether what stands around a number makes it one.
fn counts(before: &[char], own: &[char], number: &Number, after: &[char]) -> bool {
    let ordinal = ends_any(before, &["第"]);
    let Some(counter) = counter(after, ordinal) else { return false };
    let behind = after.get(counter.chars().count()..).unwrap_or_default();
    let value = number.value.unwrap_or(0);
    let small = number.length == 1 && value <= 3;
    if about(before, own, number) {
        return false;
    }
    match counter {
        "分" if !number.units || value != 10 => {
            !begins(behind, "の") || behind.get(1).is_some_and(|sign| digit(*sign).is_some())
        }
        // enough, or ten minutes
        "分" => {
            let minutes = [
                "間",
                "ほど",
                "くらい",
                "ぐらい",
                "前",
                "後",
                "以内",
                "おき",
                "程度",
                "頃",
                "ごろ",
                "過",
                "から",
                "まで",
                "毎",
                "で着",
                "で行",
                "遅",
            ];
            ends_any(before, &["時", "約", "あと", "毎時", "各", "徒歩", "歩いて"]) || begins_any(behind, &minutes)
        }
        // for a while, or one o'clock
        "時" if value == 1 && number.length == 1 => {
            let clock = ["半", "頃", "ごろ", "から", "まで", "過", "に", "です", "で", "の", "ちょうど"];
            let minutes = behind.first().is_some_and(|sign| is_numeral(*sign));
            ends_any(before, &["午前", "午後", "昼の", "夜の"]) || minutes || begins_any(behind, &clock)
        }
        // most of all, or number one
        "番" if value == 1 && number.length == 1 => {
            let place =
                ["窓口", "の窓口", "線", "地", "号", "札", "テーブル", "カウンター", "出口", "乗り場", "のり場", "目"];
            ends_any(before, &["丁目", "第"])
                || begins_any(behind, &place)
                || behind.first().is_some_and(|sign| is_numeral(*sign))
        }
        // once, again; or degrees
        "度" if small => begins_any(behind, &["五分", "以上", "以下", "C", "℃"]),
        "本" if small => !begins_any(behind, &["人", "当", "質"]),
        "名" => !begins_any(behind, &["前", "字", "称", "古屋"]),
        "通" => !begins_any(behind, &["り", "じ", "話", "知", "勤", "学", "常"]),
        "位" => !begins(behind, "置"),
        "点" => !begins_any(behind, &["検", "字", "灯", "滴"]),
        "月" | "日" => !begins(behind, "本"),
        "円" => !begins_any(behind, &["形", "滑", "満"]),
        "回" => !begins_any(behind, &["答", "収", "復"]),
        "両" | "足" => ordinal,
        _ => true,
    }
}

/// 二三日, 二、三日: two or three days.
fn about(before: &[char], own: &[char], number: &Number) -> bool {
    if let [.., sign, '、' | '，' | ','] = before
        && let (Some(first), Some(second)) = (digit(*sign), number.value)
    {
        return number.length == 1 && first > 0 && u64::from(first) + 1 == second;
    }
    let digits: Vec<u8> = own.iter().take(number.length).filter_map(|sign| digit(*sign)).collect();
    number.row == 2
        && matches!(digits.as_slice(), [first, second] if first + 1 == *second && *first > 0)
        && own.first().is_some_and(|sign| is_kanji(*sign))
}

/// A number with units that is part of no word: 三百二十です. One unit alone (千, 百, 十) and a bare digit stay.
fn stands_alone(before: &[char], number: &Number, after: &[char]) -> bool {
    let in_word = |sign: Option<&char>| sign.is_some_and(|sign| is_kanji(*sign) || is_numeral(*sign));
    let counted = before.last().is_some_and(|sign| matches!(sign, '約' | '計' | '全' | '各' | '毎'));
    let ended = after.is_empty()
        || begins_any(
            after,
            &[
                "です",
                "でし",
                "ほど",
                "くらい",
                "ぐらい",
                "ちょうど",
                "と",
                "から",
                "まで",
                "、",
                "。",
                "以上",
                "以下",
                "あまり",
            ],
        );
    number.units && number.written.len() >= 2 && number.length >= 2 && ended && (counted || !in_word(before.last()))
}
