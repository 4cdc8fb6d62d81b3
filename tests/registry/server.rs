//! A registry that behaves in any way that a test wants: over HTTP on loopback, one image for each name.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::layout::{Layout, digest};

/// What is done to requests for layers, unless it says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// Everything is as it should be.
    Honest,
    /// The manifest never comes.
    QuietManifest,
    /// The configuration never comes.
    QuietConfig,
    /// Half of a layer comes, and no more.
    Quiet,
    /// A layer comes byte by byte.
    Drip,
    /// A layer comes slowly, in pieces, but at an honest rate.
    Slow,
    /// A layer is followed by zeros without an end.
    Endless,
    /// A layer ends before its last byte, as if that were all of it.
    Short,
    /// Layers are somewhere else, and the way there is signed; nothing answers there.
    Redirect,
}

/// All of them, by the names that `/behave/IMAGE/NAME` takes; `/as/IMAGE/OTHER` serves another image by that name.
pub const ALL: [(&str, Behaviour); 9] = [
    ("honest", Behaviour::Honest),
    ("quiet-manifest", Behaviour::QuietManifest),
    ("quiet-config", Behaviour::QuietConfig),
    ("quiet", Behaviour::Quiet),
    ("drip", Behaviour::Drip),
    ("slow", Behaviour::Slow),
    ("endless", Behaviour::Endless),
    ("short", Behaviour::Short),
    ("redirect", Behaviour::Redirect),
];

/// An image that is served.
#[derive(Clone)]
struct Served {
    behaviour: Behaviour,
    manifest: String,
    config: String,
    blobs: HashMap<String, Vec<u8>>,
}

#[derive(Default)]
struct State {
    images: BTreeMap<String, Served>,
    /// How often each path was asked for.
    requests: BTreeMap<String, usize>,
}

/// A registry.
#[derive(Clone)]
pub struct Server {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Server {
    /// Listens, until the test ends.
    pub fn new(address: &str) -> Server {
        let listener = TcpListener::bind(address).unwrap();
        let server = Server { address: listener.local_addr().unwrap(), state: Arc::default() };
        let accepting = server.clone();
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let server = accepting.clone();
                // A client that has gone away is the end of its connection, whatever else is to be sent.
                thread::spawn(move || server.serve(&connection));
            }
        });
        server
    }

    /// Serves an image, and returns what it is pulled as.
    pub fn put(&self, name: &str, behaviour: Behaviour, layout: &Layout) -> String {
        let (blobs, manifest) = layout.blobs();
        let config = blobs[blobs.len() - 2].0.clone();
        let served = Served { behaviour, manifest, config, blobs: blobs.into_iter().collect() };
        self.state.lock().unwrap().images.insert(name.to_owned(), served);
        format!("{}/{name}", self.address)
    }

    /// How often paths that contain a text were asked for.
    pub fn count(&self, text: &str) -> usize {
        let state = self.state.lock().unwrap();
        state.requests.iter().filter(|(path, _)| path.contains(text)).map(|(_, count)| count).sum()
    }

    fn serve(&self, mut connection: &TcpStream) -> Option<()> {
        let mut lines = BufReader::new(connection).lines();
        let request = lines.next()?.ok()?;
        let [method, path, _] = request.split(' ').collect::<Vec<_>>()[..] else { return None };
        while !lines.next()?.ok()?.is_empty() {}
        *self.state.lock().unwrap().requests.entry(path.to_owned()).or_default() += 1;
        let body = match self.answer(path) {
            Some(Answer::Whole(head, body)) => {
                let head = format!("HTTP/1.1 200 OK\r\n{head}Content-Length: {}\r\n", body.len());
                write!(connection, "{head}Connection: close\r\n\r\n").ok()?;
                body
            }
            Some(Answer::Blob(behaviour, blob)) => return blob_as(behaviour, connection, &blob),
            Some(Answer::Nothing) => {
                thread::sleep(Duration::from_secs(3600));
                return None;
            }
            None => {
                write!(
                    connection,
                    "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                )
                .ok()?;
                return None;
            }
        };
        if method == "GET" { connection.write_all(&body).ok() } else { None }
    }

    fn answer(&self, path: &str) -> Option<Answer> {
        if path == "/v2/" {
            return Some(Answer::Whole(String::new(), b"{}".to_vec()));
        }
        let mut state = self.state.lock().unwrap();
        let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        match parts[..] {
            ["behave", name, behaviour] => {
                let behaviour = ALL.iter().find(|(known, _)| *known == behaviour)?.1;
                state.images.get_mut(name)?.behaviour = behaviour;
                Some(Answer::Whole(String::new(), b"ok\n".to_vec()))
            }
            ["as", name, other] => {
                let behaviour = state.images.get(name)?.behaviour;
                let other = Served { behaviour, ..state.images.get(other)?.clone() };
                state.images.insert(name.to_owned(), other);
                Some(Answer::Whole(String::new(), b"ok\n".to_vec()))
            }
            ["v2", name, "manifests", _] => {
                let image = state.images.get(name)?;
                if image.behaviour == Behaviour::QuietManifest {
                    return Some(Answer::Nothing);
                }
                let (kind, id) =
                    ("application/vnd.oci.image.manifest.v1+json", digest(image.manifest.as_bytes()));
                let head = format!("Content-Type: {kind}\r\nDocker-Content-Digest: {id}\r\n");
                Some(Answer::Whole(head, image.manifest.clone().into_bytes()))
            }
            ["v2", name, "blobs", id] => {
                let image = state.images.get(name)?;
                let blob = image.blobs.get(id)?.clone();
                match image.behaviour {
                    Behaviour::QuietConfig if id == image.config => Some(Answer::Nothing),
                    _ if id == image.config => Some(Answer::Blob(Behaviour::Honest, blob)),
                    other => Some(Answer::Blob(other, blob)),
                }
            }
            _ => None,
        }
    }
}

enum Answer {
    /// Header lines, and a body.
    Whole(String, Vec<u8>),
    Blob(Behaviour, Vec<u8>),
    Nothing,
}

/// Sends a layer, without saying how long it is where that would be a lie.
fn blob_as(behaviour: Behaviour, mut connection: &TcpStream, blob: &[u8]) -> Option<()> {
    let pieces = |mut connection: &TcpStream, size: usize, pause: u64| -> Option<()> {
        for piece in blob.chunks(size) {
            connection.write_all(piece).ok()?;
            thread::sleep(Duration::from_millis(pause));
        }
        Some(())
    };
    if behaviour == Behaviour::Redirect {
        let to = "http://user:s3cret@127.0.0.1:3/blob?X-Amz-Signature=s3cret";
        return write!(connection, "HTTP/1.1 307 Elsewhere\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n")
            .ok();
    }
    write!(connection, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n").ok()?;
    match behaviour {
        Behaviour::Quiet => {
            connection.write_all(&blob[..blob.len() / 2]).ok()?;
            thread::sleep(Duration::from_secs(3600));
            None
        }
        Behaviour::Drip => pieces(connection, 1, 100),
        Behaviour::Slow => pieces(connection, 4096, 300),
        Behaviour::Short => connection.write_all(&blob[..blob.len() - 1]).ok(),
        Behaviour::Endless => {
            connection.write_all(blob).ok()?;
            loop {
                connection.write_all(&[0; 65536]).ok()?;
            }
        }
        _ => connection.write_all(blob).ok(),
    }
}
