//! The names of kernel modules.

/// A module's name as the kernel spells it: `-` and `_` are the same character to modprobe.
pub fn canonical(name: &str) -> String {
    name.replace('-', "_")
}

/// Whether this can be a module's name, and nothing else.
pub fn is_module_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with('-')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}
