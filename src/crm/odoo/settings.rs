//! `[endpoint.odoo]` of the configuration.

use serde::{Deserialize, Serialize};

/// An Odoo that calls are recorded in; its key or password is the first line of the endpoint's `secret_file`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Name of the database.
    pub database: String,
    /// Login of the user that the bridge is.
    pub login: String,
    /// How it is spoken to: `jsonrpc` (Odoo 14 to 18) or `json2` (19).
    pub protocol: Protocol,
    /// Where people open Odoo, when that is another address than `url`; empty = `url`.
    pub pages: String,
    /// Model of the call's record, with the fields of `crm.phonecall`.
    pub model: String,
    /// Where the transcript is put: `attachment` (a text file at the record) or `message` (a note in its log).
    pub transcript: TranscriptAs,
    /// Fields of contacts that hold telephone numbers.
    pub numbers: Vec<String>,
    /// Language of stages and other terms in a pop, installed in Odoo; empty = English.
    pub language: String,
    /// The ids of the agents' directory are logins in Odoo: a call belongs to whoever answered it first.
    pub agents_are_logins: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            database: "odoo".into(),
            login: "kakehashi".into(),
            protocol: Protocol::Jsonrpc,
            pages: String::new(),
            model: "crm.phonecall".into(),
            transcript: TranscriptAs::Attachment,
            numbers: ["phone_sanitized", "phone", "mobile"].map(String::from).into(),
            language: "ja_JP".into(),
            agents_are_logins: false,
        }
    }
}

/// How Odoo is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// `POST /jsonrpc`, Odoo 14 to 18.
    Jsonrpc,
    /// `POST /json/2/<model>/<method>`, Odoo 19.
    Json2,
}

/// What a transcript is in Odoo.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TranscriptAs {
    /// `ir.attachment`.
    Attachment,
    /// `mail.message`.
    Message,
}
