"""The owner sync applies changes in the user pool to the owners' keys. The function is invoked like EventBridge would: the test
changes the pool for real, but forges CloudTrail's record, which the emulator doesn't have."""

import json
import os
import secrets
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import boto3
import pytest
from conftest import bearer, eventually, srp_tokens

pytestmark = [
    pytest.mark.provider("cognito"),
    pytest.mark.skipif("VEGA_LOCAL_STATE" not in os.environ, reason="creates and deletes people in the local pool"),
]


class Person:
    """Somebody in the groups `operator` and `user`, with a key. The test may delete them."""

    def __init__(self, api, cognito):
        self.api, self.cognito, self.pool = api, cognito, os.environ["VEGA_COGNITO_USER_POOL_ID"]
        self.email, password = f"{secrets.token_hex(6)}@example.com", f"Vega-{secrets.token_urlsafe(12)}-1a"
        made = cognito.admin_create_user(
            UserPoolId=self.pool,
            Username=self.email,
            MessageAction="SUPPRESS",
            UserAttributes=[{"Name": "email", "Value": self.email}, {"Name": "email_verified", "Value": "true"}],
        )
        [self.sub] = [it["Value"] for it in made["User"]["Attributes"] if it["Name"] == "sub"]
        cognito.admin_set_user_password(UserPoolId=self.pool, Username=self.email, Password=password, Permanent=True)
        for group in ("operator", "user"):
            cognito.admin_add_user_to_group(UserPoolId=self.pool, Username=self.email, GroupName=group)
        self.password = password
        self.headers = self.sign_in()
        made = api.post("/v1/api-keys", headers=self.headers, json={"name": "e2e owners"})
        assert made.status_code == 201, made.text
        self.id, self.key = made.json()["id"], made.json()["key"]

    def sign_in(self) -> dict[str, str]:
        return bearer(srp_tokens(self.cognito, self.email, self.password)["AccessToken"])

    def new_token(self) -> dict[str, str]:
        """A token issued in a later second than the last change: tokens state their time of issue in whole seconds."""
        happened = int(time.time())
        while int(time.time()) == happened:
            time.sleep(0.05)
        return self.sign_in()

    def patch(self, headers: dict[str, str], change: dict) -> tuple[int, str | None]:
        answer = self.api.patch(f"/v1/api-keys/{self.id}", headers=headers, json=change)
        return answer.status_code, answer.json().get("error")

    def status(self, route: str) -> int:
        """The status that the key gets for the route."""
        return self.api.get(route, headers=bearer(self.key)).status_code

    def shown(self) -> dict:
        return self.api.get(f"/v1/api-keys/{self.id}", headers=self.headers).json()

    def happened(self, call: str) -> dict:
        """Invokes the function with Cognito's call as CloudTrail records it."""
        return run(
            {
                "version": "0",
                "source": "aws.cognito-idp",
                "detail-type": "AWS API Call via CloudTrail",
                "detail": {
                    "eventSource": "cognito-idp.amazonaws.com",
                    "eventName": call,
                    "errorCode": None,
                    "requestParameters": {"userPoolId": self.pool, "username": "HIDDEN_DUE_TO_SECURITY_REASONS"},
                    "additionalEventData": {"sub": self.sub},
                },
            }
        )

    def delete(self) -> None:
        self.api.delete(f"/v1/api-keys/{self.id}", headers=self.headers)
        try:
            self.cognito.admin_delete_user(**self.named)
        except self.cognito.exceptions.UserNotFoundException:
            pass

    @property
    def named(self) -> dict[str, str]:
        return {"UserPoolId": self.pool, "Username": self.email}


def run(event: dict) -> dict:
    answer = boto3.client("lambda").invoke(FunctionName=os.environ["VEGA_OWNERS_FUNCTION"], Payload=json.dumps(event))
    report = json.loads(answer["Payload"].read())
    assert "FunctionError" not in answer, report
    return report


def synchronise() -> dict:
    """Runs a pass from now on. The stack's own schedule may be running one, and passes don't overlap."""

    def complete() -> dict | None:
        report = run(SCHEDULE)
        return None if report["outcome"] == "busy" else report

    return eventually(complete)


OUTDATED = (403, "token_outdated")
SCHEDULE = {"version": "0", "source": "aws.events", "detail-type": "Scheduled Event", "detail": {}}


@pytest.fixture
def person(api, cognito) -> Iterator[Person]:
    person = Person(api, cognito)
    assert (person.status("/v1/projects"), person.status("/v1/admin/projects")) == (200, 200)
    yield person
    person.delete()


def test_a_deleted_owners_keys_fail_after_the_pools_event(person):
    person.cognito.admin_delete_user(**person.named)
    assert person.happened("AdminDeleteUser")["revoked"] == 1
    assert person.status("/v1/projects") == 401
    assert (person.shown()["status"], person.shown()["revoked_reason"]) == ("revoked", "owner_deleted")


def test_a_disabled_owners_keys_fail_until_enabled(person):
    person.cognito.admin_disable_user(**person.named)
    assert person.happened("AdminDisableUser")["disabled"] == 1
    assert (person.status("/v1/projects"), person.shown()["status"]) == (401, "disabled")
    person.cognito.admin_enable_user(**person.named)
    synchronise()
    assert person.status("/v1/projects") == 401
    assert person.patch(person.new_token(), {"status": "active"}) == (200, None)
    assert person.status("/v1/projects") == 200


def test_an_administrator_enables_the_keys_disabled_with_their_owner(person, api, cognito):
    admin = Person(api, cognito)
    off = api.post("/v1/api-keys", headers=person.headers, json={"name": "e2e off"}).json()["id"]
    api.patch(f"/v1/api-keys/{off}", headers=person.headers, json={"status": "disabled"})

    def enable():
        return api.post("/v1/admin/api-keys/enable", headers=admin.headers, params={"owner": person.sub})

    person.cognito.admin_disable_user(**person.named)
    synchronise()
    refused = enable()
    assert (refused.status_code, refused.json()["error"], person.status("/v1/projects")) == (409, "owner_disabled", 401)
    person.cognito.admin_enable_user(**person.named)
    person.happened("AdminEnableUser")
    assert (enable().json(), enable().json()) == ({"enabled": 1}, {"enabled": 0})
    assert person.status("/v1/projects") == 200
    assert api.get(f"/v1/api-keys/{off}", headers=person.headers).json()["status"] == "disabled"
    synchronise()
    assert person.status("/v1/projects") == 200
    # Otherwise their owner would be one who is gone, in the passes of the other tests.
    api.delete(f"/v1/api-keys/{off}", headers=person.headers)
    admin.delete()


def test_an_older_token_enables_no_key_of_a_disabled_owner(person):
    person.cognito.admin_disable_user(**person.named)
    synchronise()
    assert person.patch(person.headers, {"status": "active"}) == OUTDATED
    made = person.api.post("/v1/api-keys", headers=person.headers, json={"name": "e2e late"})
    assert (made.status_code, made.json()["error"]) == OUTDATED
    assert (person.patch(person.headers, {"name": "e2e renamed"}), person.status("/v1/projects")) == ((200, None), 401)


def test_an_older_token_gives_no_key_a_group_that_its_owner_left(person):
    assert person.patch(person.headers, {"groups": ["user"]}) == (200, None)
    person.cognito.admin_remove_user_from_group(**person.named, GroupName="operator")
    synchronise()
    assert person.patch(person.headers, {"groups": ["operator", "user"]}) == OUTDATED
    assert person.status("/v1/admin/projects") == 403
    person.cognito.admin_add_user_to_group(**person.named, GroupName="operator")
    assert person.patch(person.new_token(), {"groups": ["operator", "user"]}) == (200, None)
    assert person.status("/v1/admin/projects") == 200


def test_the_schedule_removes_a_group_that_the_owner_left(person):
    person.cognito.admin_remove_user_from_group(**person.named, GroupName="operator")
    synchronise()
    assert (person.status("/v1/projects"), person.status("/v1/admin/projects")) == (200, 403)
    assert person.shown()["groups"] == ["user"]
    events = person.api.get(f"/v1/api-keys/{person.id}/events", headers=person.headers).json()["items"]
    assert (events[0]["event"], events[0]["actor"], events[0]["reason"]) == (
        "groups_reduced",
        "system:owners",
        "owner_left_group",
    )


def test_an_unchanged_owners_keys_stay_unchanged(person):
    before = person.shown()
    report = person.happened("AdminDeleteUser")
    assert (report["checked"], report["gone"]) == (1, 0)
    assert synchronise()["outcome"] == "ok"
    after = person.shown()
    assert (before["version"], before["status"], before["groups"]) == (after["version"], after["status"], after["groups"])


def test_passes_dont_overlap_and_another_one_follows():
    def overlapped() -> dict | None:
        with ThreadPoolExecutor(2) as pool:
            reports = list(pool.map(run, [SCHEDULE, SCHEDULE]))
        return next((report for report in reports if report["continues"]), None)

    assert eventually(overlapped)["outcome"] == "ok"
