"""Cognito's hosts in each partition, compared with those of AWS's own SDK."""

import re

import botocore.session
from template import ROOT


def test_endpoints_are_botocores_in_every_partition():
    source = (ROOT / "shared/auth/src/config.rs").read_text()
    table = dict(re.findall(r'^        (?:Some\("(\w+)"\)|_) => &\["([a-z.]+)"', source, re.MULTILINE))
    assert table.keys() == {"", "cn", "eusc"}
    session = botocore.session.get_session()
    seen = 0
    for partition in ("aws", "aws-us-gov", "aws-cn", "aws-eusc"):
        # User pools aren't listed for aws-cn, so ask for a service that every region has.
        for region in session.get_available_regions("dynamodb", partition):
            client = session.create_client("cognito-idp", region, aws_access_key_id="x", aws_secret_access_key="x")
            suffix = table.get(region.split("-")[0], table[""])
            assert client.meta.endpoint_url == f"https://cognito-idp.{region}.{suffix}"
            seen += 1
    assert seen > 30
