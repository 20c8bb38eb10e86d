//! The pool of workers in virtual time: what waits, what is dropped, what is told again.
use uuid::Uuid;

use super::*;
use crate::call::scope::Scopes;
use crate::time::Mono;

fn job(id: u64, kind: JobKind) -> Job {
    let (pcm, stream) = (vec![0; 16_000].into(), StreamId(Uuid::from_u128(id.into())));
    let (since, scopes) = (Mono(0), Scopes::default());
    Job { id, kind, stream, utterance: 0, rate: 8_000, pcm, scopes, since, deadline: None }
}

#[test]
fn while_the_server_is_gone_a_partial_at_the_only_local_worker_makes_way_for_a_final() {
    let mut settings = Settings::default();
    settings.remote.url = "http://127.0.0.1:9/v1/audio/transcriptions".into();
    settings.remote.fallback = true;
    assert!(settings.remote.concurrency > 1);
    let remote = Remote::new(&settings.remote, "ja").unwrap();
    assert!(!remote.works(), "it is asked first whether it is there");
    let shared = Shared::new(&settings, PathBuf::new(), 1, Arc::new(Dictionary::empty()), Some(remote));
    let workers = Workers { shared: Arc::new(shared) };
    workers.submit(job(1, JobKind::FirstPartial)).unwrap();
    let taken = workers.schedule(|schedule| schedule.take(now(), &mut Vec::new()));
    assert_eq!(taken.map(|attempt| attempt.job.id), Some(1));
    workers.submit(job(2, JobKind::LiveFinal)).unwrap();
    assert!(workers.schedule(|schedule| schedule.is_withdrawn(1)), "the final does not wait for it");
}
