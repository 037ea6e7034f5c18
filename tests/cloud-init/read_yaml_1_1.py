"""Reads what kpx-prep writes with PyYAML, a YAML 1.1 reader; prints one line a check. Run by `schema`."""

import glob
import os
import subprocess
import sys

import yaml

# The only fields that are booleans; everything else kpx-prep writes is a string.
BOOLEANS = ("strictARP", "masqueradeAll", "tcpBeLiberal", "unsafeSkipCAVerification")
# kubeadm's reader takes these for booleans, PyYAML does not.
GO_YAML_BOOLEANS = ("y", "Y", "n", "N")
AWKWARD = """
y Y n N yes Yes YES no No NO on On ON off Off OFF true True TRUE false False FALSE null Null NULL ~ 0 1 -1 +1 1_000 017 0o17
0x1F 0b101 1.5 .5 5. 1e3 1.5e+3 .inf -.inf .nan .NaN 1:30 12:30:45 190:20:30.15 2001-12-14 2001-12-14t21:59:43.10-05:00 = <<
- ? : a: :a #a &a *a !a |a >a %a @a `a [a] {a} a,b 'a' "a" -- --- ... a#b 10.0.0.1 1.36 1.36.3 12e03 -2E+05 1__2 0_1 é 日本 😀
""".split() + [" a", "a ", "a b", "a: b", "a #b", "it's", 'say "x"', "back\\slash", "- a", "? a"]


def check(good, name, detail=""):
    print(f"good: {name}" if good else f"bad: {name}: {detail}")


def not_strings(node, path=()):
    """The paths of plain scalars that are no strings to a YAML 1.1 reader."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield from not_strings(key, path + ("a key",))
            yield from not_strings(value, path + (key.value,))
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from not_strings(item, path)
    elif node.tag != "tag:yaml.org,2002:str" or (node.style is None and node.value in GO_YAML_BOOLEANS):
        allowed = path[-1] in BOOLEANS or "featureGates" in path[:-1]
        if not (allowed and node.tag == "tag:yaml.org,2002:bool"):
            yield f"{'.'.join(path)}={node.value!r} ({node.tag})"


def main(binary):
    patterns = ("kubeadm/v*.yaml", "cloud-init/*.yaml", "tests/kubeadm/*/stdout", "tests/cloud-init/*/stdout")
    for file in sorted(file for pattern in patterns for file in glob.glob(pattern)):
        if os.path.getsize(file) == 0:
            continue
        with open(file, newline="", encoding="utf-8") as stream:
            text = stream.read()
        documents = list(yaml.compose_all(text))
        if os.path.exists(os.path.join(os.path.dirname(file), "foreign")):
            modes = [d["mode"] for d in yaml.safe_load_all(text) if d and d["kind"] == "KubeProxyConfiguration"]
            check(len(modes) == 1 and modes[0] in ("ipvs", "nftables", "iptables"), f"1.1: {file}", modes)
        else:
            wrong = [w for document in documents for w in not_strings(document)]
            check(documents and not wrong, f"1.1: {file}", "; ".join(wrong))
    for text in AWKWARD:
        command = [binary, "kubeadm-config", "--kubernetes-version", "1.34", f"--cluster-name={text}"]
        out = subprocess.run(command, capture_output=True, check=False).stdout.decode()
        nodes = [n for n in yaml.compose_all(out) if n]
        wrong = [w for node in nodes for w in not_strings(node)]
        names = [d.get("clusterName") for d in yaml.safe_load_all(out) if d["kind"] == "ClusterConfiguration"]
        check(names == [text] and not wrong, f"1.1: the string {text!r} comes back", f"{names} {wrong}")


main(sys.argv[1])
