//! A change of the mode, and what it can do to a setting.

use serde::Serialize;

use crate::mode::ProxyMode;

/// What becomes of a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Becomes {
    /// It means the same in the new mode.
    Kept,
    /// The new mode reads another setting, which has the same effect.
    Translated,
    /// This run gives it, or its counterpart, another value, as requested.
    Set,
    /// The new mode reads another setting, or has another default: the behaviour changes unless that is set.
    MustBeSet,
    /// The new mode does not read it.
    NoEffect,
    /// The old mode did not read it, and the new one does.
    TakesEffect,
}

/// A change of the mode.
#[derive(Clone, Copy, Debug)]
pub(super) struct Change {
    pub(super) from: ProxyMode,
    pub(super) to: ProxyMode,
    /// kube-proxy's minor version.
    pub(super) minor: u32,
}
