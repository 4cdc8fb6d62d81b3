//! The HTTP interface of the local engine, for a question that skopeo cannot ask: which of its images has a digest.
//!
//! An engine keeps the digests that its images were pulled by, but no manifests. skopeo makes one up, with a different
//! digest.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use crate::digest::Digest;
use crate::error::{Context, Error, Result};

/// The socket of the engine, the same that skopeo uses.
const SOCKET: &str = "/var/run/docker.sock";
/// Maximum size of an answer in bytes.
const ANSWER_MAX: u64 = 4 << 20;
/// How long to wait for an answer, all of it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Returns the ID of the image that is called `name`, which may contain a digest.
pub fn image_id(name: &str) -> Result<Digest> {
    let what = || format!("cannot ask the engine at {SOCKET} for image {name}");
    let answer = ask(&format!("/images/{name}/json")).context(what)?;
    find_id(&answer).context(what)
}

fn ask(path: &str) -> std::io::Result<Vec<u8>> {
    let mut socket = UnixStream::connect(SOCKET)?;
    let deadline = Instant::now() + PATIENCE;
    socket.set_write_timeout(Some(PATIENCE))?;
    // Version 1.0, so that the answer comes in one piece and ends with the connection.
    socket.write_all(format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").as_bytes())?;
    let (mut answer, mut buffer) = (Vec::new(), [0; 8192]);
    while (answer.len() as u64) < ANSWER_MAX {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(std::io::ErrorKind::TimedOut.into());
        }
        socket.set_read_timeout(Some(left))?;
        match socket.read(&mut buffer)? {
            0 => break,
            length => answer.extend_from_slice(&buffer[..length]),
        }
    }
    Ok(answer)
}

fn find_id(answer: &[u8]) -> Result<Digest> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n");
    let (head, body) = answer.split_at(end.ok_or_else(|| Error::new("its answer is not HTTP"))?);
    let body: serde_json::Value =
        serde_json::from_slice(&body[4..]).context(|| "its answer is not valid JSON".into())?;
    let text = |key: &str| body.get(key).and_then(|value| value.as_str());
    let status = String::from_utf8_lossy(head);
    let status = status.lines().next().and_then(|line| line.split_once(' ')).map_or("", |(_, status)| status);
    match text("Id").and_then(|id| id.parse().ok()) {
        Some(id) if status.starts_with("200") => Ok(id),
        _ => Err(Error::new(text("message").unwrap_or(status).to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_id_or_says_why_not() {
        let id = format!("sha256:{}", "a".repeat(64));
        let answer =
            |status: &str, body: &str| find_id(format!("HTTP/1.0 {status}\r\nA: b\r\n\r\n{body}").as_bytes());
        assert_eq!(answer("200 OK", &format!("{{\"Id\":\"{id}\"}}")).unwrap().to_string(), id);
        for (status, body, why) in [
            ("404 Not Found", r#"{"message":"No such image"}"#, "No such image"),
            ("404 Not Found", "{}", "404 Not Found"),
            ("500 x", &format!("{{\"Id\":\"{id}\"}}"), "500 x"),
            ("200 OK", r#"{"Id":"../x"}"#, "200 OK"),
            ("200 OK", "x", "not valid JSON"),
        ] {
            let e = answer(status, body).unwrap_err().to_string();
            assert!(e.contains(why), "{e}");
        }
        assert!(find_id(b"garbage").unwrap_err().to_string().contains("not HTTP"));
    }
}
