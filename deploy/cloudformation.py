"""Writes a plain CloudFormation template and the packages of its functions, for Terraform and the CDK: `make cloudformation`.

The parameters stay parameters. Upload the packages to the bucket that `CodeBucket` names. A package's name contains its digest, so a
changed package, or a changed rules file in it, is a changed template.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import sys
import zipfile
from pathlib import Path

import boto3
from samcli.yamlhelper import yaml_parse
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator

ROOT = Path(__file__).resolve().parent.parent
BUILT = ROOT / ".aws-sam" / "build"
WRITTEN = ROOT / ".aws-sam" / "cloudformation"
CODE_BUCKET = {"Description": "The bucket with the functions' packages, in this region.", "Type": "String"}


def plain(template: dict, packages: dict[str, str], region: str) -> dict:
    """The template without its transform, for the partition of this region. `packages` has the functions' packages, by logical id."""
    for name, resource in template["Resources"].items():
        if resource["Type"] == "AWS::Serverless::Function":
            resource["Properties"]["CodeUri"] = {"Bucket": {"Ref": "CodeBucket"}, "Key": packages[name]}
    # The translator inserts parameters' values into an API's definition, so each value is a mark that becomes a reference again.
    marks = {name: f"<<{name}>>" for name in template["Parameters"]}
    translator = Translator({}, Parser(), boto_session=boto3.Session(region_name=region))
    translated = translator.translate(template, marks)
    translated["Parameters"]["CodeBucket"] = CODE_BUCKET
    return referring(translated)


def referring(node: object) -> object:
    if isinstance(node, dict):
        return {name: referring(value) for name, value in node.items()}
    if isinstance(node, list):
        return [referring(value) for value in node]
    if isinstance(node, str) and (whole := re.fullmatch(r"<<(\w+)>>", node)):
        return {"Ref": whole[1]}
    return node


def package(folder: Path) -> bytes:
    """A function's package: the same bytes for the same files."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            entry = zipfile.ZipInfo(str(path.relative_to(folder)))
            entry.external_attr, entry.compress_type = 0o100755 << 16, zipfile.ZIP_DEFLATED
            archive.writestr(entry, path.read_bytes())
    return content.getvalue()


def write(built: Path, folder: Path, region: str) -> None:
    template = yaml_parse((built / "template.yaml").read_text())
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    packages = {}
    for name, resource in template["Resources"].items():
        if resource["Type"] == "AWS::Serverless::Function":
            content = package(built / name)
            packages[name] = f"{name}-{hashlib.sha256(content).hexdigest()[:16]}.zip"
            (folder / packages[name]).write_bytes(content)
    (folder / "template.json").write_text(json.dumps(plain(template, packages, region), indent=1))


if __name__ == "__main__":
    write(BUILT, WRITTEN, region=sys.argv[1])
    print(f"wrote {WRITTEN.relative_to(ROOT)}: template.json and the packages for CodeBucket", file=sys.stderr)
