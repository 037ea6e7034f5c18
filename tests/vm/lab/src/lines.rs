//! Records in a file or on a pipe, and what shells and kernels said between them.

use std::io::BufRead;

use anyhow::Context as _;

use crate::record::Record;

/// How a record begins. API servers write JSON as well.
const PREFIX: &[u8] = b"{\"record\":";

/// A record, or anything else.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Line {
    Record(Box<Record>),
    Said(String),
}

/// The lines of a file. One that begins as a record and is none is an error: something was cut off.
pub(crate) fn lines(from: impl BufRead) -> impl Iterator<Item = anyhow::Result<Line>> {
    from.split(b'\n').enumerate().map(|(index, line)| {
        let line = line?;
        // The serial port of a guest adds \r.
        let line = line.strip_suffix(b"\r").unwrap_or(&line);
        if line.starts_with(PREFIX) {
            let record = serde_json::from_slice(line).with_context(|| format!("line {}: not a record", index + 1))?;
            return Ok(Line::Record(Box::new(record)));
        }
        Ok(Line::Said(String::from_utf8_lossy(line).into_owned()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Busy;

    #[test]
    fn records_are_lines_and_other_lines_are_kept() {
        let busy = Record::Busy(Busy { node: "node-1".into(), percent: 85 });
        let mut text = Vec::new();
        busy.write(&mut text).unwrap();
        assert_eq!(String::from_utf8_lossy(&text), "{\"record\":\"busy\",\"node\":\"node-1\",\"percent\":85}\n");
        text.extend(b"no summary from node-1/pod\r\n{\n");
        let found: Vec<_> = lines(&text[..]).map(Result::unwrap).collect();
        let said = |text: &str| Line::Said(text.into());
        assert_eq!(found, [Line::Record(Box::new(busy)), said("no summary from node-1/pod"), said("{")]);
    }

    #[test]
    fn a_record_that_was_cut_off_is_an_error() {
        let mut found = lines(&b"ok\n{\"record\":\"busy\",\"node\":\"no"[..]);
        assert!(found.next().unwrap().is_ok());
        assert_eq!(found.next().unwrap().unwrap_err().to_string(), "line 2: not a record");
    }

    #[test]
    fn json_of_others_is_none_of_ours() {
        let said = "{\"kind\":\"Status\",\"apiVersion\":\"v1\"}";
        assert_eq!(lines(said.as_bytes()).next().unwrap().unwrap(), Line::Said(said.into()));
    }
}
