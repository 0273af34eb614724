"""Evaluates policies like IAM, with the operators that our roles use. An unknown one is an error."""

from fnmatch import fnmatchcase


def allows(statements: list[dict], action: str, resource: str, context: dict[str, list[str]]) -> bool:
    """Whether the statements allow a call. `context` has the values of the request's condition keys, by full name."""
    assert {one["Effect"] for one in statements} == {"Allow"}, "a Deny isn't supported"
    return any(
        action in listed(one["Action"])
        and any(fnmatchcase(resource, pattern) for pattern in listed(one["Resource"]))
        and all(
            matches(operator, listed(wanted), context.get(key, []))
            for operator, keys in one.get("Condition", {}).items()
            for key, wanted in keys.items()
        )
        for one in statements
    )


def listed(value: str | list[str]) -> list[str]:
    return value if isinstance(value, list) else [value]


def matches(operator: str, wanted: list[str], given: list[str]) -> bool:
    """Evaluates one operator of a condition for one key. `given` is empty if the request doesn't have the key."""
    match operator:
        case "Null":
            return wanted == [str(not given).lower()]
        case "StringEquals":
            return bool(given) and all(value in wanted for value in given)
        case "StringEqualsIfExists" | "ForAllValues:StringEquals":
            return all(value in wanted for value in given)
        case "ForAllValues:StringLike":
            return all(any(fnmatchcase(value, pattern) for pattern in wanted) for value in given)
    raise AssertionError(f"{operator} is not supported")
