//! Networks and ports. Here, a container has the host's network, or none.

use crate::quadlet::draft::Draft;
use crate::quadlet::key::Key;
use crate::quadlet::syntax::Entry;

/// `Network=`
pub fn network(draft: &mut Draft<'_>, entry: &Entry, key: &Key) {
    let network = entry.text();
    let name = network.split_once(':').map_or(network, |(name, _)| name);
    match network {
        "host" => draft.set(entry, key.name, "host"),
        "none" => draft.set(entry, key.name, "private"),
        _ if name == "ns" => draft.carry(entry, key.name, network),
        _ if name == "container" || name.ends_with(".container") => {
            draft.refuse(
                entry,
                "the network of another container cannot be joined; use ns:PATH, or the host's",
            );
        }
        _ => draft.refuse(entry, "there are no networks with names; write host, none or ns:PATH"),
    }
}

/// `PublishPort=`: with the host's network, a port is the one that the payload listens at.
pub fn publish(draft: &mut Draft<'_>, entry: &Entry, _: &Key) {
    let ports = entry.text().trim();
    match draft.quadlet.last("Container", "Network") {
        Some("host") => return draft.leave_out(entry, "with the host's network, podman ignores it, too"),
        Some(_) => return draft.refuse(entry, "only with the host's network can a port be reached"),
        None => {}
    }
    let ports = ports.split_once('/').map_or(ports, |(ports, _)| ports);
    match ports.split(':').collect::<Vec<_>>()[..] {
        [host, container] if host == container && is_ports(host) => draft.leave_out(
            entry,
            "the payload listens at this port of the host itself; other ports of it can be reached, too, unless a firewall prevents that",
        ),
        [_, _] => draft.refuse(
            entry,
            "with the host's network, the payload has to listen at the port of the host itself; configure it so, and leave this out",
        ),
        [_] => draft.refuse(entry, "with the host's network, a port is not chosen by podman; have the payload listen at one"),
        _ => draft.refuse(
            entry,
            "with the host's network, the payload itself decides at which address it listens; configure it so, and leave this out",
        ),
    }
}

fn is_ports(text: &str) -> bool {
    let mut parts = text.splitn(2, '-');
    parts.all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
}
