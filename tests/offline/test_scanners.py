"""The rules in docs/scanners find the published keys of the format, and nothing that only resembles a key."""

import re
from pathlib import Path

import tomllib
import yaml

SCANNERS = Path(__file__).resolve().parent.parent.parent / "docs" / "scanners"
KEYS = [
    "vk_000000000000_00000000000000000000000000000000000000000001CDPBd",
    "vk_zzzzzzzzzzzz_yhjskwdA6OZ1AL1YmHWZWm8LLG7HjnuCA2j5rOw8Xp10NDXNk",
    "vk_7Gh2kQ9XbT4m_003aUlTJC7tjlCTQj2uNU3MFagCXG9LRKRcwGkBIDlf1EG2IT",
]


def rules() -> list[tuple[re.Pattern, list[str]]]:
    [gitleaks] = tomllib.loads((SCANNERS / "gitleaks.toml").read_text())["rules"]
    [trufflehog] = yaml.safe_load((SCANNERS / "trufflehog.yaml").read_text())["detectors"]
    return [
        (re.compile(gitleaks["regex"], re.ASCII), gitleaks["keywords"]),
        (re.compile(trufflehog["regex"]["key"], re.ASCII), trufflehog["keywords"]),
    ]


def test_the_scanner_rules_find_every_published_key():
    for pattern, keywords in rules():
        for key in KEYS:
            for text in (
                key,
                f"VEGA_KEY={key}\n",
                f'{{"key":"{key}"}}',
                f"Authorization: Bearer {key}",
                f"'{key}',",
                f"({key})",
            ):
                assert pattern.search(text).group(1) == key
                assert any(keyword in text.lower() for keyword in keywords)


def test_the_scanner_rules_ignore_what_resembles_a_key():
    for pattern, _ in rules():
        for key in KEYS:
            for text in (
                key[:-1],
                key + "0",
                key.replace("vk_", "VK_"),
                key.replace("vk_", "sk_"),
                key[:15] + "-" + key[16:],
                key[:20] + "_" + key[21:],
                key[:20] + " " + key[21:],
                "x" + key,
                "vk_",
                "vk_xxxxxxxxxxxxxxxx",
            ):
                assert not pattern.search(text), text
