//! Secrets that a server echoes piece by piece: the end of a piece that may be the beginning of one
//! is held back until the next tells. Layer: above `pieces` and `reply`; pure.

use std::collections::VecDeque;

use super::answer::FinishReason;
use super::pieces::ChatDelta;
use crate::nim::reply::presentable;
use crate::nim::secret::Secrets;

/// Longest reason for the end of an answer that is no usual one.
const REASON_LIMIT: usize = 64;

/// Where a text goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Reasoning,
    Arguments(usize),
}

/// What is held back of a stream.
#[derive(Debug, Default)]
pub(super) struct Redaction {
    held: Option<(Kind, String)>,
}

impl Redaction {
    /// The next step that may be shown; none until more comes.
    pub(super) fn next(
        &mut self,
        deltas: &mut VecDeque<ChatDelta>,
        has_ended: bool,
        secrets: &Secrets,
    ) -> Option<ChatDelta> {
        while let Some(delta) = deltas.pop_front() {
            let (kind, text) = match delta {
                ChatDelta::Text(text) => (Kind::Text, text),
                ChatDelta::Reasoning(text) => (Kind::Reasoning, text),
                ChatDelta::ToolCall { index, id: None, name: None, arguments } => {
                    (Kind::Arguments(index), arguments)
                }
                other => {
                    if let Some(held) = self.release(secrets) {
                        deltas.push_front(other);
                        return Some(held);
                    }
                    return Some(self.whole(other, secrets));
                }
            };
            if self.held.as_ref().is_some_and(|(of, _)| *of != kind) {
                let held = self.release(secrets);
                deltas.push_front(made(kind, text));
                if held.is_some() {
                    return held;
                }
                continue;
            }
            if let Some(delta) = self.take(kind, text, secrets) {
                return Some(delta);
            }
        }
        if has_ended { self.release(secrets) } else { None }
    }

    /// A step that no text goes on in; of the first part of a call the end is held back.
    fn whole(&mut self, delta: ChatDelta, secrets: &Secrets) -> ChatDelta {
        match delta {
            ChatDelta::ToolCall { index, id, name, arguments } => {
                let shown = self.take(Kind::Arguments(index), arguments, secrets);
                let arguments = match shown {
                    Some(ChatDelta::ToolCall { arguments, .. }) => arguments,
                    _ => String::new(),
                };
                let clean = |text: String| secrets.take_out(&text);
                ChatDelta::ToolCall { index, id: id.map(clean), name: name.map(clean), arguments }
            }
            ChatDelta::Finished(FinishReason::Other(reason)) => {
                let reason = presentable(&reason, secrets, REASON_LIMIT);
                ChatDelta::Finished(FinishReason::Other(reason))
            }
            other => other,
        }
    }

    /// What of a text may be shown, after what was held back of it.
    fn take(&mut self, kind: Kind, text: String, secrets: &Secrets) -> Option<ChatDelta> {
        let mut text = match self.held.take() {
            Some((_, held)) => held + &text,
            None => text,
        };
        text = secrets.take_out(&text);
        let tail = text.split_off(secrets.open_end(&text));
        self.held = Some(tail).filter(|tail| !tail.is_empty()).map(|tail| (kind, tail));
        Some(text).filter(|text| !text.is_empty()).map(|text| made(kind, text))
    }

    /// What is held back: nothing came that would make a secret of it.
    fn release(&mut self, secrets: &Secrets) -> Option<ChatDelta> {
        self.held.take().map(|(kind, text)| made(kind, secrets.take_out(&text)))
    }
}

fn made(kind: Kind, text: String) -> ChatDelta {
    match kind {
        Kind::Text => ChatDelta::Text(text),
        Kind::Reasoning => ChatDelta::Reasoning(text),
        Kind::Arguments(index) => {
            ChatDelta::ToolCall { index, id: None, name: None, arguments: text }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use secrecy::SecretString;

    use super::*;

    const KEY: &str = "nvapi-nvapi-canary";

    fn secrets() -> Secrets {
        let mut secrets = Secrets::default();
        secrets.extend(&[SecretString::from(KEY)]);
        secrets
    }

    /// What is shown of steps that come one by one.
    fn shown(steps: Vec<ChatDelta>) -> Vec<ChatDelta> {
        let (secrets, mut redaction, mut out) = (secrets(), Redaction::default(), Vec::new());
        let (mut deltas, count) = (VecDeque::new(), steps.len());
        for (at, step) in steps.into_iter().enumerate() {
            deltas.push_back(step);
            while let Some(delta) = redaction.next(&mut deltas, at + 1 == count, &secrets) {
                out.push(delta);
            }
        }
        out
    }

    #[test]
    fn a_key_in_two_pieces_is_taken_out_and_what_only_begins_like_one_comes_later() {
        let text = |text: &str| ChatDelta::Text(text.to_owned());
        let steps =
            vec![text("a nva"), text("pi-nvapi-can"), text("ary b"), text(" nvap"), text("e")];
        let expected = vec![text("a "), text("[redacted] b"), text(" "), text("nvape")];
        assert_eq!(shown(steps), expected);
        let end = ChatDelta::Finished(FinishReason::Other(format!("why {KEY}\u{7}")));
        let steps = shown(vec![text("nvapi"), end]);
        assert_eq!(steps[0], text("nvapi"));
        let ChatDelta::Finished(FinishReason::Other(reason)) = &steps[1] else { panic!() };
        assert!(!reason.contains("canary") && !reason.contains('\u{7}'), "{reason}");
        let part = |name: Option<&str>, arguments: &str| ChatDelta::ToolCall {
            index: 2,
            id: None,
            name: name.map(str::to_owned),
            arguments: arguments.to_owned(),
        };
        let steps = vec![part(Some("f"), "{nvapi-nva"), part(None, "pi-canary}")];
        assert_eq!(shown(steps), [part(Some("f"), "{"), part(None, "[redacted]}")]);
    }

    proptest! {
        #[test]
        fn pieces_give_the_text_of_the_whole_without_its_keys(
            words in prop::collection::vec(
                prop::sample::select(&["n", "v", "api", "nvapi-", "canary", KEY, "\u{e4}"][..]),
                0..12,
            ),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let whole = words.concat();
            let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(whole.len() + 1)).collect();
            ends.retain(|end| whole.is_char_boundary(*end));
            ends.extend([0, whole.len()]);
            ends.sort_unstable();
            let pieces = ends.windows(2).map(|pair| &whole[pair[0]..pair[1]]);
            let steps = pieces.map(|piece| ChatDelta::Text(piece.to_owned())).collect();
            let mut text = String::new();
            for delta in shown(steps) {
                let ChatDelta::Text(piece) = delta else { panic!("{delta:?}") };
                text.push_str(&piece);
            }
            prop_assert!(!text.contains(KEY));
            prop_assert_eq!(text, secrets().take_out(&whole));
        }
    }
}
