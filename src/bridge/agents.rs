//! The directories of the sites by exchange, for drivers that must know who is an agent before the hub does; swapped by a reload.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use crate::call::directory::Directory;
use crate::pbx::PbxId;

/// Cheap to clone; all clones see the same directories.
#[derive(Clone, Debug, Default)]
pub struct Agents(Arc<RwLock<HashMap<PbxId, Arc<Directory>>>>);

impl Agents {
    /// Puts other directories in force.
    pub fn set(&self, directories: HashMap<PbxId, Arc<Directory>>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = directories;
    }

    /// Whether the directory of the exchange's site lists this extension.
    pub fn knows(&self, pbx: &PbxId, extension: &str) -> bool {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        all.get(pbx).is_some_and(|directory| directory.knows(extension))
    }
}
