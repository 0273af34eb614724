"""Which alarm detects which failure, and after how long: simulated from template.yaml, and compared with docs/operations.md.

CloudWatch's rules, from its documentation: datapoints are aligned to their period, and an alarm goes off once M of the last N
complete periods breach. `VEGA_RENEW=1` writes the table.
"""

import os
import re
from collections.abc import Callable, Iterable

import pytest
from template import FUNCTIONS, RESOURCES, ROOT, TEMPLATE

PAGE = ROOT / "docs" / "operations.md"
ALARMS = {name: one["Properties"] for name, one in RESOURCES.items() if one["Type"] == "AWS::CloudWatch::Alarm"}
SCHEDULED = {"Owners": TEMPLATE["Parameters"]["OwnersMinutes"]["AllowedValues"], "Notifications": [60]}
HOUR = 60
HORIZON = 8 * HOUR

# What a failure adds to a metric: the metric, by its namespace's last part, its name and its function.
Metric = tuple[str, str, str]
SERVER_ERRORS: Metric = ("ApiGateway", "5XXError", "")
SCAN: set[Metric] = {("${AWS::StackName}", "ExpiryScanAge", "")}


def metrics_of(alarm: dict) -> set[Metric]:
    """The metrics that an alarm watches, or adds up."""
    if "Metrics" not in alarm:
        return {metric(alarm)}
    total, *parts = alarm["Metrics"]
    assert total["Expression"] == "SUM(METRICS())"
    assert not [part for part in parts if part["ReturnData"] or part["MetricStat"]["Stat"] != "Sum"]
    return {metric(part["MetricStat"]["Metric"]) for part in parts}


def period(alarm: dict, every: int) -> int:
    """An alarm's period, in minutes."""
    if "Metrics" in alarm:
        [seconds] = {part["MetricStat"]["Period"] for part in alarm["Metrics"][1:]}
        return seconds // 60
    return value_at(alarm["Period"], every) // 60


def value_at(value: int | dict, every: int) -> int:
    """A number, or the one that a mapping has for this interval of a schedule."""
    if not isinstance(value, dict):
        return value
    mapping, key, name = value["FindInMap"]
    assert key == {"Ref": "OwnersMinutes"}
    return TEMPLATE["Mappings"][mapping][str(every)][name]


def metric(alarm: dict) -> Metric:
    namespace = str(next(iter(alarm["Namespace"].values())) if isinstance(alarm["Namespace"], dict) else alarm["Namespace"])
    [dimension] = alarm.get("Dimensions") or [{"Name": "", "Value": {"Ref": ""}}]
    function = dimension["Value"].get("Ref", "").removesuffix("Function") if dimension["Name"] == "FunctionName" else ""
    return namespace.split("/")[-1], alarm["MetricName"], function


def own(name: str) -> Metric:
    return "${AWS::StackName}", name, ""


# Whether a scheduled function runs at all shows in this metric.
PULSE = {"Owners": own("OwnersPassAge"), "Notifications": ("Lambda", "Invocations", "Notifications")}


def metrics(function: str, failure: str) -> set[Metric]:
    """The metrics in which a failure of this function shows. In the API's own only if most requests pass the function."""
    shared = {SERVER_ERRORS} if function == "Authorizer" else set()
    match failure:
        case "answers 503":
            return {own(f"{function}Faults"), *shared}
        case "error, timeout or crash":
            return {("Lambda", "Errors", function), *shared}
        case "throttled":
            throttles = {("Lambda", "Throttles", function)}
            if function == "Mail":
                return throttles | {("SQS", "ApproximateNumberOfMessagesVisible", "")}
            return throttles | ({PULSE[function]} if function in SCHEDULED else shared)
        case "never invoked":
            return {PULSE[function]} | (SCAN if function == "Notifications" else set())
        case "the scan for expiry isn't completed":
            return SCAN
        case "falls behind":
            return {own("OwnersPassAge") if function == "Owners" else ("Lambda", "IteratorAge", function)}
    raise AssertionError(failure)


def fires(alarm: dict, value: Callable[[Iterable[int]], float | None], phase: int, every: int = 1) -> int | None:
    """The minutes from a failure's beginning until the alarm goes off. `value` gives a period's datapoint, from the minutes since
    the failure began; `phase` is where in a period that was."""
    length, of, to = period(alarm, every), alarm["EvaluationPeriods"], alarm["DatapointsToAlarm"]
    threshold = value_at(alarm["Threshold"], every)
    below = alarm["ComparisonOperator"] == "LessThanThreshold"
    breaches: list[bool] = []
    for start in range(-phase - 4 * length, HORIZON, length):
        datapoint = value(range(start, start + length))
        if datapoint is None:
            breaches.append(alarm["TreatMissingData"] == "breaching")
        else:
            breaches.append(datapoint < threshold if below else datapoint >= threshold)
        end = start + length
        if end > 0 and sum(breaches[-of:]) >= to:
            return end
    return None


def datapoints(failure: str, name: str, every: int) -> Callable[[Iterable[int]], float | None]:
    """A metric's datapoints when everything fails from minute 0 on, with one request or run every so many minutes."""

    def value(minutes: Iterable[int]) -> float | None:
        runs = [minute for minute in minutes if minute % every == 0]
        failed = [minute for minute in runs if minute >= 0]
        match name:
            case "5XXError":
                return len(failed) / len(runs) if runs else None
            case "Invocations":
                return len(runs) - len(failed) or None
            case "OwnersPassAge" if failure == "falls behind":
                # The last complete pass began one interval before the failure.
                return max(minute + every if minute >= 0 else 0 for minute in runs) * 60 if runs else None
            case "OwnersPassAge":
                return 0 if len(failed) < len(runs) else None
            case "ExpiryScanAge" if failure == "never invoked":
                return 0 if len(runs) > len(failed) else None
            case "ExpiryScanAge":
                # The function runs every hour, but hasn't finished since minute 0.
                return max(max(runs), 0) * 60.0
            case "IteratorAge":
                return max(max(minutes), 0) * 60_000
            case "ApproximateNumberOfMessagesVisible":
                # Lambda tries an event for six hours, then gives up.
                return float(max(minutes) >= 6 * HOUR)
        return float(len(failed)) if runs else None

    return value


def detection(function: str, failure: str) -> dict[str, list[int]]:
    """Each alarm that detects the failure, with the longest it takes in minutes, at every schedule."""
    found = {}
    for name, alarm in ALARMS.items():
        if not metrics_of(alarm) & metrics(function, failure):
            continue
        found[name] = []
        for every in SCHEDULED.get(function, [1]):
            value = datapoints(failure, alarm.get("MetricName", ""), every)
            delays = [fires(alarm, value, phase, every) for phase in range(period(alarm, every))]
            assert None not in delays, f"{name} misses {function}: {failure}"
            # The first run that fails may be a whole interval away.
            found[name].append(max(delays) + (every if function in SCHEDULED and failure != "falls behind" else 0))
    return found


def shown(name: str, delays: list[int]) -> str:
    text = f"`{name}` {delays[0]} min"
    return text if delays[0] == delays[-1] else f"{text} ({delays[-1]} min with `OwnersMinutes` 60)"


FAILURES = [
    *((function, failure) for function in ("Authorizer", "ApiKeys", "LeakedKeys") for failure in ["answers 503"]),
    # A check that fails stops the deployment, whose output says so.
    *(
        (name, failure)
        for name in FUNCTIONS
        if name != "AuthorizerCheck"
        for failure in ("error, timeout or crash", "throttled")
    ),
    *((function, "never invoked") for function in SCHEDULED),
    *((function, "falls behind") for function in SCHEDULED),
    ("Notifications", "the scan for expiry isn't completed"),
]


def table() -> str:
    rows = ["| function | failure | alarms, and how soon at the latest |", "| --- | --- | --- |"]
    for function, failure in FAILURES:
        alarms = sorted(detection(function, failure).items(), key=lambda found: found[1])
        rows.append(f"| {function} | {failure} | {', '.join(shown(*one) for one in alarms)} |")
    return "\n".join(rows) + "\n"


@pytest.mark.parametrize(("function", "failure"), FAILURES)
def test_every_failure_of_every_function_sets_off_an_alarm(function: str, failure: str):
    assert detection(function, failure), f"{function}: {failure}"


def test_a_total_outage_is_detected_with_one_request_in_five_minutes():
    alarm = ALARMS["ServerErrorsAlarm"]
    delays = [fires(alarm, datapoints("", "5XXError", 5), phase) for phase in range(5)]
    assert max(delays) <= 5


def test_one_failed_request_in_a_thousand_sets_off_no_alarm():
    for name in ("ServerErrorsAlarm", "OutageAlarm"):
        assert fires(ALARMS[name], lambda _: 0.001, 0) is None


def test_the_operations_page_has_the_computed_table():
    page = PAGE.read_text()
    found = re.search(r"\| function \| failure \|.*?\n(?=\n)", page, re.DOTALL)
    if os.environ.get("VEGA_RENEW"):
        PAGE.write_text(page.replace(found[0], table()))
    else:
        assert found[0] == table(), "VEGA_RENEW=1 writes it"


def test_a_pass_at_every_interval_keeps_its_alarm_quiet():
    alarm = ALARMS["OwnersAgeAlarm"]
    for every in SCHEDULED["Owners"]:
        # A pass that takes a whole interval, and so begins one interval before it is logged.
        for phase in range(period(alarm, every)):
            assert (
                fires(
                    alarm,
                    lambda minutes, every=every: every * 60 if any(one % every == 0 for one in minutes) else None,
                    phase,
                    every,
                )
                is None
            )


def test_the_age_that_an_alarm_watches_is_in_the_log():
    counted = RESOURCES["OwnersPassAge"]["Properties"]
    assert counted["LogGroupName"] == {"Ref": "OwnersLogs"}
    [transformation] = counted["MetricTransformations"]
    assert counted["FilterPattern"] == "{ " + transformation["MetricValue"] + " >= 0 }"
    assert f'"{transformation["MetricValue"].removeprefix("$.")}":' in (ROOT / "functions/owners/src/lib.rs").read_text()
    assert transformation["MetricName"] == ALARMS["OwnersAgeAlarm"]["MetricName"]


def test_every_alarm_is_explained_and_tells_whoever_is_configured():
    page = PAGE.read_text()
    for name, alarm in ALARMS.items():
        assert f"### {name}" in page, name
        assert (
            alarm["AlarmActions"]
            == alarm["OKActions"]
            == [
                {"If": ["SendsAlarmMail", {"Ref": "AlarmTopic"}, {"Ref": "AWS::NoValue"}]},
                {"If": ["HasAlarmTopic", {"Ref": "AlarmTopicArn"}, {"Ref": "AWS::NoValue"}]},
            ]
        ), name
        assert alarm["AlarmDescription"].endswith("See docs/operations.md."), name
    assert TEMPLATE["Conditions"]["HasAlarmTopic"] == {"Not": [{"Equals": [{"Ref": "AlarmTopicArn"}, ""]}]}


def test_the_age_of_the_scan_is_the_member_of_the_log():
    age, alarm = RESOURCES["ExpiryScanAge"]["Properties"], ALARMS["ExpiryScanAlarm"]
    assert age["LogGroupName"] == {"Ref": "NotificationsLogs"}
    assert age["FilterPattern"] == "{ $.scan_age_seconds = * }"
    [transformation] = age["MetricTransformations"]
    assert transformation["MetricValue"] == "$.scan_age_seconds"
    assert (alarm["Namespace"], alarm["MetricName"]) == (transformation["MetricNamespace"], transformation["MetricName"])
    assert 'line["scan_age_seconds"] = age.into()' in (ROOT / "functions/notifications/src/lib.rs").read_text()


def test_the_faults_that_an_alarm_counts_are_the_words_of_the_log():
    for function in ("Authorizer", "ApiKeys", "LeakedKeys"):
        counted = RESOURCES[f"{function}Faults"]["Properties"]
        assert counted["LogGroupName"] == {"Ref": f"{function}Logs"}
        assert counted["FilterPattern"] == '{ $.outcome = "fault" }'
        [transformation] = counted["MetricTransformations"]
        alarm = ALARMS[f"{function}FaultsAlarm"]
        assert (alarm["Namespace"], alarm["MetricName"]) == (transformation["MetricNamespace"], transformation["MetricName"])
