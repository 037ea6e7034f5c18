//! The input for `iptables-restore --noflush` that removes stale chains and rules. Pure.

use super::stale::Stale;

/// One text for all tables of a family, each committed as a whole; `None` if nothing is stale.
///
/// Jumps are removed first, by their exact text; then all stale chains are flushed and only then removed, because they
/// jump to each other.
pub fn restore_text(stale: &Stale) -> Option<String> {
    let mut text = String::new();
    for table in &stale.tables {
        text.push_str(&format!("*{}\n", table.name));
        for rule in &table.rules {
            text.push_str(&format!("-D {} {}\n", rule.rule.chain, rule.rule.text));
        }
        for chain in &table.chains {
            text.push_str(&format!(":{} - [0:0]\n", chain.name));
        }
        for chain in &table.chains {
            text.push_str(&format!("-X {}\n", chain.name));
        }
        text.push_str("COMMIT\n");
    }
    (!text.is_empty()).then_some(text)
}
