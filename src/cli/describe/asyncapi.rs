//! The AsyncAPI 3.0 document: webhooks, subjects of NATS, and the live feed.

use serde_json::{Map, Value, json};

use crate::events::Class;
use crate::events::example::examples;
use crate::events::schema::{EventType, Schemas, schemas};

/// How events are sent. (CloudEvents JSON format §3.1)
const CONTENT: &str = "application/cloudevents+json";
const INFO: &str = "Events from a telephone exchange to a CRM: calls, who calls, what is said. CloudEvents 1.0 in structured JSON. Record events are \
                    kept until they are delivered, in the order of their contact; realtime events are sent now or never. The same event may come \
                    twice, with the same `id`. Fields may be added: receivers leave alone what they do not know. Times in `data` are microseconds \
                    since 1970-01-01T00:00:00Z. Made by `kakehashi describe asyncapi`.";

/// The document of all events.
pub fn document() -> Value {
    let described = schemas();
    let types = &described.types;
    with_feed(json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Kakehashi (架け橋)",
            "version": env!("CARGO_PKG_VERSION"),
            "description": INFO,
            "license": {"name": "Apache-2.0 OR MIT"},
        },
        "defaultContentType": CONTENT,
        "servers": {
            "receiver": {"host": "crm.example.jp", "protocol": "https", "description": "The `url` of an `[[endpoint]]`."},
            "bus": {"host": "nats1.example.jp:4222", "protocol": "nats", "description": "The `url` of an `[[endpoint]]` with `[endpoint.nats]`."},
        },
        "channels": {
            "webhook": {
                "address": null,
                "title": "Webhook",
                "description": "The `url` of an `[[endpoint]]`. Signed as Standard Webhooks 1.0.0 asks; a 2xx means that the receiver has the event.",
                "servers": [reference("#/servers/receiver")],
                "messages": named(types, |_| true),
            },
            "record": subjects("calls", "Record events, stored by JetStream", named(types, |one| one.class == Class::Record)),
            "live": subjects("live", "Realtime events, to whoever listens", named(types, |one| one.class == Class::Realtime)),
        },
        "operations": {
            "deliver": {
                "action": "send",
                "channel": reference("#/channels/webhook"),
                "summary": "Delivers an event to a receiver, until it has it.",
                "bindings": {"http": {"method": "POST", "bindingVersion": "0.3.0"}},
            },
            "publish": {
                "action": "send",
                "channel": reference("#/channels/record"),
                "summary": "Publishes a record event into the stream, until it is acknowledged.",
            },
            "announce": {
                "action": "send",
                "channel": reference("#/channels/live"),
                "summary": "Publishes a realtime event once.",
            },
        },
        "components": {
            "messages": types.iter().map(|one| (one.name.clone(), message(one))).collect::<Map<_, _>>(),
            "schemas": payloads(&described),
        },
    }))
}

#[cfg(feature = "web")]
fn with_feed(mut document: Value) -> Value {
    feed::add(&mut document);
    document
}

#[cfg(not(feature = "web"))]
fn with_feed(document: Value) -> Value {
    document
}

fn reference(place: &str) -> Value {
    json!({ "$ref": place })
}

/// References to the messages of some types.
fn named(types: &[EventType], is_one: impl Fn(&EventType) -> bool) -> Value {
    let names = types.iter().filter(|one| is_one(one)).map(|one| &one.name);
    names.map(|name| (name.clone(), reference(&format!("#/components/messages/{name}")))).collect::<Map<_, _>>().into()
}

/// A channel of NATS. (`crm::nats`)
fn subjects(base: &str, title: &str, messages: Value) -> Value {
    json!({
        "address": format!("{base}.{{site}}.{{contact}}.{{type}}"),
        "title": title,
        "description": format!("`{base}` is what `[endpoint.nats]` says. What no token of a subject may hold stands as `=` and two hexadecimal digits a byte. `Nats-Msg-Id` of a record event is its `id`."),
        "servers": [reference("#/servers/bus")],
        "parameters": {
            "site": {"description": "The `id` of the `[[site]]`."},
            "contact": {"description": "The contact: `partitionkey` of the event."},
            "type": {"description": "`type` of the event without its `kakehashi.`; its dots part tokens."},
        },
        "messages": messages,
    })
}

fn message(event: &EventType) -> Value {
    let class = match event.class {
        Class::Record => "Record: kept until it is delivered.",
        Class::Realtime => "Realtime: sent now or never.",
    };
    let shown = examples().into_iter().find(|example| example.type_name() == event.name);
    let shown = shown.and_then(|example| serde_json::from_str::<Value>(&example.to_json()).ok());
    json!({
        "name": event.name,
        "title": event.name,
        "summary": event.description,
        "description": format!("{} {class}", event.description),
        "contentType": CONTENT,
        "headers": signed(),
        "payload": {"oneOf": [
            reference(&format!("#/components/schemas/{}", event.name)),
            {"allOf": [
                reference("#/components/schemas/ByReference"),
                {"type": "object", "properties": {"type": {"const": event.name}}},
            ]},
        ]},
        "examples": [{"name": "whole", "payload": shown}],
    })
}

/// The headers of Standard Webhooks 1.0.0.
fn signed() -> Value {
    json!({
        "type": "object",
        "properties": {
            "webhook-id": {"type": "string", "format": "uuid", "description": "The `id` of the event (webhooks only, as the other two)."},
            "webhook-timestamp": {"type": "string", "pattern": "^[0-9]+$", "description": "When it was sent, in seconds since 1970."},
            "webhook-signature": {"type": "string", "description": "`v1,…` (HMAC-SHA256) or `v1a,…` (Ed25519), one for each secret, with blanks between."},
        },
    })
}

/// The schemas of all events, whole and by reference, with what they refer to.
fn payloads(described: &Schemas) -> Map<String, Value> {
    let mut schemas = described.definitions.clone();
    schemas.insert("Envelope".into(), described.envelope.clone());
    for one in &described.types {
        let own = json!({
            "type": "object",
            "required": ["type", "data"],
            "properties": {"type": {"type": "string", "const": one.name}, "data": one.data},
        });
        let whole = json!({"description": one.description, "allOf": [reference("#/components/schemas/Envelope"), own]});
        schemas.insert(one.name.clone(), whole);
    }
    schemas.insert("ByReference".into(), by_reference());
    schemas
}

/// An event without its data. (`crm::webhook`)
fn by_reference() -> Value {
    json!({
        "description": "An event without its data, where an endpoint gets none (`thin`) or the event is larger than its `max_body_bytes`.",
        "allOf": [reference("#/components/schemas/Envelope"), {
            "type": "object",
            "required": ["type", "dataref", "datahash"],
            "properties": {
                "type": {"type": "string"},
                "data": false,
                "dataref": {"type": "string", "format": "uri", "description": "`GET` the event there; `urn:uuid:<id>` where there is no API (CloudEvents extension)."},
                "datahash": {"type": "string", "pattern": "^sha256:[0-9a-f]{64}$", "description": "The digest of the value of `data`, byte for byte as it is fetched."},
            },
        }],
    })
}

#[cfg(feature = "web")]
mod feed {
    //! The panel's part: server-sent events.

    use schemars::JsonSchema;
    use schemars::generate::SchemaSettings;
    use serde_json::{Map, Value, json};

    use super::reference;
    use crate::events::schema::as_sent;
    use crate::panel::told::{AnyEvent, Beat, Contact, Oversize, Reset, Synced};

    /// Adds the feed to the document.
    pub(super) fn add(document: &mut Value) {
        let mut generator = as_sent(SchemaSettings::draft07());
        let _ = generator.subschema_for::<Oversize>();
        let messages: Map<String, Value> = [
            message::<Reset>(&mut generator, "reset", "Forget everything: the running contacts follow, then `synced`."),
            message::<Contact>(
                &mut generator,
                "contact",
                "One contact as a whole; replaces what the client knows of it.",
            ),
            message::<Synced>(&mut generator, "synced", "The contacts are complete."),
            message::<AnyEvent>(&mut generator, "event", "One event, always with its data."),
            message::<Beat>(&mut generator, "beat", "A sign of life on a quiet feed."),
        ]
        .into_iter()
        .collect();
        let types: Vec<Value> =
            names(document).iter().map(|name| reference(&format!("#/components/schemas/{name}"))).collect();
        let choices: Vec<Value> = types.into_iter().chain([reference("#/components/schemas/Oversize")]).collect();
        let schemas = &mut document["components"]["schemas"];
        schemas["Event"] = json!({"description": "Any event as the feed shows it.", "oneOf": choices});
        for (name, schema) in generator.take_definitions(true) {
            schemas[name] = schema;
        }
        let carried = messages.keys().map(|name| (name.clone(), reference(&format!("#/components/messages/{name}"))));
        document["channels"]["feed"] = channel(carried.collect());
        for (name, message) in messages {
            document["components"]["messages"][name] = message;
        }
        document["components"]["securitySchemes"] =
            json!({"token": {"type": "http", "scheme": "bearer", "description": "The token of `[panel]`."}});
        document["servers"]["panel"] = json!({
            "host": "127.0.0.1:8080",
            "protocol": "http",
            "description": "`[panel] listen`.",
            "security": [reference("#/components/securitySchemes/token")],
        });
        document["operations"]["show"] = json!({
            "action": "send",
            "channel": reference("#/channels/feed"),
            "summary": "Shows what happens to whoever looks.",
            "bindings": {"http": {"method": "GET", "query": query(), "bindingVersion": "0.3.0"}},
        });
    }

    fn channel(messages: Map<String, Value>) -> Value {
        json!({
            "address": "/v1/feed",
            "title": "The live feed",
            "description": "Server-sent events; the message is what the line `event:` names, its payload the line `data:`. `Last-Event-ID` resumes; who cannot resume gets `reset`, every running contact, and `synced`. What belongs to a contact that the client has not seen comes as `contact`.",
            "servers": [reference("#/servers/panel")],
            "messages": messages,
        })
    }

    fn message<T: JsonSchema>(generator: &mut schemars::SchemaGenerator, name: &str, summary: &str) -> (String, Value) {
        let payload = generator.subschema_for::<T>();
        let message = json!({"name": name, "title": name, "summary": summary, "contentType": "application/json", "payload": payload});
        (name.into(), message)
    }

    fn names(document: &Value) -> Vec<String> {
        let messages = document["components"]["messages"].as_object();
        messages.map(|messages| messages.keys().cloned().collect()).unwrap_or_default()
    }

    fn query() -> Value {
        json!({
            "type": "object",
            "properties": {
                "extension": {"type": "string", "description": "Only what concerns this agent's telephone."},
                "agent": {"type": "string", "description": "Only what concerns this agent."},
                "last_event_id": {"type": "string", "description": "As the header `Last-Event-ID`."},
            },
        })
    }
}
