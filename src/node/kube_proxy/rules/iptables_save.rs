//! Parses the output of `iptables-save` into chains, jumps and sets. Pure.

use std::collections::BTreeSet;

/// All tables of one family in one variant of iptables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Save {
    /// The tables, in the printed order.
    pub tables: Vec<Table>,
}

/// One table, such as `nat`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// Its chains.
    pub chains: Vec<Chain>,
    /// The rules of all its chains, in order.
    pub rules: Vec<Rule>,
}

/// One chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Its name.
    pub name: String,
    /// Its policy, such as `ACCEPT`; only built-in chains have one.
    pub policy: Option<String>,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its chain.
    pub chain: String,
    /// The text after `-A CHAIN `, as printed.
    pub text: String,
}

impl Save {
    /// Parses the output of `iptables-save`. Unknown lines are skipped, as iptables-restore skips comments.
    pub fn parse(text: &str) -> Self {
        let mut save = Self::default();
        text.lines().for_each(|line| save.line(line));
        save
    }

    /// Parses the next line.
    pub fn line(&mut self, line: &str) {
        if let Some(name) = line.strip_prefix('*') {
            self.tables.push(Table { name: name.trim().to_owned(), ..Table::default() });
            return;
        }
        let Some(table) = self.tables.last_mut() else { return };
        if let Some(chain) = line.strip_prefix(':') {
            table.chains.extend(Chain::parse(chain));
        } else if let Some(rule) = line.strip_prefix("-A ") {
            table.rules.extend(Rule::parse(rule));
        }
    }

    /// The table of this name.
    pub fn table(&self, name: &str) -> Option<&Table> {
        self.tables.iter().find(|table| table.name == name)
    }
}

impl Table {
    /// Whether there is a chain of this name.
    pub fn has_chain(&self, name: &str) -> bool {
        self.chains.iter().any(|chain| chain.name == name)
    }

    /// The rules of one chain.
    pub fn rules_of<'a>(&'a self, chain: &'a str) -> impl Iterator<Item = &'a Rule> {
        self.rules.iter().filter(move |rule| rule.chain == chain)
    }

    /// The built-in chains, where packets enter.
    pub fn hooks(&self) -> BTreeSet<&str> {
        self.chains.iter().filter(|chain| chain.policy.is_some()).map(|chain| chain.name.as_str()).collect()
    }
}

impl Chain {
    /// `NAME POLICY [PACKETS:BYTES]`
    fn parse(text: &str) -> Option<Self> {
        let mut fields = text.split_whitespace();
        let (name, policy) = (fields.next()?, fields.next()?);
        Some(Self { name: name.to_owned(), policy: (policy != "-").then(|| policy.to_owned()) })
    }
}

impl Rule {
    fn parse(text: &str) -> Option<Self> {
        let (chain, text) = text.split_once(' ').unwrap_or((text, ""));
        (!chain.is_empty()).then(|| Self { chain: chain.to_owned(), text: text.to_owned() })
    }

    /// The words of the rule; a quoted text is one word, including the quotes. A host may have a hundred thousand rules, so
    /// they are split only when needed.
    pub fn words(&self) -> impl Iterator<Item = &str> {
        words(&self.text)
    }

    /// The target of a matching packet: a chain, or a built-in target such as `DROP`.
    pub fn target(&self) -> Option<&str> {
        self.value(&["-j", "-g"])
    }

    /// The rule's comment, without quotes.
    pub fn comment(&self) -> Option<String> {
        let comment = self.value(&["--comment"])?;
        let Some(quoted) = comment.strip_prefix('"') else { return Some(comment.to_owned()) };
        let mut text = String::new();
        let mut characters = quoted.strip_suffix('"').unwrap_or(quoted).chars();
        while let Some(character) = characters.next() {
            text.extend(if character == '\\' { characters.next() } else { Some(character) });
        }
        Some(text)
    }

    /// The value after one of these options, as printed.
    pub fn value(&self, options: &[&str]) -> Option<&str> {
        let mut words = self.words();
        while let Some(word) = words.next() {
            if options.contains(&word) {
                return words.next();
            }
            // A comment may contain anything.
            if word == "--comment" {
                words.next();
            }
        }
        None
    }

    /// The ipsets that it matches or changes.
    pub fn sets(&self) -> impl Iterator<Item = &str> {
        let names_a_set = |option: &str| matches!(option, "--match-set" | "--add-set" | "--del-set" | "--map-set");
        self.words().zip(self.words().skip(1)).filter(move |(option, _)| names_a_set(option)).map(|(_, set)| set)
    }

    /// The rule as printed by `iptables-save`.
    pub fn line(&self) -> String {
        format!("-A {} {}", self.chain, self.text)
    }
}

/// Splits at blanks outside of quotes; a backslash inside them escapes the next character.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let mut left = text;
    std::iter::from_fn(move || {
        left = left.trim_start_matches([' ', '\t']);
        let (mut quoted, mut escaped) = (false, false);
        let ends = |character: char| {
            let end = !quoted && matches!(character, ' ' | '\t');
            quoted ^= character == '"' && !escaped;
            escaped = quoted && character == '\\' && !escaped;
            end
        };
        let (word, rest) = left.split_at(left.find(ends).unwrap_or(left.len()));
        left = rest;
        (!word.is_empty()).then_some(word)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_quotes_and_targets() {
        let save = Save::parse(
            "# Generated by iptables-save v1.8.9\n*filter\n:INPUT DROP [0:0]\n:X - [0:0]\n\
             -A INPUT -m comment --comment \"say \\\"-j DROP\\\" twice\" -m set --match-set KUBE-A dst -j X\n\
             -A INPUT -m comment --comment -j -g X\n-A X\nCOMMIT\n",
        );
        let table = save.table("filter").unwrap();
        assert_eq!(table.hooks().into_iter().collect::<Vec<_>>(), ["INPUT"]);
        assert_eq!(table.chains[0].policy.as_deref(), Some("DROP"));
        let [first, second, third] = &table.rules[..] else { panic!("{:?}", table.rules) };
        assert_eq!(first.comment().as_deref(), Some("say \"-j DROP\" twice"));
        assert_eq!((first.target(), second.target(), third.target()), (Some("X"), Some("X"), None));
        assert_eq!(first.sets().collect::<Vec<_>>(), ["KUBE-A"]);
        assert_eq!(third.line(), "-A X ");
    }
}
