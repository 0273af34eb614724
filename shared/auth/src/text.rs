/// Whether a character shows nothing of itself, and may change how those around it show: control and format characters
/// (general categories Cc and Cf of Unicode, the bidirectional ones among them), and the separators of lines and paragraphs.
/// What people write for others to read has none of them: `"x\u{202e}gnp.exe"` reads as `xexe.png`.
pub fn is_hidden(character: char) -> bool {
    // As of Unicode 17; what came later isn't known to have an effect on others. A test compares it with a library's.
    character.is_control()
        || matches!(character,
            '\u{ad}'
            | '\u{600}'..='\u{605}'
            | '\u{61c}'
            | '\u{6dd}'
            | '\u{70f}'
            | '\u{890}'..='\u{891}'
            | '\u{8e2}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{2064}'
            | '\u{2066}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{110bd}'
            | '\u{110cd}'
            | '\u{13430}'..='\u{1343f}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0001}'
            | '\u{e0020}'..='\u{e007f}')
}

/// The same in the brackets of a regular expression, for JSON Schema; without the first 32 control characters, of which some
/// texts have some. Those beyond U+FFFF aren't in it: there is no way to write them that every reader of a schema knows.
pub const HIDDEN: &str = concat!(
    r"\x7f-\x9f\u00ad\u0600-\u0605\u061c\u06dd\u070f\u0890-\u0891\u08e2\u180e\u200b-\u200f\u2028-\u202e\u2060-\u2064",
    r"\u2066-\u206f\ufeff\ufff9-\ufffb"
);

#[cfg(test)]
mod tests {
    use icu_properties::CodePointMapData;
    use icu_properties::props::GeneralCategory;

    use super::*;

    #[test]
    fn what_is_hidden_is_what_unicode_calls_control_format_and_separator() {
        use GeneralCategory::{Control, Format, LineSeparator, ParagraphSeparator};
        let category = CodePointMapData::<GeneralCategory>::new();
        for character in '\0'..=char::MAX {
            let expected = matches!(category.get(character), Control | Format | LineSeparator | ParagraphSeparator);
            assert_eq!(is_hidden(character), expected, "{character:?}");
        }
    }

    #[test]
    fn the_schema_names_the_same_characters_up_to_ffff() {
        let mut listed = vec![false; 0x1_0000];
        let code = |text: &str| usize::from_str_radix(text.trim_start_matches(['x', 'u']), 16).unwrap();
        let mut escapes = HIDDEN.split('\\').skip(1);
        let mut next = escapes.next();
        while let Some(text) = next {
            next = escapes.next();
            let (first, last) = match text.strip_suffix('-') {
                Some(first) => (code(first), code(next.unwrap())),
                None => (code(text), code(text)),
            };
            listed[first..=last].fill(true);
        }
        for character in '\u{20}'..='\u{ffff}' {
            assert_eq!(listed[character as usize], is_hidden(character), "{character:?}");
        }
    }
}
