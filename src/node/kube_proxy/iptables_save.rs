//! What `iptables-save` prints, taken apart far enough to tell chains, jumps and sets. Pure.

use std::collections::BTreeSet;

/// All tables of one family as one variant of iptables holds them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Save {
    /// The tables, in the order in which they were printed.
    pub tables: Vec<Table>,
}

/// One table, such as `nat`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// Its chains.
    pub chains: Vec<Chain>,
    /// The rules of all its chains, in their order.
    pub rules: Vec<Rule>,
}

/// One chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Its name.
    pub name: String,
    /// What a packet meets at its end, such as `ACCEPT`; only the kernel's own chains have one.
    pub policy: Option<String>,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The chain it stands in.
    pub chain: String,
    /// All behind `-A CHAIN `, as it was printed.
    pub text: String,
    words: Vec<String>,
}

impl Save {
    /// Takes the output of `iptables-save` apart. Lines of no known form are skipped, as iptables-restore skips comments.
    pub fn parse(text: &str) -> Self {
        let mut save = Self::default();
        for line in text.lines() {
            if let Some(name) = line.strip_prefix('*') {
                save.tables.push(Table { name: name.trim().to_owned(), ..Table::default() });
                continue;
            }
            let Some(table) = save.tables.last_mut() else { continue };
            if let Some(chain) = line.strip_prefix(':') {
                table.chains.extend(Chain::parse(chain));
            } else if let Some(rule) = line.strip_prefix("-A ") {
                table.rules.extend(Rule::parse(rule));
            }
        }
        save
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

    /// The chains that the kernel made: packets enter here.
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
        (!chain.is_empty()).then(|| Self { chain: chain.to_owned(), text: text.to_owned(), words: words(text) })
    }

    /// The rule as its words: what was quoted is one, without its quotes.
    pub fn words(&self) -> &[String] {
        &self.words
    }

    /// Where a packet that matches goes: a chain, or what the kernel does itself, such as `DROP`.
    pub fn target(&self) -> Option<&str> {
        self.value(&["-j", "-g"])
    }

    /// What the rule says about itself.
    pub fn comment(&self) -> Option<&str> {
        self.value(&["--comment"])
    }

    /// The value behind one of these options.
    pub fn value(&self, options: &[&str]) -> Option<&str> {
        let mut words = self.words.iter();
        while let Some(word) = words.next() {
            if options.contains(&word.as_str()) {
                return words.next().map(String::as_str);
            }
            // A comment may look like anything.
            if word == "--comment" {
                words.next();
            }
        }
        None
    }

    /// The ipsets it asks or changes.
    pub fn sets(&self) -> impl Iterator<Item = &str> {
        let names_a_set = |option: &str| matches!(option, "--match-set" | "--add-set" | "--del-set" | "--map-set");
        self.words.windows(2).filter(move |pair| names_a_set(&pair[0])).map(|pair| pair[1].as_str())
    }

    /// The rule as `iptables-save` printed it.
    pub fn line(&self) -> String {
        format!("-A {} {}", self.chain, self.text)
    }
}

/// Splits at blanks; a backslash inside quotes keeps what follows it.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quoted = false;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            '\\' if quoted => word.get_or_insert_default().extend(characters.next()),
            ' ' | '\t' if !quoted => words.extend(word.take()),
            _ => word.get_or_insert_default().push(character),
        }
    }
    words.extend(word);
    words
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
        assert_eq!(first.comment(), Some("say \"-j DROP\" twice"));
        assert_eq!((first.target(), second.target(), third.target()), (Some("X"), Some("X"), None));
        assert_eq!(first.sets().collect::<Vec<_>>(), ["KUBE-A"]);
        assert_eq!(third.line(), "-A X ");
    }
}
