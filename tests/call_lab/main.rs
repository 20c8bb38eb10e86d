//! One two-party call end to end, as an integrator runs it: real telephones, a real Asterisk, `kakehashi serve`, a receiver that verifies
//! signatures by the reference library, Chromium. `make lab` starts what is needed; one call at a time.

#[path = "../common/baresip.rs"]
mod baresip;
#[path = "../common/lab.rs"]
mod lab;
#[path = "../common/privacy.rs"]
mod privacy;
#[path = "../common/receiver.rs"]
mod receiver;
#[path = "../common/sound.rs"]
mod sound;

mod bridge;
mod carriers;
mod handover;
mod hold;
mod judge;
mod killed;
mod matrix;
mod panel;
mod pause;
mod soak;
mod stopped;
mod text;
mod transfer;
mod whole;
