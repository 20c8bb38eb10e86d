//! The events as JSON Schema, made of the types that are sent.

use schemars::generate::SchemaSettings;
use schemars::{Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::{Class, Data, Envelope};

/// One type of event.
#[derive(Clone, Debug, PartialEq)]
pub struct EventType {
    /// `type` of the event.
    pub name: String,
    /// What it says.
    pub description: String,
    /// Whether it is kept and sent again, or sent now or never.
    pub class: Class,
    /// The schema of `data`.
    pub data: Value,
}

/// All types of events with what their schemas refer to.
#[derive(Clone, Debug, PartialEq)]
pub struct Schemas {
    /// In the order of a call.
    pub types: Vec<EventType>,
    /// The schema of what stands around `data`.
    pub envelope: Value,
    /// Schemas by name.
    pub definitions: Map<String, Value>,
}

/// Describes all events in draft 07, the JSON Schema of AsyncAPI; references lead to `#/components/schemas`.
pub fn schemas() -> Schemas {
    let mut generator = as_sent(SchemaSettings::draft07());
    let mut envelope = generator.subschema_for::<Envelope>().to_value();
    let mut all = generator.subschema_for::<Data>().to_value();
    let mut definitions = generator.take_definitions(true);
    // what is referred to by its name is described there
    for schema in [&mut envelope, &mut all] {
        let name = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next()).unwrap_or_default();
        if let Some(described) = definitions.remove(name) {
            *schema = described;
        }
    }
    if let Some(fields) = envelope.as_object_mut() {
        fields.remove("oneOf");
    }
    let types = all["oneOf"].as_array().map(|variants| variants.iter().map(event_type).collect());
    Schemas { types: types.unwrap_or_default(), envelope, definitions }
}

/// Describes types as they are sent: a field that is left out when there is nothing is never `null`.
pub fn as_sent(settings: SchemaSettings) -> SchemaGenerator {
    settings
        .for_serialize()
        .with(below_components)
        .with_transform(left_out)
        .with_transform(known_formats)
        .into_generator()
}

/// Describes types as they are received.
pub fn as_received(settings: SchemaSettings) -> SchemaGenerator {
    settings.with(below_components).with_transform(known_formats).into_generator()
}

fn below_components(settings: &mut SchemaSettings) {
    settings.definitions_path = "/components/schemas".into();
}

fn event_type(variant: &Value) -> EventType {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
    let name = text(&variant["properties"]["type"]["const"]);
    EventType {
        class: Class::of(&name),
        name,
        description: text(&variant["description"]),
        data: variant["properties"]["data"].clone(),
    }
}

/// Takes `null` from what is left out instead.
fn left_out(schema: &mut Schema) {
    let required: Vec<Value> = schema.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        for (name, property) in properties {
            if !required.iter().any(|one| one == name) {
                never_null(property);
            }
        }
    }
    schemars::transform::transform_subschemas(&mut left_out, schema);
}

/// Takes `null` from the schema of a value, also as what is meant where there is none.
pub fn never_null(property: &mut Value) {
    let Some(fields) = property.as_object_mut() else { return };
    if fields.get("default") == Some(&Value::Null) {
        fields.remove("default");
    }
    if let Some(Value::Array(kinds)) = fields.get_mut("type") {
        kinds.retain(|kind| kind != "null");
        if let [kind] = kinds.as_slice() {
            let kind = kind.clone();
            fields.insert("type".into(), kind);
        }
    }
    if let Some(Value::Array(choices)) = fields.get_mut("anyOf") {
        choices.retain(|choice| *choice != json!({"type": "null"}));
        if let [choice] = choices.as_slice() {
            // `allOf` of one: draft 07 has nothing beside a `$ref`
            let choice = choice.clone();
            fields.remove("anyOf");
            fields.insert("allOf".into(), json!([choice]));
        }
    }
}

/// Leaves the formats that JSON Schema defines; the widths of Rust's integers become limits.
fn known_formats(schema: &mut Schema) {
    let format = schema.get("format").and_then(Value::as_str).unwrap_or_default().to_string();
    if format == "uint32" {
        schema.insert("maximum".into(), u32::MAX.into());
    }
    if format.contains("int") || matches!(format.as_str(), "float" | "double") {
        schema.remove("format");
    }
    schemars::transform::transform_subschemas(&mut known_formats, schema);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::example::examples;

    #[test]
    fn every_type_is_described_and_has_an_example() {
        let described: Vec<String> = schemas().types.iter().map(|one| one.name.clone()).collect();
        let shown: Vec<String> = examples().iter().map(|event| event.type_name().to_string()).collect();
        assert_eq!(described, shown);
        assert!(schemas().types.iter().all(|one| !one.description.is_empty()));
        assert_eq!(schemas().types.iter().filter(|one| one.class == Class::Realtime).count(), 3);
    }

    #[test]
    fn what_is_always_sent_is_required_and_what_is_left_out_is_never_null() {
        let definitions = schemas().definitions;
        let turn = &definitions["Turn"];
        assert!(turn["required"].as_array().unwrap().contains(&json!("text")));
        assert_eq!(turn["properties"]["text"]["type"], json!(["string", "null"]));
        assert!(!turn["required"].as_array().unwrap().contains(&json!("corrected")));
        assert_eq!(turn["properties"]["corrected"]["type"], "integer");
        assert!(definitions["TranscriptFinal"]["required"].as_array().unwrap().contains(&json!("caught_up")));
        assert!(!definitions["Handover"].to_string().contains("stays_here"));
    }
}
