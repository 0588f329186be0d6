//! What one input of a call is, and how much of a request it takes. Not the cutting into requests
//! (see `batch`). Layer: above `image`; pure.

use std::borrow::Cow;

use super::image::Image;

/// One thing to embed, or one passage to rank. Images are for vision-language models only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Input<'a> {
    /// A text.
    Text(&'a str),
    /// An image alone.
    Image(&'a Image),
    /// A text and an image that belong together, such as a page and its transcript.
    TextAndImage(&'a str, &'a Image),
}

impl<'a> From<&'a str> for Input<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

impl<'a> From<&'a Image> for Input<'a> {
    fn from(image: &'a Image) -> Self {
        Self::Image(image)
    }
}

impl<'a> Input<'a> {
    pub(super) fn text(self) -> Option<&'a str> {
        match self {
            Self::Text(text) | Self::TextAndImage(text, _) => Some(text),
            Self::Image(_) => None,
        }
    }

    pub(super) fn image(self) -> Option<&'a str> {
        match self {
            Self::Text(_) => None,
            Self::Image(image) | Self::TextAndImage(_, image) => Some(image.data_url()),
        }
    }

    /// An empty text, which servers refuse, even beside an image.
    pub(super) fn is_empty(self) -> bool {
        self.text().is_some_and(str::is_empty)
    }

    /// The one string that an embedding NIM takes for it, behind `prefix`.
    pub(super) fn as_string(self, prefix: &str) -> Cow<'a, str> {
        let text = |text: &'a str| match prefix {
            "" => Cow::Borrowed(text),
            prefix => Cow::Owned(format!("{prefix}{text}")),
        };
        match self {
            Self::Text(words) => text(words),
            Self::Image(image) => Cow::Borrowed(image.data_url()),
            Self::TextAndImage(words, image) => {
                Cow::Owned(format!("{}\n{}", text(words), image.data_url()))
            }
        }
    }

    /// What an embedding NIM calls it.
    pub(super) fn modality(self) -> &'static str {
        match self {
            Self::Text(_) => "text",
            Self::Image(_) => "image",
            Self::TextAndImage(..) => "text_image",
        }
    }

    pub(super) fn size(self) -> Size {
        let text = self.text().unwrap_or_default();
        let image = self.image();
        let (chars, tokens) = counted(text);
        Size {
            chars,
            tokens,
            bytes: text.len().saturating_add(image.map_or(0, str::len)),
            images: usize::from(image.is_some()),
        }
    }
}

/// How much of a request an input takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Size {
    /// Characters of text.
    pub(super) chars: usize,
    /// Tokens of text, estimated.
    pub(super) tokens: usize,
    /// Bytes of text and image before JSON escapes.
    pub(super) bytes: usize,
    pub(super) images: usize,
}

impl Size {
    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            chars: self.chars.saturating_add(other.chars),
            tokens: self.tokens.saturating_add(other.tokens),
            bytes: self.bytes.saturating_add(other.bytes),
            images: self.images.saturating_add(other.images),
        }
    }
}

/// Characters and tokens. About four ASCII characters make a token; of other characters each is
/// taken for one, which is right for Chinese and too many for accented Latin.
fn counted(text: &str) -> (usize, usize) {
    if text.is_ascii() {
        return (text.len(), text.len().div_ceil(4));
    }
    let chars = text.chars().count();
    let ascii = text.bytes().filter(u8::is_ascii).count();
    (chars, ascii.div_ceil(4).saturating_add(chars.saturating_sub(ascii)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_with_text_is_one_string_and_a_prefix_stands_before_text_only() {
        let image = Image::new(b"GIF89a").expect("an image");
        let url = image.data_url();
        assert_eq!(Input::from("a").as_string("q: "), "q: a");
        assert_eq!(Input::from(&image).as_string("q: "), url);
        assert_eq!(Input::TextAndImage("a", &image).as_string(""), format!("a\n{url}"));
        assert!(Input::TextAndImage("", &image).is_empty() && !Input::Image(&image).is_empty());
    }

    #[test]
    fn sizes_count_characters_tokens_and_bytes() {
        let size = |chars, tokens, bytes| Size { chars, tokens, bytes, images: 0 };
        assert_eq!(Input::from("abcde").size(), size(5, 2, 5));
        assert_eq!(Input::from("\u{4e2d}\u{6587}ab").size(), size(4, 3, 8));
        let image = Image::new(b"GIF89a").expect("an image");
        let both = Input::TextAndImage("ab", &image).size();
        assert_eq!(both, Size { chars: 2, tokens: 1, bytes: 32, images: 1 });
    }
}
