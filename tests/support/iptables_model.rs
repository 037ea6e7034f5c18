//! As much of `iptables-restore --noflush` as a transaction of ours needs, strict about all that it refuses.

use kpx_prep::node::kube_proxy::rules::iptables_save::{Save, Table};

/// A table while it changes: chains with their policy, and rules with their chain.
struct Draft {
    name: String,
    chains: Vec<(String, String)>,
    rules: Vec<(String, String)>,
}

fn drafts(save: &Save) -> Vec<Draft> {
    let draft = |table: &Table| Draft {
        name: table.name.clone(),
        chains: table
            .chains
            .iter()
            .map(|chain| (chain.name.clone(), chain.policy.clone().unwrap_or_else(|| "-".to_owned())))
            .collect(),
        rules: table.rules.iter().map(|rule| (rule.chain.clone(), rule.text.clone())).collect(),
    };
    save.tables.iter().map(draft).collect()
}

fn text(drafts: &[Draft]) -> String {
    let mut text = String::new();
    for draft in drafts {
        text.push_str(&format!("*{}\n", draft.name));
        draft.chains.iter().for_each(|(name, policy)| text.push_str(&format!(":{name} {policy} [0:0]\n")));
        draft.rules.iter().for_each(|(chain, rule)| text.push_str(&format!("-A {chain} {rule}\n")));
        text.push_str("COMMIT\n");
    }
    text
}

/// The tables after the transaction, or why it would be refused.
pub(crate) fn apply(save: &Save, transaction: &str) -> Result<Save, String> {
    let mut drafts = drafts(save);
    let mut current: Option<usize> = None;
    for line in transaction.lines() {
        if let Some(name) = line.strip_prefix('*') {
            current = Some(drafts.iter().position(|draft| draft.name == name).ok_or(format!("no table {name}"))?);
            continue;
        }
        let draft = &mut drafts[current.ok_or("a line outside of tables")?];
        if let Some(chain) = line.strip_prefix(':') {
            let (name, policy) = chain.split_once(' ').ok_or("a chain without policy")?;
            if policy != "- [0:0]" {
                return Err(format!("{line} would change a policy"));
            }
            draft.rules.retain(|(chain, _)| chain != name);
        } else if let Some(rule) = line.strip_prefix("-D ") {
            let (chain, rule) = rule.split_once(' ').ok_or("a rule without text")?;
            let at = draft.rules.iter().position(|(at, text)| at == chain && text == rule);
            draft.rules.remove(at.ok_or(format!("no such rule: {line}"))?);
        } else if let Some(name) = line.strip_prefix("-X ") {
            if draft.rules.iter().any(|(chain, _)| chain == name) {
                return Err(format!("{name} is not empty"));
            }
            let reference = format!("-j {name}");
            if let Some((_, rule)) = draft.rules.iter().find(|(_, rule)| rule.ends_with(&reference)) {
                return Err(format!("{name} is in use by {rule}"));
            }
            let at = draft.chains.iter().position(|(chain, policy)| chain == name && policy == "-");
            draft.chains.remove(at.ok_or(format!("no chain {name}"))?);
        } else if line == "COMMIT" {
            current = None;
        } else {
            return Err(format!("not understood: {line}"));
        }
    }
    if current.is_some() {
        return Err("not committed".to_owned());
    }
    Ok(Save::parse(&text(&drafts)))
}

/// A part of the rules, with so many `foreign` ones in each table: of a hundred rules, `parts` stay.
#[allow(dead_code, reason = "each test uses a part of it")]
pub(crate) fn altered(save: &Save, parts: u64, foreign: usize, roll: &mut impl FnMut(u64) -> u64) -> String {
    let mut drafts = drafts(save);
    for draft in &mut drafts {
        draft.rules.retain(|_| roll(100) < parts);
        draft.chains.extend([("KUBE-LIKE".to_owned(), "-".to_owned()), ("MINE".to_owned(), "-".to_owned())]);
        for number in 0..foreign {
            let mut any = || draft.chains[usize::try_from(roll(draft.chains.len() as u64)).unwrap()].clone();
            let (from, (to, policy)) = (any().0, any());
            // Only to chains that can be jumped to, and never in a circle through kube-proxy's own.
            if policy == "-" && !from.starts_with("KUBE-S") && from != to {
                let at = usize::try_from(roll(draft.rules.len() as u64 + 1)).unwrap();
                draft.rules.insert(at, (from, format!("-s 192.0.2.{number}/32 -j {to}")));
            }
        }
    }
    text(&drafts)
}
