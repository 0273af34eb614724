use serde::Deserialize;
use serde_json::Value;
use vega_auth::Object;
use vega_notification::Notification;

/// The `detail-type` of the event with which a run requests the next one.
pub const CONTINUATION: &str = "Owner Sync Continues";

/// The task an event stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task {
    /// Check every key owner.
    SyncAll {
        /// The most owners who may lose something, if a person has confirmed a number; otherwise one in five.
        may_revoke: Option<usize>,
    },
    /// Check one owner.
    SyncOwner(String),
    /// Take from restored keys what these notifications say that they lost.
    Replay(Vec<Notification>),
    /// Do nothing: the event concerns another pool, or a call that failed.
    Nothing,
}

/// The part of an `EventBridge` event that we read. `CloudTrail`'s records have the call in `detail`.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Event {
    detail_type: Option<String>,
    #[serde(default)]
    detail: Value,
}

/// The event that a person sends after looking into an alarm.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Confirmation {
    may_revoke: usize,
}

/// The event of `make replay`, after a restore.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Replay {
    replay: Vec<Object<Notification>>,
}

impl Task {
    /// Reads an event: `EventBridge`'s schedule, a run's request for the next one, a call of Cognito's API recorded by
    /// `CloudTrail`, a person's confirmation, or notifications to replay.
    ///
    /// `CloudTrail` hides usernames. If a call concerned one person, their `sub` is in `additionalEventData`.
    /// Fails when the event is none of these.
    pub fn read(event: &Value, pool_id: &str) -> Result<Self, &'static str> {
        if let Ok(Object(Confirmation { may_revoke })) = serde_json::from_value(event.clone()) {
            return Ok(Self::SyncAll { may_revoke: Some(may_revoke) });
        }
        if let Ok(Object(Replay { replay })) = serde_json::from_value(event.clone()) {
            return Ok(Self::Replay(replay.into_iter().map(|Object(notification)| notification).collect()));
        }
        let Ok(Object(Event { detail_type: Some(detail_type), detail })) = serde_json::from_value(event.clone()) else {
            return Err("expected a scheduled event, an AWS API call via CloudTrail, or may_revoke");
        };
        match detail_type.as_str() {
            "Scheduled Event" | CONTINUATION => Ok(Self::SyncAll { may_revoke: None }),
            "AWS API Call via CloudTrail" => {
                // The call was refused.
                if detail["errorCode"].as_str().is_some_and(|code| !code.is_empty()) {
                    return Ok(Self::Nothing);
                }
                let pool = detail["requestParameters"]["userPoolId"].as_str();
                let subject = detail["additionalEventData"]["sub"].as_str().filter(|subject| !subject.is_empty());
                Ok(match (pool, subject) {
                    (Some(pool), _) if pool != pool_id => Self::Nothing,
                    // DeleteUser names no pool. If the person is in another pool, we have no keys of theirs.
                    (_, Some(subject)) => Self::SyncOwner(subject.to_owned()),
                    (Some(_), None) => Self::SyncAll { may_revoke: None },
                    (None, None) => Self::Nothing,
                })
            }
            _ => Err("expected a scheduled event, an AWS API call via CloudTrail, or may_revoke"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn call(name: &str, change: impl FnOnce(&mut Value)) -> Value {
        let mut event = json!({
            "version": "0", "detail-type": "AWS API Call via CloudTrail", "source": "aws.cognito-idp",
            "detail": {
                "eventSource": "cognito-idp.amazonaws.com", "eventName": name, "errorCode": null,
                "requestParameters": { "userPoolId": "us-west-1_abc", "username": "HIDDEN_DUE_TO_SECURITY_REASONS" },
                "additionalEventData": { "sub": "user-1" },
            },
        });
        change(&mut event["detail"]);
        event
    }

    #[test]
    fn an_event_concerns_all_owners_or_one_or_none() {
        let all = Task::SyncAll { may_revoke: None };
        for (event, task) in [
            (json!({ "detail-type": "Scheduled Event", "source": "aws.events", "detail": {} }), all.clone()),
            (json!({ "detail-type": "Owner Sync Continues", "source": "vega-auth.x", "detail": {} }), all.clone()),
            (json!({ "may_revoke": 7 }), Task::SyncAll { may_revoke: Some(7) }),
            (call("AdminDisableUser", |_| {}), Task::SyncOwner("user-1".into())),
            (call("AdminDeleteUser", |detail| detail["errorCode"] = "".into()), Task::SyncOwner("user-1".into())),
            (call("DeleteUser", |detail| detail["requestParameters"] = Value::Null), Task::SyncOwner("user-1".into())),
            (call("DeleteGroup", |detail| detail["additionalEventData"] = Value::Null), all),
            (call("AdminDeleteUser", |detail| detail["errorCode"] = "AccessDenied".into()), Task::Nothing),
            (
                call("AdminDeleteUser", |detail| detail["requestParameters"]["userPoolId"] = "other".into()),
                Task::Nothing,
            ),
            (call("DeleteUser", |detail| *detail = json!({ "eventName": "DeleteUser" })), Task::Nothing),
        ] {
            assert_eq!(Task::read(&event, "us-west-1_abc"), Ok(task), "{event}");
        }
    }

    #[test]
    fn an_unknown_event_is_an_error() {
        for event in [
            json!({}),
            json!(null),
            json!([]),
            json!([7]),
            json!(["Scheduled Event", {}]),
            json!({ "may_revoke": -1 }),
            json!({ "replay": [{}] }),
            json!({ "may_revoke": 1, "x": 1 }),
        ] {
            assert!(Task::read(&event, "us-west-1_abc").is_err(), "{event}");
        }
        assert!(Task::read(&json!({ "detail-type": "EC2 Instance State-change Notification" }), "x").is_err());
    }
}
