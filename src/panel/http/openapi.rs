//! The OpenAPI 3.1 document of the operations.

use std::sync::LazyLock;

use axum::http::header;
use axum::response::{IntoResponse, Response};
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::api::{Content, Operation, Who, operations};
use crate::events::schema::{as_received, as_sent, never_null, schemas};
use crate::panel::told::Oversize;

const INFO: &str = "The HTTP API of the panel (`[panel] listen`); docs/api.md says more. The panel's token is needed unless the panel is local and has \
                    none. Nothing that is posted reaches a log. Fields may be added to answers. Made by `kakehashi describe openapi`.";

/// The document.
pub fn document() -> Value {
    let (mut received, mut sent) =
        (as_received(SchemaSettings::draft2020_12()), as_sent(SchemaSettings::draft2020_12()));
    let _ = sent.subschema_for::<Oversize>();
    let mut paths = Map::new();
    for operation in operations() {
        let methods = paths.entry(operation.path).or_insert_with(|| json!({}));
        methods[operation.method.as_str().to_lowercase()] = described(&operation, &mut received, &mut sent);
    }
    let mut components = received.take_definitions(true);
    components.extend(sent.take_definitions(true));
    add_events(&mut components);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Kakehashi (架け橋)",
            "version": env!("CARGO_PKG_VERSION"),
            "description": INFO,
            "license": {"name": "Apache-2.0 OR MIT", "identifier": "Apache-2.0 OR MIT"},
        },
        "servers": [{"url": "http://127.0.0.1:8080", "description": "`[panel] listen`."}],
        "paths": paths,
        "components": {"schemas": components, "securitySchemes": {
            "panel": {"type": "http", "scheme": "bearer", "description": "The token of `[panel]`."},
            "cookie": {"type": "apiKey", "in": "cookie", "name": super::guard::COOKIE, "description": "A signed-in operator's."},
            "client": {"type": "http", "scheme": "bearer", "description": "The token of a `[[panel.client]]`."},
        }},
    })
}

/// `GET /v1/openapi.json`.
pub(super) async fn served() -> Response {
    static TEXT: LazyLock<String> = LazyLock::new(|| document().to_string());
    ([(header::CONTENT_TYPE, "application/json")], TEXT.as_str()).into_response()
}

fn described(operation: &Operation, received: &mut SchemaGenerator, sent: &mut SchemaGenerator) -> Value {
    let mut answers = Map::new();
    for (status, what, content) in &operation.answers {
        let mut answer = json!({"description": what});
        if let Some(content) = content {
            answer["content"] = media(content, sent);
        }
        answers.insert(status.to_string(), answer);
    }
    let mut told = json!({
        "operationId": operation.id,
        "summary": operation.summary,
        "parameters": parameters(operation, received),
        "responses": answers,
        "security": security(operation.who),
    });
    if let Some((content, required)) = &operation.body {
        told["requestBody"] = json!({"required": required, "content": media(content, received)});
    }
    if let Who::Client(Some(right)) | Who::Machine(right) = operation.who {
        told["description"] = format!("A `[[panel.client]]` needs `{right} = true`.").into();
    }
    told
}

fn media(content: &Content, generator: &mut SchemaGenerator) -> Value {
    let schema = content.schema.map_or_else(|| json!({}), |describe| describe(generator).to_value());
    json!({ content.kind: {"schema": schema} })
}

fn security(who: Who) -> Value {
    match who {
        Who::Anybody => json!([]),
        Who::Panel => json!([{"panel": []}, {"cookie": []}]),
        Who::Client(_) => json!([{"panel": []}, {"cookie": []}, {"client": []}]),
        Who::Machine(_) => json!([{"client": []}]),
    }
}

fn parameters(operation: &Operation, generator: &mut SchemaGenerator) -> Vec<Value> {
    let named = operation.path.split(['{', '}']).skip(1).step_by(2);
    let in_path = named.map(
        |name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string", "format": "uuid"}}),
    );
    let mut all: Vec<Value> = in_path.collect();
    if let Some(describe) = operation.query {
        let schema = describe(generator).to_value();
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let mut property = property.clone();
            never_null(&mut property);
            let what = property.as_object_mut().and_then(|fields| fields.remove("description"));
            all.push(json!({"name": name, "in": "query", "description": what, "schema": property}));
        }
    }
    for (name, what) in operation.headers {
        all.push(json!({"name": name, "in": "header", "description": what, "schema": {"type": "string"}}));
    }
    all
}

/// `Event`, as the feed shows it; the payloads are in the AsyncAPI document.
fn add_events(components: &mut Map<String, Value>) {
    let described = schemas();
    let types: Vec<&str> = described.types.iter().map(|one| one.name.as_str()).collect();
    if let Some(contact) = described.definitions.get("ContactId") {
        components.insert("ContactId".into(), contact.clone());
    }
    components.insert("Envelope".into(), described.envelope);
    let whole = json!({
        "type": "object",
        "required": ["type", "data"],
        "properties": {"type": {"enum": types}, "data": {"type": "object", "description": "As docs/asyncapi.json describes it for the type."}},
    });
    let whole = json!({"allOf": [{"$ref": "#/components/schemas/Envelope"}, whole]});
    let event =
        json!({"description": "An event as it is shown.", "oneOf": [whole, {"$ref": "#/components/schemas/Oversize"}]});
    components.insert("Event".into(), event);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reference_leads_somewhere_and_every_operation_has_a_name_of_its_own() {
        let document = document();
        let text = document.to_string();
        for place in text.split("\"$ref\":\"#").skip(1).filter_map(|rest| rest.split('"').next()) {
            assert!(document.pointer(place).is_some(), "{place} is not there");
        }
        let mut names: Vec<&str> = operations().iter().map(|operation| operation.id).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), operations().len());
    }
}
