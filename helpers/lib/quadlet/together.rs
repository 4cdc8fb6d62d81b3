//! Quadlets that are converted together: what each has to know of the others.

use std::collections::HashMap;

use crate::quadlet::files::Quadlet;
use crate::quadlet::syntax::Entry;

/// All quadlets that are converted, with what is looked up for many lines of each.
pub struct Together<'a> {
    pub quadlets: &'a [Quadlet],
    /// Numbers of the quadlets with these names of files.
    stems: HashMap<&'a str, usize>,
    /// How many quadlets make a service.
    services: HashMap<&'a str, usize>,
    /// Which quadlets mount a volume.
    mounted: HashMap<&'a str, Mounted>,
}

/// By which quadlets something is mounted.
struct Mounted {
    first: usize,
    is_shared: bool,
}

impl<'a> Together<'a> {
    pub fn new(quadlets: &'a [Quadlet]) -> Together<'a> {
        let (mut stems, mut services, mut mounted) = (HashMap::new(), HashMap::new(), HashMap::new());
        for (number, quadlet) in quadlets.iter().enumerate() {
            stems.entry(quadlet.stem.as_str()).or_insert(number);
            *services.entry(quadlet.service()).or_default() += 1;
            for volume in quadlet.entries.iter().flat_map(sources) {
                let found = mounted.entry(volume).or_insert(Mounted { first: number, is_shared: false });
                found.is_shared |= found.first != number;
            }
        }
        Together { quadlets, stems, services, mounted }
    }

    /// The quadlet whose file is called so, without its suffix.
    pub fn find(&self, stem: &str) -> Option<&'a Quadlet> {
        self.stems.get(stem).map(|number| &self.quadlets[*number])
    }

    /// Whether another quadlet makes the same service.
    pub fn is_taken(&self, service: &str) -> bool {
        self.services.get(service).is_some_and(|count| *count > 1)
    }

    /// Whether another quadlet than this one mounts a volume, too.
    pub fn is_shared(&self, volume: &str, number: usize) -> bool {
        self.mounted.get(volume).is_some_and(|found| found.is_shared || found.first != number)
    }
}

/// What an entry mounts.
fn sources(entry: &Entry) -> Vec<&str> {
    match entry.key.as_str() {
        "Volume" => entry.value.split_once(':').map(|(source, _)| source).into_iter().collect(),
        "Mount" => {
            let parts = entry.value.split(',');
            parts.filter_map(|part| part.strip_prefix("source=").or(part.strip_prefix("src="))).collect()
        }
        _ => Vec::new(),
    }
}
