//! Renegotiation of TLS 1.2 (RFC 5246 §7.4.1, RFC 5746): a peer that asks for it is refused, and harms nobody, himself included.

#[path = "common/sip.rs"]
mod bridge;
#[path = "common/tls.rs"]
mod secure;

use std::sync::Arc;

use bridge::{PATIENCE, SDP, Wanted, code, request, to_tag};
use kakehashi::pbx::Signal;
use rustls::crypto::cipher::{
    InboundOpaqueMessage, MessageDecrypter, MessageEncrypter, OutboundChunks, OutboundPlainMessage,
};
use rustls::version::TLS12;
use rustls::{
    ClientConfig, ClientConnection, ConnectionTrafficSecrets, ContentType, ExtractedSecrets, ProtocolVersion,
    SupportedCipherSuite,
};
use secure::{Authority, Files, client, connect, ends, read_message, write};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const VIA: &str = "TLS 127.0.0.1:5061";

/// The records of a connection whose handshake is over, written and read by hand: no TLS library lets its user renegotiate any more.
struct Records {
    stream: TcpStream,
    encrypter: Box<dyn MessageEncrypter>,
    decrypter: Box<dyn MessageDecrypter>,
    /// Sequence numbers of the next records.
    next: (u64, u64),
}

impl Records {
    fn of(stream: TlsStream<TcpStream>) -> Records {
        let (stream, connection) = stream.into_inner();
        let Some(SupportedCipherSuite::Tls12(suite)) = connection.negotiated_cipher_suite() else { panic!("TLS 1.2") };
        let ExtractedSecrets { tx, rx } = connection.dangerous_extract_secrets().unwrap();
        let keys = |secrets| match secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } | ConnectionTrafficSecrets::Aes256Gcm { key, iv } => {
                (key, iv.as_ref().to_vec())
            }
            _ => panic!("AES-GCM"),
        };
        let ((write_key, write_iv), (read_key, read_iv)) = (keys(tx.1), keys(rx.1));
        Records {
            stream,
            encrypter: suite.aead_alg.encrypter(write_key, &write_iv[..4], &write_iv[4..]),
            decrypter: suite.aead_alg.decrypter(read_key, &read_iv[..4]),
            next: (tx.0, rx.0),
        }
    }

    async fn write(&mut self, typ: ContentType, payload: &[u8]) {
        let payload = OutboundChunks::Single(payload);
        let plain = OutboundPlainMessage { typ, version: ProtocolVersion::TLSv1_2, payload };
        let record = self.encrypter.encrypt(plain, self.next.0).unwrap().encode();
        self.next.0 += 1;
        self.stream.write_all(&record).await.unwrap();
    }

    async fn read(&mut self) -> (ContentType, Vec<u8>) {
        let mut head = [0; 5];
        let read = timeout(PATIENCE, self.stream.read_exact(&mut head)).await;
        read.expect("nothing came").expect("a record, not the end");
        let mut payload = vec![0; usize::from(u16::from_be_bytes([head[3], head[4]]))];
        self.stream.read_exact(&mut payload).await.unwrap();
        let record = InboundOpaqueMessage::new(ContentType::from(head[0]), ProtocolVersion::TLSv1_2, &mut payload);
        let plain = self.decrypter.decrypt(record, self.next.1).unwrap();
        self.next.1 += 1;
        (plain.typ, plain.payload.to_vec())
    }

    async fn asks(&mut self, text: &str) {
        self.write(ContentType::ApplicationData, text.as_bytes()).await;
    }

    /// The code of the next answer.
    async fn answered(&mut self) -> u16 {
        let (typ, answer) = self.read().await;
        assert_eq!(typ, ContentType::ApplicationData);
        code(&String::from_utf8_lossy(&answer))
    }
}

/// The handshake message that begins a new handshake.
fn client_hello(config: &Arc<ClientConfig>) -> Vec<u8> {
    let name = rustls::pki_types::ServerName::try_from("bridge.example.jp").unwrap();
    let mut connection = ClientConnection::new(config.clone(), name).unwrap();
    let mut record = Vec::new();
    connection.write_tls(&mut record).unwrap();
    record.split_off(5)
}

async fn call(stream: &mut TlsStream<TcpStream>, call: &str) -> String {
    write(stream, &request("INVITE", call, VIA, 1, "", SDP)).await;
    let answer = loop {
        let answer = read_message(stream).await;
        if code(&answer) >= 200 {
            break answer;
        }
    };
    assert_eq!(code(&answer), 200, "{answer}");
    write(stream, &request("ACK", call, VIA, 1, &to_tag(&answer), "")).await;
    to_tag(&answer)
}

#[tokio::test]
async fn renegotiation_is_refused_and_the_calls_of_the_connection_and_of_others_go_on() {
    let (authority, files) = (Authority::new(), Files::new());
    let settings = files.settings(&authority, &authority.issue(&["bridge.example.jp"]));
    let mut bridge = Wanted { settings, ..Wanted::new(27_280) }.start().await.unwrap();
    let own = authority.issue(&["pbx.example.jp"]);
    let mut config = ClientConfig::clone(client(&authority, Some(&own), &[&TLS12]).config());
    config.enable_secret_extraction = true;
    let config = Arc::new(config);
    let connector = TlsConnector::from(config.clone());

    let mut other = connect(&connector, "bridge.example.jp", bridge.tls()).await.unwrap();
    let others = call(&mut other, "other").await;
    let mut asker = connect(&connector, "bridge.example.jp", bridge.tls()).await.unwrap();
    let tag = call(&mut asker, "asker").await;
    let mut asker = Records::of(asker);

    asker.write(ContentType::Handshake, &client_hello(&config)).await;
    asker.asks(&request("OPTIONS", "asker", VIA, 2, &tag, "")).await;
    assert_eq!(asker.read().await, (ContentType::Alert, vec![1, 100]), "a warning: no_renegotiation");
    assert_eq!(asker.answered().await, 200, "its call goes on");
    asker.asks(&request("BYE", "asker", VIA, 3, &tag, "")).await;
    assert_eq!(asker.answered().await, 200);
    bridge.until(|signal| matches!(signal, Signal::CallEnded(_))).await;

    // who asks again and again loses his connection, before it costs a handshake
    asker.write(ContentType::Handshake, &client_hello(&config)).await;
    let counters = bridge.counted(|counters| counters.connections == 1).await;
    assert_eq!((counters.handshakes_failed, counters.calls), (0, 1));
    assert_eq!(asker.read().await, (ContentType::Alert, vec![1, 0]), "close_notify");
    assert!(ends(&mut asker.stream).await);

    write(&mut other, &request("BYE", "other", VIA, 2, &others, "")).await;
    assert_eq!(code(&read_message(&mut other).await), 200);
    bridge.until(|signal| matches!(signal, Signal::CallEnded(_))).await;
    bridge.sip.stop().await;
}
