//! What a node's helper answers: any JSON is taken or refused, and nothing of it reaches a terminal unescaped.
#![no_main]

use kpx_prep::cluster::helper::exec::{Answer, read};
use kpx_prep::node::command::NodeAnswer;
use kpx_prep::node_protocol::{CleanReport, Survey};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, &str)| {
    let (stdout, stderr) = input;
    let answer = Answer { exit: 1, stdout: stdout.to_owned(), stderr: stderr.to_owned() };
    let obeyed =
        |text: &str| text.chars().any(|c| c.is_control() && c != '\n' || ('\u{202a}'..='\u{202e}').contains(&c));
    match read::<Survey>(&["survey"], &answer) {
        Ok(survey) => assert!(!obeyed(&NodeAnswer::Survey(Box::new(survey)).text())),
        Err(why) => assert!(!obeyed(&why) && !why.contains('\n')),
    }
    match read::<CleanReport>(&["clean"], &answer) {
        Ok(report) => assert!(!obeyed(&NodeAnswer::Clean(report).text())),
        Err(why) => assert!(!obeyed(&why)),
    }
});
