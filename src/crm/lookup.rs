//! Who is calling: a site's own file of contacts, and what a CRM said a moment ago. How a CRM is asked says its connector.

pub mod contacts;
pub mod found;
