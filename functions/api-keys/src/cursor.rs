//! Opaque cursors: a position in one list, valid for that list only.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::idempotency::digest;

/// Enough of a digest to distinguish lists. It protects nothing: a cursor is a position, not a permission.
const TAG_LEN: usize = 9;

/// The cursor of `place` in the list that these parts identify.
pub fn write(list: &[&str], place: &impl Serialize) -> String {
    URL_SAFE_NO_PAD.encode([tag(list).as_slice(), serde_json::json!(place).to_string().as_bytes()].concat())
}

/// The position that a cursor of this list contains.
pub fn read<T: DeserializeOwned>(list: &[&str], cursor: &str) -> Option<T> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
    serde_json::from_slice(bytes.strip_prefix(tag(list).as_slice())?).ok()
}

fn tag(list: &[&str]) -> Vec<u8> {
    digest(&list.iter().map(|part| part.as_bytes()).collect::<Vec<_>>())[..TAG_LEN].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_valid_for_its_own_list_only() {
        let cursor = write(&["ada", "x"], &"place");
        assert_eq!(read::<String>(&["ada", "x"], &cursor).as_deref(), Some("place"));
        for other in [&["ada"] as &[&str], &["ada", "y"], &["adax", ""], &["ada", "x", ""], &["bob", "x"]] {
            assert_eq!(read::<String>(other, &cursor), None, "{other:?}");
        }
        for nonsense in ["", "x", "!", &cursor[1..], &format!("{cursor}=")] {
            assert_eq!(read::<String>(&["ada", "x"], nonsense), None, "{nonsense}");
        }
    }
}
