//! Two outboxes in separated networks: the real relay process, real TLS, and a network between that cuts, counts and is slow.

#[path = "../common/batch.rs"]
mod batch;
mod budget;
mod cut;
mod ends;
mod example;
#[path = "../common/hook.rs"]
mod hook;
#[path = "../faults/ledger.rs"]
mod ledger;
#[path = "../common/mutate.rs"]
mod mutate;
mod proxy;
mod raw;
mod sound;
#[path = "../common/tls.rs"]
mod tls;
