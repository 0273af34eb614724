"""The caller's reports, behind the Vega authorizer."""

import json
from dataclasses import dataclass


@dataclass(frozen=True)
class CurrentUser:
    """The caller. The authorizer writes it into the request context, which no client can."""

    id: str
    username: str
    groups: tuple[str, ...]
    authenticated_by: str


class Unauthenticated(Exception):
    """The request has no complete caller, so it didn't come through the authorizer: respond with 401."""


def current_user(event: dict) -> CurrentUser:
    """The caller of a request to a REST API, or to an HTTP API with payload format 2.0."""
    context = (event.get("requestContext") or {}).get("authorizer") or {}
    if event.get("version") == "2.0":
        context = context.get("lambda") or {}

    def text(name: str) -> str:
        value = context.get(name)
        if not isinstance(value, str) or not value:
            raise Unauthenticated
        return value

    groups = tuple(text("groups").split(" ")) if "groups" in context else ()
    user = CurrentUser(text("id"), text("username"), groups, text("authenticated_by"))
    if "" in groups or user.authenticated_by not in ("jwt", "other_pool", "machine", "api_key"):
        raise Unauthenticated
    if user.authenticated_by == "api_key":
        text("key_id")
    return user


def handler(event: dict, _context: object) -> dict:
    try:
        user = current_user(event)
    except Unauthenticated:
        problem = {"type": "about:blank", "title": "Unauthorized", "status": 401, "error": "invalid_token"}
        return {
            "statusCode": 401,
            "headers": {"Content-Type": "application/problem+json", "Cache-Control": "no-store"},
            "body": json.dumps(problem),
        }
    return {
        "statusCode": 200,
        "headers": {"Content-Type": "application/json"},
        "body": json.dumps({"reports_of": user.id, "groups": user.groups}),
    }
