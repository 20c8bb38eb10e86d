//! The stand-in for kintone (`tests/common/kintone/`) refuses and fails as it should.

#[path = "../common/http.rs"]
mod http;
#[path = "../common/kintone/mod.rs"]
mod kintone;
mod service;
