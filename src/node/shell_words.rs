//! The words of a line of a shell script, as far as the line is of simple commands only.

/// One word, with its quotes gone.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Word {
    /// What it says.
    pub(super) text: String,
    /// It has a `$` or a backtick that the shell replaces, or a pattern: what it becomes is not known.
    pub(super) varies: bool,
    /// It was quoted at least in part, so that it is no keyword.
    pub(super) quoted: bool,
}

/// A part of a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// A word.
    Word(Word),
    /// `;`, `&&` or `||`.
    Then(&'static str),
}

/// The words of a line, without its comment and the redirections to /dev/null. Nothing if there is anything in it that
/// goes beyond simple commands: a pipe, a group, a here-document, a background job, a keyword, a quote that stays open.
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
                // `;;`, which is no word.
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

/// What follows a redirection of output that cannot fail.
fn redirection(text: &str) -> Option<&str> {
    let start = text.trim_start_matches(['0', '1', '2', '&']);
    if text.len() - start.len() > 1 {
        return None;
    }
    let target = start.strip_prefix(">>").or_else(|| start.strip_prefix('>'))?.trim_start();
    let after = ["/dev/null", "&1", "&2"].into_iter().find_map(|known| target.strip_prefix(known))?;
    after.is_empty().then_some(after).or_else(|| after.starts_with([' ', '\t', ';', '&', '|']).then_some(after))
}

/// The first word, and what follows it.
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
                // A command in it may be anything, here-documents included.
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
