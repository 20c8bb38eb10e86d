//! The report as one HTML page in Japanese, for the file of a verification report: no outside resources, made for A4 paper.

use super::Lang;
use super::report::Report;

/// The page.
pub fn page(report: &Report) -> String {
    super::text::print(report, Lang::Ja)
}
