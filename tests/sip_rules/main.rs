//! The rules of the user agent server, each in virtual time; `docs/sip.md` lists them.

mod bodies;
mod call;
mod lab;
mod order;
mod refused;
mod reliable;
mod routes;
mod secure;
mod siprec;
mod table;
mod timers;
mod update;
