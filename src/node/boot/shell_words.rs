//! Splits a line of a shell script into words, if it consists of simple commands only.

/// A word, without its quotes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Word {
    /// Its text.
    pub(super) text: String,
    /// Whether it contains a `$`, a backtick or a pattern, so that its expansion is unknown.
    pub(super) varies: bool,
    /// Whether it was quoted at least in part, so that it is not a keyword.
    pub(super) quoted: bool,
}

/// A token of a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// A word.
    Word(Word),
    /// `;`, `&&` or `||`.
    Then(&'static str),
}

/// The words of a line, without its comment and redirections to /dev/null. `None` if it contains anything but simple
/// commands: a pipe, a group, a here-document, a background job, a keyword, an unclosed quote.
pub(super) fn tokens(line: &str) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut rest = line.trim_start();
    while let Some(first) = rest.chars().next() {
        match first {
            '#' => break,
            ';' if !rest.starts_with(";;") => tokens.push(Token::Then(";")),
            '&' if rest.starts_with("&&") => tokens.push(Token::Then("&&")),
            '|' if rest.starts_with("||") => tokens.push(Token::Then("||")),
            _ => {
                if let Some(after) = redirection(rest) {
                    rest = after.trim_start();
                    continue;
                }
                let (word, after) = word(rest)?;
                // `;;`, which is not a word.
                if after.len() == rest.len() {
                    return None;
                }
                let command = matches!(tokens.last(), None | Some(Token::Then(_)));
                if command && !word.quoted && is_keyword(&word.text) {
                    return None;
                }
                tokens.push(Token::Word(word));
                rest = after.trim_start();
                continue;
            }
        }
        let length = if first == ';' { 1 } else { 2 };
        rest = rest[length..].trim_start();
    }
    Some(tokens)
}

fn is_keyword(word: &str) -> bool {
    matches!(
        word,
        "if" | "then"
            | "else"
            | "elif"
            | "fi"
            | "for"
            | "while"
            | "until"
            | "do"
            | "done"
            | "case"
            | "esac"
            | "select"
            | "function"
            | "{"
            | "}"
            | "!"
            | "[["
            | "]]"
            | "time"
            | "coproc"
            | "in"
    )
}

/// The text after an output redirection that cannot fail.
fn redirection(text: &str) -> Option<&str> {
    let start = text.trim_start_matches(['0', '1', '2', '&']);
    if text.len() - start.len() > 1 {
        return None;
    }
    let target = start.strip_prefix(">>").or_else(|| start.strip_prefix('>'))?.trim_start();
    let after = ["/dev/null", "&1", "&2"].into_iter().find_map(|known| target.strip_prefix(known))?;
    after.is_empty().then_some(after).or_else(|| after.starts_with([' ', '\t', ';', '&', '|']).then_some(after))
}

/// The first word, and the rest.
fn word(text: &str) -> Option<(Word, &str)> {
    let mut word = Word { text: String::new(), varies: false, quoted: false };
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            ' ' | '\t' | ';' => return Some((word, &text[at..])),
            '&' if text[at..].starts_with("&&") => return Some((word, &text[at..])),
            '|' if text[at..].starts_with("||") => return Some((word, &text[at..])),
            '&' | '|' | '<' | '>' | '(' | ')' | '`' => return None,
            '\'' => {
                word.quoted = true;
                loop {
                    match chars.next()? {
                        (_, '\'') => break,
                        (_, c) => word.text.push(c),
                    }
                }
            }
            '"' => {
                word.quoted = true;
                loop {
                    match chars.next()? {
                        (_, '"') => break,
                        (_, '\\') => word.text.push(chars.next()?.1),
                        (_, c) => {
                            word.varies |= matches!(c, '$' | '`');
                            word.text.push(c);
                        }
                    }
                }
                // A command substitution may contain anything, including here-documents.
                if word.text.contains("$(") || word.text.contains('`') {
                    return None;
                }
            }
            '\\' => {
                word.quoted = true;
                word.text.push(chars.next()?.1);
            }
            _ => {
                // `${x:?}` ends the script.
                if c == '$' && text[at..].starts_with("${") && text[at..].contains('?') {
                    return None;
                }
                word.varies |= matches!(c, '$' | '*' | '?' | '[' | '{' | '~');
                word.text.push(c);
            }
        }
    }
    Some((word, ""))
}
