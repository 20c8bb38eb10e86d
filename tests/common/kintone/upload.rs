//! The one file of a `multipart/form-data` request (RFC 7578), as `file.json` takes it.

use super::answer::Refusal;
use super::store::File;
use crate::http::Request;

/// The part named `file`; its name is UTF-8 (RFC 7578 §4.2).
pub(crate) fn file(request: &Request) -> Result<File, Refusal> {
    let boundary = boundary(request.header("content-type")).ok_or_else(|| Refusal::missing("file"))?;
    let opening = format!("--{boundary}\r\n");
    let start = find(&request.body, opening.as_bytes()).ok_or_else(|| Refusal::missing("file"))? + opening.len();
    let part = &request.body[start..];
    let head_end = find(part, b"\r\n\r\n").ok_or_else(|| Refusal::missing("file"))?;
    let end = find(part, format!("\r\n--{boundary}--").as_bytes()).ok_or_else(|| Refusal::missing("file"))?;
    let head = String::from_utf8_lossy(&part[..head_end]).into_owned();
    let content = part.get(head_end + 4..end).ok_or_else(|| Refusal::missing("file"))?;
    let disposition = header(&head, "content-disposition").unwrap_or_default();
    if parameter(&disposition, "name").as_deref() != Some("file") {
        return Err(Refusal::missing("file"));
    }
    let name = parameter(&disposition, "filename").ok_or_else(|| Refusal::missing("file"))?;
    let content_type = header(&head, "content-type").unwrap_or_else(|| "application/octet-stream".into());
    Ok(File { name, content_type, content: content.into(), app: None })
}

fn boundary(content_type: &str) -> Option<String> {
    let multipart = content_type.to_ascii_lowercase().starts_with("multipart/form-data");
    parameter(content_type, "boundary").filter(|_| multipart)
}

fn header(head: &str, name: &str) -> Option<String> {
    let found = head.lines().filter_map(|line| line.split_once(':')).find(|(key, _)| key.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.trim().to_owned())
}

/// A parameter of a header's value, with or without quotes.
fn parameter(value: &str, name: &str) -> Option<String> {
    let mut parameters = value.split(';').skip(1).filter_map(|part| part.trim().split_once('='));
    let (_, value) = parameters.find(|(key, _)| key.eq_ignore_ascii_case(name))?;
    Some(value.trim_matches('"').to_owned())
}

fn find(bytes: &[u8], sought: &[u8]) -> Option<usize> {
    bytes.windows(sought.len()).position(|window| window == sought)
}
