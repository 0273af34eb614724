//! Opaque cursors: a position in one list, valid for that list only.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{Context, SHA256};

/// Enough of a digest to distinguish lists. It protects nothing: a cursor is a position, not a permission.
const TAG_LEN: usize = 9;

/// The cursor of `place` in the list that these parts identify.
pub fn write(list: &[&str], place: &str) -> String {
    URL_SAFE_NO_PAD.encode([&tag(list), place.as_bytes()].concat())
}

/// The position that a cursor of this list contains.
pub fn read(list: &[&str], cursor: &str) -> Option<String> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
    let place = bytes.strip_prefix(&tag(list))?;
    String::from_utf8(place.to_vec()).ok()
}

fn tag(list: &[&str]) -> [u8; TAG_LEN] {
    let mut context = Context::new(&SHA256);
    for part in list {
        context.update(&part.len().to_be_bytes());
        context.update(part.as_bytes());
    }
    let mut tag = [0; TAG_LEN];
    tag.copy_from_slice(&context.finish().as_ref()[..TAG_LEN]);
    tag
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_valid_for_its_own_list_only() {
        let cursor = write(&["ada", "x"], "place");
        assert_eq!(read(&["ada", "x"], &cursor).as_deref(), Some("place"));
        for other in [&["ada"] as &[&str], &["ada", "y"], &["adax", ""], &["ada", "x", ""], &["bob", "x"]] {
            assert_eq!(read(other, &cursor), None, "{other:?}");
        }
        for nonsense in ["", "x", "!", &cursor[1..], &format!("{cursor}=")] {
            assert_eq!(read(&["ada", "x"], nonsense), None, "{nonsense}");
        }
    }
}
