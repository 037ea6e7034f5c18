//! Changes rules with the tools that created them.

use super::process::toolbox::{Tool, ToolOutput, Toolbox};
use super::rules::observe::Place;

/// Seconds to wait for another process that is changing rules.
const LOCK_SECONDS: &str = "5";

/// Runs `iptables-restore --noflush` of this family and variant.
///
/// # Errors
/// The failure, in one sentence; nothing was changed in the table at which it failed, and after it.
pub fn restore(toolbox: &Toolbox, place: Place, text: &str) -> Result<(), String> {
    let Some([_, tool]) = place.tools(toolbox) else {
        return Err(format!(
            "the program for changing {} rules ({}) does not exist any more",
            place.family, place.variant
        ));
    };
    let first = tool.run(&["--noflush", "-w", LOCK_SECONDS], Some(text));
    let unknown = |said: &ToolOutput| {
        !said.success
            && ["unrecognized option", "unknown option", "invalid option"].iter().any(|w| said.stderr.contains(w))
    };
    // Before 1.6.2 there is no option to wait.
    let result = if first.as_ref().is_ok_and(unknown) { tool.run(&["--noflush"], Some(text)) } else { first };
    said(&tool, result)
}

/// Runs a program of kube-proxy's container or of the host.
///
/// # Errors
/// The failure, in one sentence.
pub fn run(toolbox: &Toolbox, program: &str, arguments: &[&str], input: Option<&str>) -> Result<(), String> {
    let tool = toolbox
        .find(program)
        .ok_or_else(|| format!("{program} was not found in kube-proxy's container or on the host; install it"))?;
    said(&tool, tool.run(arguments, input))
}

fn said(tool: &Tool, result: std::io::Result<ToolOutput>) -> Result<(), String> {
    match result {
        Ok(said) if said.success => Ok(()),
        Ok(said) if said.stderr.is_empty() => Err(format!("{} failed without an error message", tool.name())),
        Ok(said) => Err(format!("{}: {}", tool.name(), said.stderr.replace('\n', "; "))),
        Err(error) => Err(format!("{} could not be run: {error}", tool.name())),
    }
}
