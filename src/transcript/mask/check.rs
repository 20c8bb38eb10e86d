//! Check digits.

/// Digits of a My Number (個人番号).
pub(crate) const MY_NUMBER: usize = 12;
/// Digits of a card number (ISO/IEC 7812-1).
pub(crate) const CARD: std::ops::RangeInclusive<usize> = 13..=19;

/// The check digit of a My Number (平成26年総務省令第85号 第5条): 11 − (Σ Pn × Qn mod 11), 0 where the remainder is 0 or 1. Pn is the n-th digit
/// from the lowest of the 11 before the check digit, Qn is n + 1 up to n = 6 and n − 5 from there.
pub(crate) fn is_my_number(digits: &[u8]) -> bool {
    let Some((check, rest)) = digits.split_last().filter(|_| digits.len() == MY_NUMBER) else { return false };
    let weight = |n: u32| if n <= 6 { n + 1 } else { n - 5 };
    let sum: u32 = (1..).zip(rest.iter().rev()).map(|(n, digit)| u32::from(*digit) * weight(n)).sum();
    let wanted = match sum % 11 {
        0 | 1 => 0,
        rest => 11 - rest,
    };
    u32::from(*check) == wanted
}

/// As many digits as a card has, and the check digit of ISO/IEC 7812-1, annex B.
pub(crate) fn is_card(digits: &[u8]) -> bool {
    let value = |(n, digit): (usize, &u8)| match (n % 2, u32::from(*digit) * 2) {
        (0, _) => u32::from(*digit),
        (_, twice) if twice > 9 => twice - 9,
        (_, twice) => twice,
    };
    CARD.contains(&digits.len()) && digits.iter().rev().enumerate().map(value).sum::<u32>() % 10 == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digits(text: &str) -> Vec<u8> {
        text.bytes().map(|byte| byte - b'0').collect()
    }

    /// Worked out by hand for 12345678901: Σ = 1·6+2·5+3·4+4·3+5·2+6·7+7·6+8·5+9·4+0·3+1·2 = 212, 212 mod 11 = 3, 11 − 3 = 8.
    #[test]
    fn one_last_digit_is_right() {
        for last in 0..10 {
            assert_eq!(is_my_number(&digits(&format!("12345678901{last}"))), last == 8, "{last}");
        }
        assert!(!is_my_number(&digits("1234567890123")));
    }

    #[test]
    fn a_check_digit_of_zero_is_right_for_both_remainders() {
        // Σ = 4·2 + 1·3 = 11 leaves 0, Σ = 6·2 = 12 leaves 1
        assert!(is_my_number(&digits("000000000140")) && is_my_number(&digits("000000000060")));
        assert!(!is_my_number(&digits("000000000061")));
    }

    #[test]
    fn cards_of_thirteen_to_nineteen_digits() {
        for card in ["4111111111111111", "378282246310005", "4222222222222", "30569309025904", "6304000000000000000"] {
            assert!(is_card(&digits(card)), "{card}");
        }
        assert!(!is_card(&digits("4111111111111112")) && !is_card(&digits("0000000000")));
    }
}
