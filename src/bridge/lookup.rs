//! Runs look-ups with a time budget: the site's CRM is asked, its contacts file stands in; and reloads that file.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::oneshot;

use super::deliver::Deliverer;
use super::now;
use crate::call::number::Number;
use crate::crm::lookup::contacts::{Contacts, ContactsError};
use crate::crm::lookup::found::Found;
use crate::crm::settings::LookUp;
use crate::events::Match;

/// Why the contacts cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file system refused.
    #[error("{path}: {source}; correct [[site]] contacts")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The content is wrong.
    #[error(transparent)]
    Content(#[from] ContactsError),
}

/// The look-up of one site; cheap to clone.
#[derive(Clone)]
pub struct LookUps {
    contacts: Arc<RwLock<Arc<Contacts>>>,
    settings: Arc<RwLock<LookUp>>,
    found: Arc<Mutex<Found>>,
    /// Index of the endpoint whose CRM is asked.
    endpoint: Option<usize>,
    deliverer: Arc<OnceLock<Deliverer>>,
}

/// What a look-up gives within its budget, and what comes after it.
pub struct LookedUp {
    /// Who has the number; `None` when that is not known in time.
    pub matches: Option<Vec<Match>>,
    /// What the CRM says later, when it was too slow.
    pub late: Option<oneshot::Receiver<Option<Vec<Match>>>>,
}

impl LookUps {
    /// With the contacts of a file (an empty path is no contacts) and the CRM of an endpoint, by its index.
    ///
    /// # Errors
    /// When the file cannot be read or a row is wrong.
    pub fn load(path: &Path, endpoint: Option<usize>, settings: &LookUp) -> Result<LookUps, Error> {
        Ok(LookUps {
            contacts: Arc::new(RwLock::new(Arc::new(read(path)?))),
            settings: Arc::new(RwLock::new(*settings)),
            found: Arc::new(Mutex::new(Found::new(Duration::from_millis(settings.keep_ms)))),
            endpoint,
            deliverer: Arc::default(),
        })
    }

    /// Says who carries requests; the first time counts.
    pub fn connect(&self, deliverer: Deliverer) {
        let _ = self.deliverer.set(deliverer);
    }

    /// Other settings. With another time that answers are remembered, those so far are forgotten.
    pub fn tune(&self, settings: &LookUp) {
        let mut own = self.settings.write().unwrap_or_else(PoisonError::into_inner);
        if own.keep_ms != settings.keep_ms {
            *self.found() = Found::new(Duration::from_millis(settings.keep_ms));
        }
        *own = *settings;
    }

    /// Reads the file again; on an error the old contacts stay.
    ///
    /// # Errors
    /// As [`LookUps::load`].
    pub fn reload(&self, path: &Path) -> Result<(), Error> {
        let fresh = Arc::new(read(path)?);
        *self.contacts.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }

    /// Who has this number: what the CRM says in time, else the contacts file.
    pub async fn find(&self, number: &Number) -> LookedUp {
        let known = self.contacts.read().unwrap_or_else(PoisonError::into_inner).find(number);
        let crm = self.endpoint.zip(self.deliverer.get());
        let Some((endpoint, deliverer)) = crm else { return LookedUp { matches: Some(known), late: None } };
        if let Some(found) = self.found().get(number, now().mono) {
            return LookedUp { matches: Some(or(found, known)), late: None };
        }
        let (answer, mut late) = oneshot::channel();
        let (found, deliverer, number) = (Arc::clone(&self.found), deliverer.clone(), number.clone());
        let whole = known.clone();
        tokio::spawn(async move {
            let matches = deliverer.look_up(endpoint, &number).await;
            if let Some(matches) = &matches {
                lock(&found).put(number, matches.clone(), now().mono);
            }
            let _ = answer.send(matches.map(|matches| or(matches, whole)));
        });
        let known = (!known.is_empty()).then_some(known);
        let budget = self.settings.read().unwrap_or_else(PoisonError::into_inner).budget_ms;
        match tokio::time::timeout(Duration::from_millis(budget), &mut late).await {
            Ok(answered) => LookedUp { matches: answered.ok().flatten().or(known), late: None },
            Err(_) => LookedUp { matches: known, late: Some(late) },
        }
    }

    fn found(&self) -> MutexGuard<'_, Found> {
        lock(&self.found)
    }
}

/// The contacts file stands in where the CRM knows nobody.
fn or(crm: Vec<Match>, file: Vec<Match>) -> Vec<Match> {
    if crm.is_empty() { file } else { crm }
}

fn lock(found: &Mutex<Found>) -> MutexGuard<'_, Found> {
    found.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read(path: &Path) -> Result<Contacts, Error> {
    if path.as_os_str().is_empty() {
        return Ok(Contacts::default());
    }
    let bytes = std::fs::read(path).map_err(|source| Error::Read { path: path.into(), source })?;
    Ok(Contacts::parse(&path.display().to_string(), &bytes)?)
}
