//! Recording sessions of every dialect against the program as an integrator runs it (`make lab`): SIPp signals, real RTP with another sound on
//! every stream, and what is on disk of each speaker is compared with what that speaker played.

#[path = "../call_lab/bridge.rs"]
#[allow(dead_code, reason = "this test uses its part")]
mod bridge;
#[path = "../common/lab.rs"]
#[allow(dead_code, reason = "this test uses its part")]
mod lab;
#[path = "../common/receiver.rs"]
#[allow(dead_code, reason = "this test uses its part")]
mod receiver;
#[path = "../common/sound.rs"]
#[allow(dead_code, reason = "this test uses its part")]
mod sound;

mod dialects;
mod recorder;
mod several;
