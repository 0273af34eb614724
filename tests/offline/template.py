"""template.yaml as data, for AWS and as the local stack patches it for provider custom."""

from pathlib import Path

import yaml
from stack import merge_patch

ROOT = Path(__file__).resolve().parent.parent.parent


class Loader(yaml.SafeLoader):
    pass


def tagged(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> dict:
    value = loader.construct_sequence(node, deep=True) if isinstance(node, yaml.SequenceNode) else loader.construct_scalar(node)
    return {suffix: value}


Loader.add_multi_constructor("!", tagged)


def load(path: str) -> dict:
    return yaml.load((ROOT / path).read_text(), Loader)


def functions(template: dict) -> dict[str, dict]:
    resources = template["Resources"].items()
    return {name.removesuffix("Function"): one for name, one in resources if one["Type"] == "AWS::Serverless::Function"}


TEMPLATE = load("template.yaml")
RESOURCES = TEMPLATE["Resources"]
FUNCTIONS = functions(TEMPLATE)
# What local/stack.py deploys for provider custom.
CUSTOM = merge_patch(merge_patch(TEMPLATE, load("local/emulator.yaml")), load("local/debug-login.yaml"))
