//! What the external media of a tap comes by: RTP, AudioSocket or chan_websocket. How it is asked for, and what its answer says.

use uuid::Uuid;

use crate::pbx::StreamId;

use super::ari::{Ari, Output};
use super::event::Channel;
use super::settings::Carrier;

impl Ari {
    /// The name under which Asterisk connects for a stream.
    pub(super) fn name_of(&self, stream: StreamId) -> String {
        match self.settings.media {
            Carrier::Audiosocket => Uuid::new_v5(&self.secret, stream.0.as_bytes()).to_string(),
            Carrier::Websocket if !self.settings.media_client.is_empty() => self.part_id(stream, "media"),
            Carrier::Rtp | Carrier::Websocket => String::new(),
        }
    }

    /// How external media is asked for.
    pub(super) fn media_asked(&self, stream: StreamId, port: u16) -> Vec<(&'static str, String)> {
        let settings = &self.settings;
        let host = ("external_host", format!("{}:{port}", bracketed(&settings.rtp_host)));
        let format = settings.format().map_or("slin", |format| format.name());
        match settings.media {
            Carrier::Rtp => vec![host, ("format", "ulaw".into())],
            Carrier::Audiosocket => vec![
                host,
                ("format", format.into()),
                ("encapsulation", "audiosocket".into()),
                ("transport", "tcp".into()),
                ("data", self.name_of(stream)),
            ],
            Carrier::Websocket => {
                let client = settings.media_client.clone();
                let (host, kind) = if client.is_empty() { ("INCOMING".into(), "server") } else { (client, "client") };
                vec![
                    ("external_host", host),
                    ("format", format.into()),
                    ("encapsulation", "none".into()),
                    ("transport", "websocket".into()),
                    ("connection_type", kind.into()),
                    ("transport_data", "f(json)".into()),
                ]
            }
        }
    }

    /// Asterisk made the channel: who will send, or where we connect.
    pub(super) fn media_made(&mut self, stream: StreamId, made: Channel) -> Result<(), &'static str> {
        let Channel { media_source, media_connection: connection, .. } = made;
        match self.settings.media {
            // an empty address: Asterisk did not say, and the driver decides
            Carrier::Rtp => {
                self.out.push_back(Output::Expect { stream, source: media_source.unwrap_or_default() });
            }
            Carrier::Websocket if self.settings.media_client.is_empty() => {
                if connection.is_empty() {
                    return Err("Asterisk did not say where its websocket is; it needs version 22.8 or newer");
                }
                self.out.push_back(Output::Connect { stream, connection });
            }
            Carrier::Audiosocket | Carrier::Websocket => {}
        }
        Ok(())
    }

    /// What Asterisk did not make, and why that may be.
    pub(super) fn media_refused(&self) -> &'static str {
        match self.settings.media {
            Carrier::Rtp => "external media (is chan_rtp loaded, has rtp.conf free ports?)",
            Carrier::Audiosocket => {
                "external media (is chan_audiosocket loaded, does it reach rtp_host and the port of [pbx.audiosocket]?)"
            }
            Carrier::Websocket => {
                "external media (is chan_websocket loaded, is media_client in websocket_client.conf, does it reach [pbx.websocket]?)"
            }
        }
    }
}

/// An IPv6 address in brackets, everything else as it is.
fn bracketed(host: &str) -> String {
    if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.into() }
}
