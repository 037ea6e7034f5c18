//! How many streams may be open: fewer after refusals, more again after successes. Pure.

/// Limit for streams at a time.
pub const AT_A_TIME: usize = 64;

/// How many streams may be open. Additive increase, multiplicative decrease, as TCP does (RFC 5681).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) limit: usize,
    pub(super) open: usize,
    /// Streams opened since the limit changed.
    opened: usize,
    /// Number of times that the limit was halved.
    pub(super) halved: usize,
    /// Refusals in all.
    pub(super) refusals: usize,
    /// Streams opened in all.
    pub(super) total: usize,
}

impl Default for Window {
    fn default() -> Self {
        Self { limit: AT_A_TIME, open: 0, opened: 0, halved: 0, refusals: 0, total: 0 }
    }
}

impl Window {
    /// A stream was opened: after as many as the limit, one more is allowed.
    pub(super) fn succeeded(&mut self) {
        self.opened += 1;
        self.total += 1;
        if self.opened >= self.limit && self.limit < AT_A_TIME {
            self.limit += 1;
            self.opened = 0;
        }
    }

    /// A stream was refused. Those that were begun before the last halving are answers to the same question.
    pub(super) fn refused(&mut self, begun: usize) {
        if begun == self.halved {
            self.limit = (self.limit / 2).max(1);
            self.opened = 0;
            self.halved += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_halved_once_per_refused_window_and_grows_one_by_one() {
        let mut window = Window::default();
        // All 64 of a window are refused.
        (0..64).for_each(|_| window.refused(0));
        assert_eq!((window.limit, window.halved), (32, 1));
        window.refused(1);
        assert_eq!(window.limit, 16);
        for _ in 0..16 {
            window.succeeded();
        }
        assert_eq!(window.limit, 17);
        for begun in 2..20 {
            window.refused(begun);
        }
        assert_eq!(window.limit, 1);
        for _ in 0..10_000 {
            window.succeeded();
        }
        assert_eq!(window.limit, AT_A_TIME);
    }
}
