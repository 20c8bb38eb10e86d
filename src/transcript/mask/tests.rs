//! Numbers that are masked, and those that stay.

use super::*;

fn masked(text: &str) -> String {
    mask(text, Policy::default()).text
}

fn with(classes: &[Class], text: &str) -> String {
    mask(text, Policy { mask: classes.iter().copied().collect() }).text
}

/// Its check digit is worked out in `check`.
const NUMBER: &str = "123456789018";

#[test]
fn a_my_number_is_masked_in_whatever_digits_it_is_written() {
    assert_eq!(masked(&format!("番号は{NUMBER}です")), "番号は************です");
    assert_eq!(masked("1234-5678-9018"), "****-****-****");
    assert_eq!(masked("１２３４　５６７８　９０１８。"), "****　****　****。");
    assert_eq!(masked("一二三四の五六七八の九〇一八です"), "****の****の****です");
    assert_eq!(masked("1234、五六七八、９０一8"), "****、****、****");
    assert_eq!(masked("1 2 3 4 5 6 7 8 9 0 1 8"), "* * * * * * * * * * * *");
    assert_eq!(masked("3番の1234ー5678ー9018"), "3番の****ー****ー****");
    assert_eq!(masked("第一123456789018"), "第一************");
    assert_eq!(masked("イチニーサンヨン、ゴーロクナナハチ、キューマルイチハチです"), "****、****、****です");
    assert_eq!(masked("イチニサンシゴロクシチハチクレイイチハチ"), "************");
    assert_eq!(masked("1234、えーと、5678、はい、9018です"), "****、えーと、****、はい、****です");
    assert_eq!(masked("最初が1234、次が5678、最後が9018です"), "最初が****、次が****、最後が****です");
    assert_eq!(masked("千二百三十四の5678の9018"), "****の****の****");
}

#[test]
fn twelve_digits_with_another_check_digit_stay_unless_a_word_says_what_they_are() {
    for last in ['0', '1', '2', '3', '4', '5', '6', '7', '9'] {
        let text = format!("12345678901{last}");
        assert_eq!(masked(&text), text);
        assert_eq!(masked(&format!("マイナンバーは{text}です")), "マイナンバーは************です");
        assert_eq!(masked(&format!("{text}が個人番号です")), "************が個人番号です");
    }
    assert_eq!(
        masked("マイナンバーは1234の567の9018です"),
        "マイナンバーは****の***の****です",
        "one digit was not heard"
    );
    assert_eq!(masked("マイナンバーは1234で、次が56と78、9018です"), "マイナンバーは****で、次が**と**、****です");
}

#[test]
fn cards_of_thirteen_to_nineteen_digits_are_masked() {
    for number in ["4111111111111111", "378282246310005", "4222222222222", "30569309025904", "6304000000000000000"] {
        assert!(masked(number).chars().all(|sign| sign == '*'), "{number}");
    }
    assert_eq!(masked("4111-1111 1111-1111番"), "****-**** ****-****番");
    assert_eq!(masked("4111111111111112"), "4111111111111112");
    assert_eq!(masked("クレジットカードは4111111111111112です"), "クレジットカードは****************です");
    assert_eq!(masked("セキュリティコードは123です"), "セキュリティコードは***です");
}

#[test]
fn telephone_numbers_dates_amounts_and_words_stay() {
    for text in [
        "06-1234-5678、090-1234-5678です",
        "03-3581-4321 03-3581-4321",
        "電話番号は090-1234-5678です",
        "マイナンバーカードの件で、電話番号は090-1234-5678です",
        "マイナンバーカードを2026年11月27日に受け取りました",
        "マイナンバーカードは3階の5番窓口です",
        "令和八年十一月二十七日",
        "平成26年総務省令第85号",
        "一一九番と一一〇番",
        "2026-11-27 17:32:05",
        "1200円、3400円、5600円",
        "郵便番号は530-0001、住所は北区梅田1丁目2番3号です",
        "口座振替の手数料は1000円です",
        "口座振替の件で、受付番号は1234567です",
        "国民健康保険の窓口は12番です",
        "",
    ] {
        assert_eq!(masked(text), text);
    }
}

#[test]
fn accounts_certificates_pensions_and_licences_are_known_by_the_word_beside_them() {
    assert_eq!(masked("口座番号は1234567です"), "口座番号は*******です");
    assert_eq!(masked("普通預金のイチニーサンヨンゴーロクナナです"), "普通預金の*******です");
    assert_eq!(masked("保険証の記号は12、番号は345678です"), "保険証の記号は**、番号は******です");
    assert_eq!(masked("基礎年金番号は1234の567890です"), "基礎年金番号は****の******です");
    assert_eq!(masked("免許証の番号は301234567890です"), "免許証の番号は************です");
    assert_eq!(masked("1234567"), "1234567", "no word beside it");
}

#[test]
fn a_number_among_other_numbers_is_found_at_the_separators() {
    assert_eq!(masked("1 123456789018 2"), "1 ************ 2");
    assert_eq!(masked("123456789018 4111111111111111"), "************ ****************");
    assert_eq!(masked("090-1234-5678、1234-5678-9018"), "090-1234-5678、****-****-****");
}

#[test]
fn what_is_switched_off_stays() {
    assert_eq!(with(&[Class::Card], NUMBER), NUMBER);
    assert_eq!(with(&[], "4111111111111111"), "4111111111111111");
    assert_eq!(with(&[Class::MyNumber], "口座番号は1234567です"), "口座番号は1234567です");
    assert_eq!(with(&[Class::Telephone], "電話は090-1234-5678です"), "電話は***-****-****です");
}

#[test]
fn what_repeats_a_number_is_found_by_its_digits() {
    let known = [(Class::MyNumber, vec![1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 8])];
    let found = |text: &str, least| {
        let signs: Vec<char> = text.chars().collect();
        edit::apply(&signs, &stars(&repeated(&signs, &known, least)))
    };
    assert_eq!(found("はい、五六七八ですね", 4), "はい、****ですね");
    assert_eq!(found("1234の5678までですね", 4), "****の****までですね");
    assert_eq!(found("090-1234-5678ですね", 4), "090-1234-5678ですね", "another number with the same digits");
    assert_eq!(found("901", 3), "***");
    assert_eq!(found("901", 4), "901");
}

#[test]
fn twice_is_once() {
    for text in ["番号は1234、五六七八、９０一8です", "保険証の記号は12、番号は345678です"] {
        assert_eq!(masked(&masked(text)), masked(text));
        assert_eq!(mask(&masked(text), Policy::default()).spans, []);
    }
}
