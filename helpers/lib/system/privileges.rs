//! What this process may do, for a while.

use rustix::thread::{self, CapabilitySet};

/// Runs `action` without CAP_SYS_RESOURCE, to which neither quotas nor the space that is reserved for root are limits. An
/// overlay writes with the capabilities of the process that mounted it, whoever the payload is.
pub fn without_resource<T>(action: impl FnOnce() -> T) -> T {
    let all =
        thread::capabilities(None).ok().filter(|all| all.effective.contains(CapabilitySet::SYS_RESOURCE));
    let Some(all) = all else { return action() };
    let mut fewer = all;
    fewer.effective.remove(CapabilitySet::SYS_RESOURCE);
    // A process can always do with less, and take it back.
    let _ = thread::set_capabilities(None, fewer);
    let result = action();
    let _ = thread::set_capabilities(None, all);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_gone_for_a_while() {
        let before = thread::capabilities(None).unwrap();
        let meanwhile = without_resource(|| thread::capabilities(None).unwrap());
        assert!(!meanwhile.effective.contains(CapabilitySet::SYS_RESOURCE));
        assert_eq!(meanwhile.permitted, before.permitted);
        assert_eq!(thread::capabilities(None).unwrap(), before);
    }
}
