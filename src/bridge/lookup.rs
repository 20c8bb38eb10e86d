//! Runs look-ups with a time budget, and reloads the contacts file.

use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use crate::call::number::Number;
use crate::crm::lookup::{Contacts, ContactsError};
use crate::events::Match;

/// A look-up that takes longer is given up; the pop is shown without it.
pub const BUDGET: Duration = Duration::from_millis(800);

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
#[derive(Clone, Debug, Default)]
pub struct LookUps {
    contacts: Arc<RwLock<Arc<Contacts>>>,
}

impl LookUps {
    /// With the contacts of a file; an empty path is no contacts.
    ///
    /// # Errors
    /// When the file cannot be read or a row is wrong.
    pub fn load(path: &Path) -> Result<LookUps, Error> {
        Ok(LookUps { contacts: Arc::new(RwLock::new(Arc::new(read(path)?))) })
    }

    /// Reads the file again; on an error the old contacts stay.
    ///
    /// # Errors
    /// As [`LookUps::load`].
    pub fn reload(&self, path: &Path) -> Result<(), Error> {
        let fresh = Arc::new(read(path)?);
        *self.contacts.write().unwrap_or_else(std::sync::PoisonError::into_inner) = fresh;
        Ok(())
    }

    /// Who has this number; `None` when it took too long.
    pub async fn find(&self, number: &Number) -> Option<Vec<Match>> {
        let contacts = self.contacts.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        let number = number.clone();
        tokio::time::timeout(BUDGET, async move { contacts.find(&number) }).await.ok()
    }
}

fn read(path: &Path) -> Result<Contacts, Error> {
    if path.as_os_str().is_empty() {
        return Ok(Contacts::default());
    }
    let bytes = std::fs::read(path).map_err(|source| Error::Read { path: path.into(), source })?;
    Ok(Contacts::parse(&path.display().to_string(), &bytes)?)
}
