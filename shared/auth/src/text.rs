/// Whether a character is invisible and can change the appearance of those around it: Unicode's control and format
/// characters (categories Cc and Cf, including the bidirectional ones), and its line and paragraph separators. They are
/// refused in names and descriptions that other people read: `"x\u{202e}gnp.exe"` looks like `xexe.png`.
pub fn is_hidden(character: char) -> bool {
    // As of Unicode 17. A test compares the list with a library's.
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

/// The same characters for a bracket expression in a JSON Schema pattern, without the first 32 control characters: some
/// texts allow line breaks. Those beyond U+FFFF are missing too: no notation for them works in every schema validator.
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
    fn hidden_means_control_format_or_separator_in_unicode() {
        use GeneralCategory::{Control, Format, LineSeparator, ParagraphSeparator};
        let category = CodePointMapData::<GeneralCategory>::new();
        for character in '\0'..=char::MAX {
            let expected = matches!(category.get(character), Control | Format | LineSeparator | ParagraphSeparator);
            assert_eq!(is_hidden(character), expected, "{character:?}");
        }
    }

    #[test]
    fn the_pattern_lists_the_same_characters_up_to_ffff() {
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
