//! Names of kernel modules.

/// A module's name as the kernel spells it: modprobe treats `-` and `_` as equal.
pub fn canonical(name: &str) -> String {
    name.replace('-', "_")
}

/// Whether this is a valid module name.
pub fn is_module_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with('-')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}
