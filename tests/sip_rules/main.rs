//! The rules of the user agent server beyond a plain call, each in virtual time; `docs/sip.md` lists them.

mod lab;
mod order;
mod reliable;
mod timers;
mod update;
