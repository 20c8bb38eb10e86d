//! Which rows of a postal list are wanted: municipalities and prefectures, by code or by name.

/// A municipality or a prefecture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Area {
    /// 都道府県コード (JIS X 0401), 1–47.
    Prefecture(u32),
    /// 市区町村コード (JIS X 0402) with that of its prefecture, five digits; of a city with wards, all of them.
    Municipality(u32),
    /// The name of a prefecture, or how a municipality begins, with or without its prefecture.
    Name(String),
}

/// Why a text is no area.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{0}\" is no area. Expected a code of 2 digits (27), of 5 (27127) or of 6 with its check digit (271276), or a name (大阪府, 大阪市北区)"
)]
pub struct AreaError(String);

impl Area {
    /// Reads a code or a name.
    ///
    /// # Errors
    /// When it is neither, or its check digit is wrong.
    pub fn parse(text: &str) -> Result<Area, AreaError> {
        let text = text.trim();
        let wrong = || AreaError(text.chars().take(40).collect());
        if text.is_empty() {
            return Err(wrong());
        }
        if !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Ok(Area::Name(text.to_owned()));
        }
        let number: u32 = text.parse().map_err(|_| wrong())?;
        match text.len() {
            2 if (1..=47).contains(&number) => Ok(Area::Prefecture(number)),
            5 if (1..=47).contains(&(number / 1_000)) => Ok(Area::Municipality(number)),
            6 if check_digit(number / 10) == number % 10 => Ok(Area::Municipality(number / 10)),
            _ => Err(wrong()),
        }
    }

    /// Whether a municipality belongs to it.
    pub(super) fn has(&self, code: u32, prefecture: &str, municipality: &str) -> bool {
        match self {
            Area::Prefecture(own) => code / 1_000 == *own,
            Area::Municipality(own) => code == *own || is_ward(code, *own),
            Area::Name(name) => {
                let rest = name.strip_prefix(prefecture).unwrap_or(name);
                name == prefecture || (!rest.is_empty() && municipality.starts_with(rest))
            }
        }
    }
}

/// Whether `code` is a ward of the city `city`: cities with wards have 100, 130, 140 or 150 in their prefecture, their wards what follows.
fn is_ward(code: u32, city: u32) -> bool {
    let next = [100, 130, 140, 150, 160].windows(2).find_map(|pair| match pair {
        [own, next] if city % 1_000 == *own => Some(city - own + next),
        _ => None,
    });
    next.is_some_and(|next| city < code && code < next)
}

/// The check digit of a code of five digits (総務省, 全国地方公共団体コード).
fn check_digit(code: u32) -> u32 {
    let digits = [code / 10_000, code / 1_000 % 10, code / 100 % 10, code / 10 % 10, code % 10];
    let sum: u32 = digits.iter().zip([6, 5, 4, 3, 2]).map(|(digit, weight)| digit * weight).sum();
    (11 - sum % 11) % 10
}

#[cfg(test)]
mod tests {
    use super::*;

    fn area(text: &str) -> Area {
        Area::parse(text).unwrap()
    }

    #[test]
    fn codes_are_read_with_and_without_check_digit() {
        assert_eq!((area("27"), area("27127"), area("271276")), (Area::Prefecture(27), area("271276"), area("27127")));
        assert_eq!(area("011002"), Area::Municipality(1_100)); // 札幌市
        for wrong in ["271275", "00", "48", "1", "999999", "", "1234567"] {
            assert!(Area::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_city_has_its_wards_and_no_other() {
        let (osaka, sakai) = (area("271004"), area("27140"));
        assert!(osaka.has(27_127, "大阪府", "大阪市北区") && osaka.has(27_102, "大阪府", "大阪市都島区"));
        assert!(sakai.has(27_141, "大阪府", "堺市堺区") && !sakai.has(27_127, "大阪府", "大阪市北区"));
        assert!(!osaka.has(27_141, "大阪府", "堺市堺区") && !osaka.has(27_202, "大阪府", "岸和田市"));
        assert!(area("27").has(27_202, "大阪府", "岸和田市") && !area("27").has(28_101, "兵庫県", "神戸市東灘区"));
    }

    #[test]
    fn names_are_whole_or_the_beginning() {
        for yes in ["大阪府", "大阪市", "大阪市北区", "大阪府大阪市", "大阪府大阪市北区", "大阪"]
        {
            assert!(area(yes).has(27_127, "大阪府", "大阪市北区"), "{yes}");
        }
        for no in ["京都府大阪市", "北区", "兵庫県"] {
            assert!(!area(no).has(27_127, "大阪府", "大阪市北区"), "{no}");
        }
    }
}
