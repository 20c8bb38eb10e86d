//! Who sits behind an extension: agents and departments from a CSV file.

use std::collections::HashMap;

use super::Tier;
use crate::events::Agent;

/// The directory of a site: extension → person.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Directory {
    by_extension: HashMap<String, Member>,
}

/// One row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Agent id.
    pub agent: String,
    /// Name.
    pub name: String,
    /// Department (所属).
    pub department: String,
    /// 一次 (1), 二次 (2), 三次 (3).
    pub tier: Tier,
}

/// Why a directory was refused. The previous one stays in force.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// A column is missing from the header.
    #[error("{file}, line 1: column `{column}` is missing; expected the header extension,agent,name,department,tier")]
    Column {
        /// File name as given.
        file: String,
        /// The column.
        column: &'static str,
    },
    /// A row cannot be used.
    #[error("{file}, line {line}, column `{column}`: {problem}")]
    Row {
        /// File name as given.
        file: String,
        /// 1-based line.
        line: u64,
        /// The column.
        column: &'static str,
        /// What is wrong and what is expected.
        problem: String,
    },
    /// The file is not CSV in UTF-8.
    #[error("{file}: {problem}; expected CSV in UTF-8")]
    Csv {
        /// File name as given.
        file: String,
        /// What the reader said.
        problem: String,
    },
}

const COLUMNS: [&str; 5] = ["extension", "agent", "name", "department", "tier"];

impl Directory {
    /// Reads CSV with the header `extension,agent,name,department,tier`; an agent with several telephones has several rows.
    ///
    /// # Errors
    /// The first bad row, with file, line and column; `file` is only used in messages.
    pub fn parse(file: &str, text: &str) -> Result<Directory, DirectoryError> {
        let csv_error = |error: csv::Error| DirectoryError::Csv { file: file.into(), problem: error.to_string() };
        let mut reader =
            csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text.trim_start_matches('\u{feff}').as_bytes());
        let header = reader.headers().map_err(csv_error)?.clone();
        let mut at = [0; 5];
        for (slot, column) in at.iter_mut().zip(COLUMNS) {
            *slot = header
                .iter()
                .position(|name| name == column)
                .ok_or(DirectoryError::Column { file: file.into(), column })?;
        }
        let mut by_extension = HashMap::new();
        for row in reader.records() {
            let row = row.map_err(csv_error)?;
            let line = row.position().map_or(0, csv::Position::line);
            let field = |n: usize| row.get(at[n]).unwrap_or("");
            let wrong = |n: usize, problem: String| DirectoryError::Row {
                file: file.into(),
                line,
                column: COLUMNS[n],
                problem,
            };
            let extension = field(0);
            if extension.is_empty() {
                return Err(wrong(0, "empty; expected the extension that rings".into()));
            }
            if field(1).is_empty() {
                return Err(wrong(1, "empty; expected the agent's id".into()));
            }
            let tier = match field(4) {
                "1" => Tier::First,
                "" | "2" => Tier::Second,
                "3" => Tier::Third,
                other => return Err(wrong(4, format!("`{other}`; expected 1, 2 or 3"))),
            };
            let member = Member { agent: field(1).into(), name: field(2).into(), department: field(3).into(), tier };
            if by_extension.insert(extension.to_string(), member).is_some() {
                return Err(wrong(0, format!("`{extension}` is there twice; an extension belongs to one agent")));
            }
        }
        Ok(Directory { by_extension })
    }

    /// The person behind `extension`, and their tier; an unknown extension is an agent without a name in the second tier.
    pub fn agent(&self, extension: &str) -> (Agent, Tier) {
        match self.by_extension.get(extension) {
            Some(member) => (
                Agent {
                    id: Some(member.agent.clone()),
                    name: some(&member.name),
                    department: some(&member.department),
                    extension: extension.into(),
                },
                member.tier,
            ),
            None => (Agent { extension: extension.into(), ..Agent::default() }, Tier::default()),
        }
    }

    /// Whether `extension` is listed.
    pub fn knows(&self, extension: &str) -> bool {
        self.by_extension.contains_key(extension)
    }
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_agent_of_each_telephone() {
        let text = "extension,agent,name,department,tier\n2001,a1,山田,総合窓口,2\n3001,s1,佐藤,北区保険年金課,3\n2101,a1,山田,総合窓口,2\n";
        let directory = Directory::parse("directory.csv", text).unwrap();
        assert_eq!(directory.agent("2001").0.id, directory.agent("2101").0.id);
        assert_eq!(directory.agent("3001").1, Tier::Third);
        assert_eq!(directory.agent("9999").0.id, None);
    }

    #[test]
    fn a_bad_row_names_its_place() {
        let text = "extension,agent,name,department,tier\n2001,a1,山田,窓口,2\n2002,a2,田中,窓口,9\n";
        let error = Directory::parse("directory.csv", text).unwrap_err().to_string();
        assert_eq!(error, "directory.csv, line 3, column `tier`: `9`; expected 1, 2 or 3");
        let error = Directory::parse("d.csv", "extension,name\n").unwrap_err().to_string();
        assert!(error.contains("column `agent` is missing"), "{error}");
    }
}
