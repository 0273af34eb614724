"""Writes access rules from an OpenAPI 3 document: `make rules-from-openapi FILE=openapi.yaml OUT=access/vega.json`.

An operation's extension `x-vega-access` has its rule; without one, that of its path or of the document applies. An operation with
`security: []` is public and needs no rule. Every other operation must have one.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml

EXTENSION = "x-vega-access"
METHODS = ("get", "head", "post", "put", "patch", "delete", "options")
MEMBERS = ("groups", "api_keys", "scopes")


class Refused(Exception):
    """The document's problems, one per line."""


def operations(document: dict) -> Iterator[tuple[str, str, dict, object]]:
    """Each operation's method, path, description and access."""
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item:
                operation = item[method]
                access = next((one[EXTENSION] for one in (operation, item, document) if EXTENSION in one), None)
                yield method.upper(), path, operation, access


def problem(access: object) -> str | None:
    if access is None:
        return f"no {EXTENSION}"
    if not isinstance(access, dict) or "groups" not in access:
        return f"{EXTENSION}: expected an object with groups"
    if unknown := [name for name in access if name not in MEMBERS]:
        return f"{EXTENSION}: unknown member {unknown[0]}; expected {', '.join(MEMBERS)}"
    scopes = access.get("scopes", [])
    if scopes is not False and not (isinstance(scopes, list) and all(isinstance(name, str) for name in scopes)):
        return f"{EXTENSION}: scopes is a list of names, or false"
    return None


def rules_of(document: object, cache: str) -> dict:
    """The rules, with one name for each place of a parameter, as API Gateway requires."""
    if not isinstance(document, dict) or not str(document.get("openapi", "")).startswith("3.") or "paths" not in document:
        raise Refused("this isn't an OpenAPI 3 document")
    rules, scopes, problems, names = [], {}, [], {}
    default = document.get("security")
    for method, path, operation, access in operations(document):
        if operation.get("security", default) == []:
            continue
        if found := problem(access):
            problems.append(f"{method} {path}: {found}")
            continue
        place = re.sub(r"{[^}+]*}", "{}", path)
        route = f"{method} {names.setdefault(place, path)}"
        in_scopes = access.get("scopes", [])
        flags = {"scopes": False} if in_scopes is False else {}
        flags |= {"api_keys": access["api_keys"]} if "api_keys" in access else {}
        rules.append({"route": route, "groups": access["groups"], **flags})
        for name in in_scopes or []:
            scopes.setdefault(name, []).append(route)
    if problems:
        raise Refused("\n".join(problems))
    return {"$schema": "schema.json", "cache": cache, "rules": rules, "scopes": dict(sorted(scopes.items()))}


def written(rules: dict) -> str:
    """One rule per line."""
    lines = ",\n".join(f"    {json.dumps(rule, ensure_ascii=False)}" for rule in rules["rules"])
    head = "".join(f"  {json.dumps(name)}: {json.dumps(rules[name])},\n" for name in ("$schema", "cache"))
    scopes = json.dumps(rules["scopes"], ensure_ascii=False, indent=2).replace("\n", "\n  ")
    return f'{{\n{head}  "rules": [\n{lines}\n  ],\n  "scopes": {scopes}\n}}\n'


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("document", type=Path)
    parser.add_argument("--out", type=Path, help="the rules file; standard output without it")
    parser.add_argument("--cache", choices=["none", "token", "token_method_path"], default="none")
    arguments = parser.parse_args()
    try:
        text = arguments.document.read_text()
        document = json.loads(text) if arguments.document.suffix == ".json" else yaml.safe_load(text)
        rules = written(rules_of(document, arguments.cache))
    except (OSError, ValueError, yaml.YAMLError, Refused) as error:
        print(error, file=sys.stderr)
        return 1
    if arguments.out:
        arguments.out.write_text(rules)
    else:
        print(rules, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
