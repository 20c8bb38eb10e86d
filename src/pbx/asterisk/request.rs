//! An ARI request as data: the edge sends it and gives the answer back under the same id.

use serde_json::Value;

/// Names one request until its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// HTTP methods that are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Read.
    Get,
    /// Make or do.
    Post,
    /// Set.
    Put,
    /// Remove.
    Delete,
}

/// One request below ARI's prefix.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// For the answer.
    pub id: RequestId,
    /// HTTP method.
    pub method: Method,
    /// Path below the prefix, percent-encoded, beginning with `/`.
    pub path: String,
    /// Query parameters, not encoded.
    pub query: Vec<(&'static str, String)>,
    /// JSON body.
    pub body: Option<Value>,
}

/// What comes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// An HTTP response.
    Response {
        /// Status code.
        status: u16,
        /// Body.
        body: String,
    },
    /// None came (connection, time-out, too large).
    Failed,
}

impl Answer {
    /// The body of a 2xx response.
    pub fn body(&self) -> Option<&str> {
        match self {
            Answer::Response { status: 200..=299, body } => Some(body),
            _ => None,
        }
    }

    /// For messages: `status 409` or `no answer`.
    pub fn outcome(&self) -> String {
        match self {
            Answer::Response { status, .. } => format!("status {status}"),
            Answer::Failed => "no answer".into(),
        }
    }
}

/// One segment of a path, percent-encoded (RFC 3986 §2.3).
pub fn segment(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_cannot_leave_its_place() {
        assert_eq!(segment("lab-1.2"), "lab-1.2");
        assert_eq!(segment("a/../b?c=1"), "a%2F..%2Fb%3Fc%3D1");
    }
}
