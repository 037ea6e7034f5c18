"""judge.py FOLDER REPORTS: python3-jsonschema on the schemas in FOLDER, and on REPORTS, lines of [place, report]."""

import json
import pathlib
import sys

from jsonschema import Draft202012Validator, SchemaError

schemas = {}
for path in sorted(pathlib.Path(sys.argv[1]).glob("*.json")):
    schema = json.loads(path.read_text())
    try:
        Draft202012Validator.check_schema(schema)
        print(f"good: {path.name} is a schema")
    except SchemaError as error:
        print(f"bad: {path.name}: {error.message}")
    schemas[path.stem] = Draft202012Validator(schema)

count = 0
for line in pathlib.Path(sys.argv[2]).read_text().splitlines():
    place, report = json.loads(line)
    count += 1
    faults = [f"{error.json_path}: {error.message}" for error in schemas[report["kind"]].iter_errors(report)]
    print(f"bad: {place}: {faults}" if faults else f"good: {report['kind']}, {place}")
    # A judge that accepts everything proves nothing.
    without = {name: value for name, value in report.items() if name != "apiVersion"}
    if schemas[report["kind"]].is_valid(without):
        print(f"bad: {place}: accepted without apiVersion")
print(f"good: {count} reports" if count >= 25 else f"bad: only {count} reports")
