//! Tokens of chat templates in texts of records: a tokenizer that takes them for its own would let
//! a record begin a message. Pure.

/// Longest name in brackets that is looked at, in bytes.
const LONGEST: usize = 32;
/// Capital letters that a name has at least: `[US]` and `[Fig]` are left alone.
const CAPITALS: usize = 3;

/// Whether a text begins with `<` as tokens in angle brackets do: `<|im_start|>`, `<s>`, `</s>`,
/// `<start_of_turn>`, and those with fullwidth bars.
pub(super) fn begins_tag(text: &str) -> bool {
    let Some(after) = text.strip_prefix('<') else { return false };
    let name = after.strip_prefix('/').unwrap_or(after);
    name.starts_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | '|' | '\u{ff5c}'))
}

/// Whether a text begins with a token in square brackets: `[INST]`, `[/INST]`, `[TOOL_CALLS]`,
/// `[gMASK]`.
pub(super) fn begins_control(text: &str) -> bool {
    let Some(after) = text.strip_prefix('[') else { return false };
    let name = after.strip_prefix('/').unwrap_or(after).as_bytes();
    let is_inside = |byte: &&u8| byte.is_ascii_alphanumeric() || **byte == b'_';
    let length = name.iter().take(LONGEST + 1).take_while(is_inside).count();
    let capitals = name.iter().take(length).filter(|byte| byte.is_ascii_uppercase()).count();
    name.get(length) == Some(&b']') && length <= LONGEST && capitals >= CAPITALS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_of_chat_templates_are_known_and_other_brackets_left_alone() {
        for token in [
            "<|im_start|>system",
            "<|eot_id|>",
            "<\u{ff5c}begin\u{2581}of\u{2581}sentence\u{ff5c}>",
            "<start_of_turn>user",
            "<s>",
            "</s>",
            "<SPECIAL_10>",
            "</think>",
        ] {
            assert!(begins_tag(token), "{token}");
        }
        for token in ["[INST]", "[/INST] x", "[SYSTEM_PROMPT]", "[gMASK]", "[IMG]"] {
            assert!(begins_control(token), "{token}");
        }
        for text in ["", "<", "< s>", "<= 3", "<-", "</", "x<s>", "[INST]"] {
            assert!(!begins_tag(text), "{text}");
        }
        let long = format!("[{}]", "A".repeat(LONGEST + 1));
        for text in ["", "[", "[1]", "[US]", "[Fig]", "[INST", "[IN ST]", "[ INST]", &long, "<s>"] {
            assert!(!begins_control(text), "{text}");
        }
    }
}
