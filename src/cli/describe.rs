//! `kakehashi describe`: the events and the API as documents that other programs read, made of the types that are sent.

use clap::{Args, ValueEnum};

pub mod asyncapi;

/// Print a document for programs: AsyncAPI 3.0 of all events, or OpenAPI 3.1 of the HTTP API.
#[derive(Clone, Copy, Debug, Args)]
pub struct DescribeArgs {
    /// Which document.
    #[arg(value_enum)]
    pub document: Document,
}

/// The documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Document {
    /// AsyncAPI 3.0: what is sent to webhooks, to NATS and on the live feed.
    Asyncapi,
    /// OpenAPI 3.1: the HTTP API of the panel.
    #[cfg(feature = "web")]
    Openapi,
}

/// Runs the subcommand.
///
/// # Errors
/// When the document cannot be written as JSON.
pub fn run(args: &DescribeArgs) -> super::Result {
    let document = match args.document {
        Document::Asyncapi => asyncapi::document(),
        #[cfg(feature = "web")]
        Document::Openapi => crate::panel::openapi(),
    };
    println!("{}", serde_json::to_string_pretty(&document)?);
    Ok(())
}

#[cfg(all(test, feature = "web"))]
mod tests {
    use serde_json::Value;

    /// Compares a document of `docs/` with what the program says now.
    fn is_current(kept: &str, name: &str, now: &Value) {
        let kept: Value = serde_json::from_str(kept).unwrap_or_default();
        assert!(
            kept == *now,
            "docs/{name}.json is not current; renew it: cargo run -- describe {name} > docs/{name}.json"
        );
    }

    #[test]
    fn the_asyncapi_document_is_current() {
        is_current(include_str!("../../docs/asyncapi.json"), "asyncapi", &super::asyncapi::document());
    }

    #[test]
    fn the_openapi_document_is_current() {
        is_current(include_str!("../../docs/openapi.json"), "openapi", &crate::panel::openapi());
    }
}
