"""examples/ and docs/other-apis.md: the page contains the examples and snippets, and nothing on it caches a decision."""

import importlib.util
import json
import os
import re
import subprocess

import boto3
import pytest
from samcli.yamlhelper import yaml_parse
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator
from template import ROOT

EXAMPLES, TSC = ROOT / "examples", ROOT / "dashboard" / "node_modules" / ".bin" / "tsc"
PAGE = (ROOT / "docs" / "other-apis.md").read_text()
VECTORS = json.loads((ROOT / "tests" / "vectors" / "current-user.json").read_text())


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


TEMPLATES = blocks("yaml")


def test_the_page_contains_every_file_of_the_examples():
    on_page = dict(re.findall(r"^`examples/([^`]+)`:\n```\w*\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
    listed = subprocess.check_output(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "."], cwd=EXAMPLES, text=True
    )
    assert on_page == {path: (EXAMPLES / path).read_text() for path in listed.split() if ".test." not in path}


def authorizers(template: dict) -> list[dict]:
    """Each authorizer that CloudFormation creates from a template, as an OpenAPI document describes it."""
    if "Transform" in template:
        for resource in template["Resources"].values():
            if "CodeUri" in resource["Properties"]:
                resource["Properties"]["CodeUri"] = "s3://bucket/program"
        session = boto3.Session(region_name="eu-central-1")
        template = Translator({}, Parser(), boto_session=session).translate(template, {"AuthorizerArn": "arn"})
    found = []
    for resource in template["Resources"].values():
        schemes = resource["Properties"].get("Body", {}).get("components", {}).get("securitySchemes", {})
        found += [scheme["x-amazon-apigateway-authorizer"] for scheme in schemes.values()]
        if resource["Type"].endswith("::Authorizer"):
            names = {"AuthorizerResultTtlInSeconds", "AuthorizerPayloadFormatVersion", "EnableSimpleResponses"}
            found.append(
                {name[0].lower() + name[1:]: resource["Properties"][name] for name in names & resource["Properties"].keys()}
            )
    return found


def is_http(template: dict) -> bool:
    kinds = {resource["Type"] for resource in template["Resources"].values()}
    return bool(kinds & {"AWS::Serverless::HttpApi", "AWS::ApiGatewayV2::Api"})


def test_a_template_of_each_kind_is_on_the_page():
    kinds = {("Transform" in template, is_http(template)) for template in map(yaml_parse, TEMPLATES)}
    assert kinds == {(sam, http) for sam in (True, False) for http in (True, False)}


def test_the_templates_on_the_page_are_valid(tmp_path):
    paths = [tmp_path / f"{number}.yaml" for number in range(len(TEMPLATES))]
    for path, text in zip(paths, TEMPLATES, strict=True):
        path.write_text(text)
    # W3002: the code is a folder, which `sam deploy` or `aws cloudformation package` uploads.
    lint = [ROOT / "local/.venv/tools/bin/cfn-lint", "--ignore-checks", "W3002", "--region", "us-west-1", "--", *paths]
    checked = subprocess.run(lint, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize("text", TEMPLATES)
def test_a_template_on_the_page_caches_nothing(text):
    [authorizer] = authorizers(yaml_parse(text))
    assert authorizer["authorizerResultTtlInSeconds"] == 0
    if is_http(yaml_parse(text)):
        assert authorizer["authorizerPayloadFormatVersion"] == "2.0"
        assert not authorizer.get("enableSimpleResponses", False)


def test_the_terraform_snippet_caches_nothing():
    import hcl2

    [text] = blocks("hcl")
    resources = [
        (kind.strip('"'), one)
        for block in hcl2.loads(text)["resource"]
        for kind, named in block.items()
        for one in named.values()
    ]
    [rest] = [one for kind, one in resources if kind == "aws_api_gateway_authorizer"]
    [http] = [one for kind, one in resources if kind == "aws_apigatewayv2_authorizer"]
    assert rest["authorizer_result_ttl_in_seconds"] == http["authorizer_result_ttl_in_seconds"] == 0
    assert (http["authorizer_payload_format_version"], http["enable_simple_responses"]) == ('"2.0"', False)
    methods = [one for kind, one in resources if kind in ("aws_api_gateway_method", "aws_apigatewayv2_route")]
    assert len(methods) == 2 and all("vega.id" in one["authorizer_id"] for one in methods)


def test_the_cdk_snippet_is_typescript_and_caches_nothing(tmp_path):
    """The compiler knows the CDK's modules by name only: it checks syntax and names."""
    snippets = [text for text in blocks("ts") if "aws-cdk-lib" in text]
    assert len(snippets) == 1
    (tmp_path / "stack.ts").write_text(snippets[0])
    imports = re.findall(r'^import (?:type )?\{([^}]+)\} from "([^"]+)";$', snippets[0], re.MULTILINE)
    anything = "{ [key: string]: any; static [key: string]: any; constructor(...all: any[]) }"
    declared = []
    for names, module in imports:
        classes = " ".join(f"export class {name} {anything}" for name in re.findall(r"[A-Z]\w+", names))
        declared.append(f'declare module "{module}" {{ {classes} }}')
    (tmp_path / "cdk.d.ts").write_text("\n".join(declared))
    compiled = subprocess.run(
        [TSC, "--noEmit", "--target", "es2022", "cdk.d.ts", "stack.ts"], cwd=tmp_path, capture_output=True, text=True
    )
    assert compiled.returncode == 0, compiled.stdout
    kinds = re.findall(r"new (RequestAuthorizer|HttpAuthorizer)\(this, \"\w+\", \{(.*?)\n {2,}\}\)", snippets[0], re.DOTALL)
    assert sorted(kind for kind, _ in kinds) == ["HttpAuthorizer", "RequestAuthorizer"]
    assert all("resultsCacheTtl: Duration.seconds(0)" in body for _, body in kinds)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: json.dumps(vector["context"]))
def test_the_python_function_needs_a_complete_caller(vector):
    spec = importlib.util.spec_from_file_location("app", EXAMPLES / "python" / "app.py")
    app = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(app)
    context = vector["context"]
    for event in (
        {"requestContext": {"authorizer": context}},
        {"version": "2.0", "requestContext": {"authorizer": {"lambda": context}}},
    ):
        answer = app.handler(event, None)
        if "groups" in vector:
            assert answer["statusCode"] == 200
            assert json.loads(answer["body"]) == {"reports_of": context["id"], "groups": vector["groups"]}
        else:
            assert answer["statusCode"] == 401 and "reports_of" not in answer["body"]
    # A context for the other kind of API is none.
    misplaced = {"version": "2.0", "requestContext": {"authorizer": context}}
    assert app.handler(misplaced, None)["statusCode"] == app.handler({}, None)["statusCode"] == 401


def test_the_typescript_function_needs_a_complete_caller(tmp_path):
    subprocess.run([TSC, "--project", "typescript", "--outDir", tmp_path], cwd=EXAMPLES, check=True)
    (tmp_path / "package.json").write_text((EXAMPLES / "typescript" / "package.json").read_text())
    variables = {"INVOICES": str(tmp_path / "index.js"), "VECTORS": str(ROOT / "tests" / "vectors" / "current-user.json")}
    tested = subprocess.run(
        ["node", "--test", "typescript/index.test.js"], cwd=EXAMPLES, env=os.environ | variables, capture_output=True, text=True
    )
    assert tested.returncode == 0, tested.stdout
    assert re.search(r"^# pass 1$|^ℹ pass 1$", tested.stdout, re.MULTILINE), tested.stdout
