//! The HTTP interface of the local engine, for what skopeo cannot ask it: which of its images a digest means.
//!
//! An engine keeps the digests that its images were pulled by, but no manifests. skopeo makes one up, which has another digest.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::digest::Digest;
use crate::error::{Context, Error, Result};

/// The socket that skopeo uses, too.
const SOCKET: &str = "/var/run/docker.sock";
/// Longest answer.
const ANSWER_MAX: u64 = 4 << 20;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Returns the ID of the image that is called `name`, which may contain a digest.
pub fn image_id(name: &str) -> Result<Digest> {
    let what = || format!("cannot ask the engine at {SOCKET} for image {name}");
    let answer = ask(&format!("/images/{name}/json")).context(what)?;
    find_id(&answer).context(what)
}

fn ask(path: &str) -> std::io::Result<Vec<u8>> {
    let mut socket = UnixStream::connect(SOCKET)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    // Version 1.0, so that the answer comes in one piece and ends with the connection.
    socket.write_all(format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").as_bytes())?;
    let mut answer = Vec::new();
    socket.take(ANSWER_MAX).read_to_end(&mut answer)?;
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
