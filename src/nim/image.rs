//! Images for vision-language models: bytes as a base64 data URL, the only form that a local NIM
//! takes. Reads no file and follows no link. Layer: above `base64`; pure.

use std::fmt;

use super::base64;
use super::fault::ConfigFault;

/// An image, ready to be sent: a data URL such as `data:image/png;base64,...`.
///
/// Encoded once, so the same image can be part of any number of calls.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Image {
    url: String,
}

impl Image {
    /// From the bytes of a PNG, JPEG, WebP, GIF, BMP or TIFF file, told apart by how they begin.
    ///
    /// # Errors
    ///
    /// [`ConfigFault::ImageForm`] when the bytes begin like none of these.
    pub fn new(bytes: &[u8]) -> Result<Self, ConfigFault> {
        let subtype = subtype(bytes).ok_or(ConfigFault::ImageForm)?;
        let mut url = format!("data:image/{subtype};base64,");
        base64::encode_into(&mut url, bytes);
        Ok(Self { url })
    }

    /// From a data URL, which must name an image type and hold base64.
    ///
    /// # Errors
    ///
    /// [`ConfigFault::ImageForm`] for anything else: paths, `https://` links and asset ids too.
    pub fn from_data_url(url: impl Into<String>) -> Result<Self, ConfigFault> {
        let url = url.into();
        let data = url.strip_prefix("data:image/").and_then(|rest| rest.split_once(";base64,"));
        let is_image = data.is_some_and(|(subtype, text)| {
            let legal = |b: u8| b.is_ascii_alphanumeric() || b"+-.".contains(&b);
            !subtype.is_empty()
                && subtype.bytes().all(legal)
                && base64::decode(text.as_bytes()).is_some_and(|bytes| !bytes.is_empty())
        });
        if is_image { Ok(Self { url }) } else { Err(ConfigFault::ImageForm) }
    }

    /// The data URL, as sent.
    #[must_use]
    pub fn data_url(&self) -> &str {
        &self.url
    }
}

impl fmt::Debug for Image {
    /// Shows type and size, not the content.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = self.url.split(',').next().unwrap_or_default();
        write!(f, "Image({head}, {} bytes as text)", self.url.len())
    }
}

/// The image subtype by the first bytes of each format.
fn subtype(bytes: &[u8]) -> Option<&'static str> {
    let starts = |magic: &[u8]| bytes.starts_with(magic);
    if starts(b"\x89PNG\r\n\x1a\n") {
        Some("png")
    } else if starts(b"\xff\xd8\xff") {
        Some("jpeg")
    } else if starts(b"RIFF") && bytes.get(8..12) == Some(b"WEBP") {
        Some("webp")
    } else if starts(b"GIF87a") || starts(b"GIF89a") {
        Some("gif")
    } else if starts(b"BM") {
        Some("bmp")
    } else if starts(b"II*\0") || starts(b"MM\0*") {
        Some("tiff")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_known_by_how_they_begin() {
        let cases: [(&[u8], &str); 7] = [
            (b"\x89PNG\r\n\x1a\n", "data:image/png;base64,iVBORw0KGgo="),
            (b"\xff\xd8\xff", "data:image/jpeg;base64,/9j/"),
            (b"RIFF\0\0\0\0WEBP", "data:image/webp;base64,UklGRgAAAABXRUJQ"),
            (b"GIF89a", "data:image/gif;base64,R0lGODlh"),
            (b"BM\0", "data:image/bmp;base64,Qk0A"),
            (b"II*\0", "data:image/tiff;base64,SUkqAA=="),
            (b"MM\0*", "data:image/tiff;base64,TU0AKg=="),
        ];
        for (bytes, url) in cases {
            let image = Image::new(bytes).expect(url);
            assert_eq!(image.data_url(), url);
            assert_eq!(Image::from_data_url(url), Ok(image));
        }
        for bytes in [&b""[..], b"RIFF....WAVE", b"%PDF-1.7", b"<svg>"] {
            assert_eq!(Image::new(bytes), Err(ConfigFault::ImageForm));
        }
    }

    #[test]
    fn only_base64_data_urls_of_images_are_taken() {
        let wrong = [
            "",
            "x.png",
            "/etc/passwd",
            "https://h/x.png",
            "data:text/plain;base64,AAAA",
            "data:image/png,AAAA",
            "data:image/;base64,AAAA",
            "data:image/png;base64,",
            "data:image/png;base64,AAA",
            "data:image/p ng;base64,AAAA",
        ];
        for url in wrong {
            assert_eq!(Image::from_data_url(url), Err(ConfigFault::ImageForm), "{url}");
        }
        let shown = format!("{:?}", Image::new(b"GIF89a").expect("an image"));
        assert_eq!(shown, "Image(data:image/gif;base64, 30 bytes as text)");
    }
}
