//! After a restore: what took something from keys since the restored time is taken again.

use std::convert::Infallible;

use vega_auth::{Actor, KeyChange, KeyRecord, Timestamp, Transition};
use vega_notification::{Kind, Notification};
use vega_store::{CommitError, Store, UpdateError};

use crate::Report;

/// The actor in the audit events of a replay.
const ACTOR: &str = "system:restore";

/// Applies archived notifications to the restored table, in any order and any number of times. A key that was created since
/// doesn't exist there.
pub async fn replay(
    store: &Store,
    notifications: &[Notification],
    request_id: &str,
    now: Timestamp,
    report: &mut Report,
) {
    let actor = Actor { id: ACTOR.into(), username: ACTOR.into(), request_id: request_id.into(), ..Actor::default() };
    for notification in notifications {
        let decide = |key: &KeyRecord| Ok::<_, Infallible>(transition(notification, key, now));
        match store.update(notification.key_id, &actor, now, decide).await {
            Ok(updated) if !updated.is_changed => {}
            Ok(_) if notification.kind == Kind::Narrowed => report.disabled += 1,
            Ok(_) => report.revoked += 1,
            Err(UpdateError::NotFound) => {}
            Err(UpdateError::Commit(CommitError::Fault(fault))) => report.faults.push(fault.chain()),
            Err(UpdateError::Commit(error)) => report.faults.push(format!("key not updated: {error:?}")),
        }
    }
}

/// The change that a notification demands of a restored key, if any. What a narrowed key lost isn't in the notification, so the
/// key is disabled until its owner has looked at it.
fn transition(notification: &Notification, key: &KeyRecord, now: Timestamp) -> Option<Transition> {
    match notification.kind {
        Kind::Revoked => key.revoke(notification.reason.as_deref(), now),
        Kind::Leaked => {
            let found_at = notification.reason.as_deref().and_then(|reason| reason.strip_prefix("leaked: "));
            key.revoke_leaked(found_at.unwrap_or_default(), now)
        }
        Kind::Narrowed if notification.version.is_none_or(|version| key.version < version) => {
            let disable = KeyChange { is_enabled: Some(false), ..KeyChange::default() };
            key.change(&disable, Some("restored"), now).ok()?
        }
        _ => None,
    }
}
