//! How much work is done for how much input, counted in tests and nowhere else.
//!
//! Whoever walks over something whose size an image decides counts what it looks at. Work that looks at the same things
//! again for each of them shows up as more steps than the input has grown, on any machine and at any load.

#[cfg(test)]
thread_local! {
    static STEPS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// Counts steps.
#[inline]
pub fn count(steps: usize) {
    #[cfg(test)]
    STEPS.set(STEPS.get() + steps);
    #[cfg(not(test))]
    let _ = steps;
}

/// Passes an iterator on, and counts its items.
pub fn counted<T>(items: impl Iterator<Item = T>) -> impl Iterator<Item = T> {
    items.inspect(|_| count(1))
}

/// Asserts that four times the input makes about four times the work, and that there is some.
#[cfg(test)]
pub fn assert_linear(what: &str, work: impl Fn(usize)) {
    let steps = |size| {
        STEPS.set(0);
        work(size);
        STEPS.get()
    };
    let (few, many) = (steps(250), steps(1000));
    assert!(few >= 250, "{what}: only {few} steps are counted");
    assert!(many < 5 * few, "{what}: {few} steps become {many}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quadratic_work_is_noticed() {
        assert_linear("a walk", |size| assert_eq!(counted(0..size).count(), size));
        let twice =
            || assert_linear("walks", |size| (0..size).for_each(|n| assert_eq!(counted(0..n).count(), n)));
        assert!(std::panic::catch_unwind(twice).is_err());
    }
}
