//! Kakehashi (架け橋): the bridge from a telephone exchange to a CRM.
//!
//! # The path of one packet
//!
//! A citizen calls; an agent's telephone rings and is answered. What the exchange tells of the call arrives in [`bridge`]
//! ([`bridge::ari`], [`bridge::sip`], [`bridge::mirror`]) and is read by [`pbx`] into one vocabulary, [`pbx::Signal`]. The hub ([`bridge::hub`]) hands each signal
//! to the [`session`] of its contact. The session keeps the model of [`call`] by it (legs, parties, the one way a leg ends) and asks
//! who calls; at the first ring the pop goes out.
//!
//! What a portal or a bot told of the caller beforehand ([`call::context`]) is in that pop; when she is passed on, what was said goes along with
//! her to the next person's.
//!
//! The exchange sends each party's sound as RTP to a port of its own, or over a connection ([`bridge::asterisk_media`]); a softphone in a browser
//! sends it by WHIP (`bridge::webcall`, [`pbx::web`]), and of an exchange that can do none of that a copy of its packets is read
//! ([`bridge::mirror`], [`pbx::mirror`]). A media thread ([`bridge::media`]) takes the packet. [`media`]
//! checks its source and its header, decodes it, and puts the PCM where it belongs in time; what was lost becomes a marked gap. The
//! PCM is appended to a segment on disk and handed to the listener ([`bridge::listener`]), where [`speech::vad`] and [`speech::endpoint`] cut
//! it into utterances. The session makes a job of each utterance; [`speech::schedule`] says which job is next, and a worker process
//! ([`bridge::workers`], [`speech::protocol`]) recognises it by `speech::whisper`, on this machine or on another one ([`speech::nats`],
//! [`bridge::workers::machine`]), or a server of the site does ([`bridge::remote`], [`speech::remote`]). Tones, music and noise are kept away before that, and [`speech::plausible`] drops what nobody can have said. While an
//! utterance is still being said it is read as often as the load allows ([`speech::pace`]), and what two readings agree on
//! ([`speech::agreement`]) is shown as settled.
//!
//! The municipality's [`dictionary`] is preferred while the words are decoded and puts them right by their sound afterwards; which of its words apply
//! to a call says [`call::scope`].
//! [`transcript`] makes the text of record of that: spoken numbers become written ones, and those that must not be stored are masked in it and silenced on
//! disk; a text that ends in digits waits for the rest. Of all texts of a contact it makes its document.
//!
//! The session tells the text as an event ([`events`]). A record event is committed to the [`outbox`] on disk before anything else sees
//! it. Then each endpoint's connector ([`crm`]: [`crm::webhook`], [`crm::odoo`], [`crm::kintone`], [`crm::zammad`], [`crm::nats`]) says what is
//! to be sent of it, [`bridge::deliver`] carries that until it is accepted, and the `panel` shows it on the screen. The same connector is asked who
//! is calling ([`bridge::lookup`]). What was kept long enough is deleted ([`bridge::retention`]). Where the
//! time went is told to an OpenTelemetry collector, if there is one ([`bridge::telemetry`]). What events and the HTTP API look like
//! is printed for other programs by `kakehashi describe` (`cli/describe`), from the types that are sent.
//!
//! Where the CRM is in another network, the connector is [`crm::relay`]: frames of [`outbox::relay`] go over one link ([`bridge::relay`]) into the
//! outbox of a `kakehashi relay`, which delivers them there in the same way.
//!
//! Before all that an integrator asks whether an exchange can feed the bridge: [`bridge::probe`] asks it by SIP and ARI, and [`probe`]
//! judges what came back.
//!
//! # Rules
//!
//! The modules stand below in the order of that path, and a stage uses only stages before it, [`time`] and [`events`]; [`config`]
//! composes the settings of all stages and is used at the edge only. Only the edge (`bridge`, `cli`, `panel::http`, `outbox::store`,
//! `media::segment`) reads a clock, opens a socket or a file, spawns or waits: all else is given `now` and inputs and returns outputs.
//! `tests/layering.rs` checks this.

pub mod time;

pub mod pbx;

pub mod call;

pub mod media;

pub mod speech;

pub mod dictionary;

pub mod transcript;

pub mod events;

pub mod outbox;

pub mod crm;

#[cfg(feature = "web")]
pub mod panel;

pub mod session;

pub mod probe;

pub mod config;

pub mod bridge;

pub mod cli;
