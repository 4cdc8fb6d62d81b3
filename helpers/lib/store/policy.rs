//! Signature policies, containers-policy.json(5): whether one has requirements, and which of its rules applies to an
//! image.
//!
//! Nothing is enforced here; skopeo does that. But the image proxy of older versions allows everything, so if the
//! policy has requirements for their transport, images are fetched with `skopeo copy`, which does not.

use std::path::{Path, PathBuf};

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::access::Access;
use super::reference::Reference;
use super::skopeo;
use crate::digest;
use crate::error::{Context, Error, Result};
use crate::program::reference;
use crate::program::transports::{Scopes, Transport};

/// The type of a requirement that every image meets.
const ANYTHING: &str = "insecureAcceptAnything";
/// The policy of the system.
const SYSTEM: &str = "/etc/containers/policy.json";
/// The policy of a user, below the home directory.
const OWN: &str = ".config/containers/policy.json";

/// A policy file.
pub struct SignaturePolicy {
    path: PathBuf,
    /// `None` if it cannot be read: skopeo reports why.
    content: Option<Value>,
}

impl SignaturePolicy {
    /// Reads the policy that skopeo uses: the one that was chosen, or the user's, or else the system's.
    pub fn find(access: &Access) -> SignaturePolicy {
        let own = skopeo::home().map(|home| home.join(OWN)).filter(|path| path.exists());
        let path = access.policy.clone().or(own).unwrap_or_else(|| PathBuf::from(SYSTEM));
        let text = std::fs::read_to_string(&path).ok();
        SignaturePolicy { path, content: text.and_then(|text| serde_json::from_str(&text).ok()) }
    }

    /// The policy's file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the policy has requirements for any image of a transport. A policy that cannot be read counts as having
    /// some.
    pub fn demands(&self, transport: &Transport) -> bool {
        let Some(content) = &self.content else { return true };
        let scopes = content.pointer(&format!("/transports/{}", transport.name)).and_then(Value::as_object);
        let rules =
            content.get("default").into_iter().chain(scopes.into_iter().flat_map(|scopes| scopes.values()));
        let mut rules = rules.peekable();
        rules.peek().is_none() || rules.any(|rule| !is_anything(rule))
    }

    /// A digest of the policy and of all files that it names, which are keys; `None` if the policy cannot be read.
    pub fn fingerprint(&self) -> Option<String> {
        let content = self.content.as_ref()?;
        let mut digest = Sha256::new_with_prefix(content.to_string());
        for path in named_files(content) {
            digest.update(path);
            digest.update(std::fs::read(path).unwrap_or_default());
        }
        Some(digest::hex(&digest.finalize()))
    }

    /// Who had to sign an image, by the keys of the rule that applies; `None` if no signature was required.
    pub fn signer(&self, reference: &Reference) -> Option<String> {
        let (_, rule) = self.applicable(reference);
        let signed = rule?.as_array()?.iter().filter(|r| r.get("type").is_some_and(|t| t != ANYTHING));
        let key = |requirement: &Value| {
            let kind = requirement.get("type").and_then(Value::as_str).unwrap_or_default();
            format!("{kind} {}", named_files(requirement).join(" ")).trim_end().to_owned()
        };
        let keys: Vec<String> = signed.map(key).collect();
        (!keys.is_empty()).then(|| keys.join(", "))
    }

    /// The scope whose rule applies to an image, as a path into the file.
    pub fn scope(&self, reference: &Reference) -> String {
        self.applicable(reference).0
    }

    /// The rule that applies to an image, as a path into the file.
    pub fn rule(&self, reference: &Reference) -> String {
        let (scope, rule) = self.applicable(reference);
        format!("{scope}: {}", rule.map(types).unwrap_or_default())
    }

    /// Refuses an image that is not accepted without a signature, which there cannot be in its archive. The path is
    /// the one that has no links in it.
    pub fn check_unsigned(&self, reference: &Reference) -> Result<()> {
        let (_, rule) = self.applicable(reference);
        if rule.is_some_and(is_anything) {
            return Ok(());
        }
        let (rule, path, shown) = (self.rule(reference), self.path.display(), reference.to_skopeo());
        let why = match self.content {
            None => format!("the signature policy {path} cannot be read"),
            Some(_) => format!("Running image {shown} is rejected by policy; the rule is {rule} in {path}"),
        };
        Err(Error::new(why)).context(|| format!("cannot unpack {shown}"))
    }

    /// The rule that applies to an image, and its path in the file.
    fn applicable(&self, reference: &Reference) -> (String, Option<&Value>) {
        let transport = reference.transport().name;
        let content = self.content.as_ref();
        let scopes = content.and_then(|content| content.get("transports")).and_then(|t| t.get(transport));
        for scope in scopes_of(reference) {
            if let Some(rule) = scopes.and_then(|scopes| scopes.get(&scope)) {
                return (format!("transports.{transport}[{scope:?}]"), Some(rule));
            }
        }
        ("default".into(), content.and_then(|content| content.get("default")))
    }
}

/// Absolute paths anywhere in a policy.
fn named_files(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) if text.starts_with('/') => vec![text],
        Value::Array(values) => values.iter().flat_map(named_files).collect(),
        Value::Object(map) => map.values().flat_map(named_files).collect(),
        _ => Vec::new(),
    }
}

fn is_anything(rule: &Value) -> bool {
    let requirements = rule.as_array().map(Vec::as_slice).unwrap_or_default();
    !requirements.is_empty() && requirements.iter().all(|r| r.get("type").is_some_and(|t| t == ANYTHING))
}

fn types(rule: &Value) -> String {
    let requirements = rule.as_array().map(Vec::as_slice).unwrap_or_default();
    let types = requirements.iter().filter_map(|requirement| requirement.get("type")?.as_str());
    types.collect::<Vec<_>>().join(", ")
}

/// Scopes that contain an image, narrowest first, in the order in which skopeo looks them up.
fn scopes_of(reference: &Reference) -> Vec<String> {
    let (location, kind) = (reference.location(), reference.transport().scopes);
    let mut scopes = vec![location.to_owned()];
    let mut rest = match kind {
        Scopes::Registry => reference::repository(location),
        Scopes::Path => location,
    };
    loop {
        scopes.push(rest.to_owned());
        match rest.rsplit_once('/') {
            Some((parent, _)) if !parent.is_empty() => rest = parent,
            _ => break,
        }
    }
    match kind {
        Scopes::Registry => {
            let mut host = rest.split(':').next().unwrap_or_default();
            while let Some((_, domain)) = host.split_once('.') {
                scopes.push(format!("*.{domain}"));
                host = domain;
            }
        }
        Scopes::Path => {}
    }
    scopes.push(String::new());
    scopes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::transports::REGISTRY;
    use serde_json::json;

    fn policy(content: Value) -> SignaturePolicy {
        SignaturePolicy { path: "/p".into(), content: Some(content) }
    }

    #[test]
    fn finds_out_whether_anything_is_demanded() {
        let anything = json!([{"type": ANYTHING}]);
        let reject = json!([{"type": "reject"}]);
        for (content, demands) in [
            (json!({"default": anything}), false),
            (json!({"default": reject}), true),
            (json!({"default": []}), true),
            (json!({}), true),
            (json!([]), true),
            (json!({"default": anything, "transports": {"docker": {"": anything}}}), false),
            (json!({"default": anything, "transports": {"docker": {"r.io": reject}}}), true),
            (json!({"default": anything, "transports": {"oci": {"": reject}}}), false),
            (json!({"default": reject, "transports": {"docker": {"": anything}}}), true),
        ] {
            assert_eq!(policy(content.clone()).demands(&REGISTRY), demands, "{content}");
        }
        assert!(SignaturePolicy { path: "/p".into(), content: None }.demands(&REGISTRY));
    }

    #[test]
    fn archives_have_no_signatures() {
        let content = json!({
            "default": [{"type": "reject"}],
            "transports": {"oci-archive": {"/a": [{"type": ANYTHING}], "/a/b": [{"type": "signedBy"}]}},
        });
        let said = |policy: &SignaturePolicy, reference: &str| {
            let result = policy.check_unsigned(&reference.parse().unwrap());
            result.err().map(|e| e.to_string()).unwrap_or_default()
        };
        let some = policy(content);
        assert_eq!(said(&some, "oci-archive:/a/x.tar:1"), "");
        let why = said(&some, "oci-archive:/a/b/x.tar");
        assert!(
            why.contains(r#"rejected by policy; the rule is transports.oci-archive["/a/b"]: signedBy in /p"#),
            "{why}"
        );
        assert!(said(&some, "oci-archive:/x.tar").contains("default: reject in /p"));
        let none = SignaturePolicy { path: "/p".into(), content: None };
        assert!(said(&none, "oci-archive:/x.tar").contains("/p cannot be read"));
    }

    #[test]
    fn fingerprints_change_with_the_policy_and_its_keys() {
        let key = tempfile::NamedTempFile::new().unwrap();
        let content = |kind: &str| json!({"default": [{"type": kind, "keyPaths": [key.path()]}]});
        let first = policy(content("signedBy")).fingerprint();
        assert!(first.is_some() && first == policy(content("signedBy")).fingerprint());
        assert_ne!(first, policy(content("reject")).fingerprint());
        std::fs::write(key.path(), "another").unwrap();
        assert_ne!(first, policy(content("signedBy")).fingerprint());
        assert_eq!(SignaturePolicy { path: "/p".into(), content: None }.fingerprint(), None);
    }

    #[test]
    fn names_the_rule() {
        let content = json!({
            "default": [{"type": "reject"}],
            "transports": {"docker": {"r.io/x": [{"type": "signedBy"}], "*.example.com": [{"type": "sigstoreSigned"}]},
                           "oci": {"": [{"type": ANYTHING}]}},
        });
        for (reference, rule) in [
            ("r.io/x/y:1", "transports.docker[\"r.io/x\"]: signedBy"),
            ("a.b.example.com:5000/x", "transports.docker[\"*.example.com\"]: sigstoreSigned"),
            ("r.io/z", "default: reject"),
            ("oci:/a/b", "transports.oci[\"\"]: insecureAcceptAnything"),
        ] {
            let (policy, reference) = (policy(content.clone()), reference.parse().unwrap());
            assert_eq!(policy.rule(&reference), rule);
            assert_eq!(policy.scope(&reference), rule.rsplit_once(": ").unwrap().0);
        }
        let signed = json!({"default": [{"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/k"}], "transports": {"oci": {"": [{"type": ANYTHING}]}}});
        assert_eq!(policy(signed.clone()).signer(&"r.io/x".parse().unwrap()).as_deref(), Some("signedBy /k"));
        assert_eq!(policy(signed).signer(&"oci:/a".parse().unwrap()), None);
    }
}
