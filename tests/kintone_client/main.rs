//! The stand-in for kintone (`tests/common/kintone/`): the service's own client understands it (`client`, needs Node.js), and it refuses and fails
//! as it should (`service`).

mod client;
#[path = "../common/http.rs"]
mod http;
#[path = "../common/kintone/mod.rs"]
mod kintone;
mod node;
mod service;
