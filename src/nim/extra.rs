//! Fields of a request that the client has no setting for, as a user adds them.
//! Layer: leaf of `nim`; pure.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};

/// Further fields of the requests of one model.
#[derive(Clone, Default)]
pub(super) struct Extra(BTreeMap<String, Value>);

impl Extra {
    pub(super) fn set(&mut self, name: String, value: Value) {
        self.0.insert(name, value);
    }

    /// Appends the JSON object `own`, with these fields too; but none that `own` has, nor the one
    /// that the caller writes `behind` it.
    pub(super) fn write(
        &self,
        body: &mut Vec<u8>,
        own: &impl Serialize,
        behind: Option<&str>,
    ) -> serde_json::Result<()> {
        if self.0.is_empty() {
            return serde_json::to_writer(body, own);
        }
        // Through a map, as a name that comes twice is read differently by each server.
        let own: Map<String, Value> = serde_json::from_value(serde_json::to_value(own)?)?;
        let mut fields = self.0.clone();
        fields.extend(own);
        if let Some(name) = behind {
            fields.remove(name);
        }
        serde_json::to_writer(body, &fields)
    }

    /// What a cache key says of them: nothing where there are none, so that keys stay as they were.
    pub(super) fn key(&self) -> String {
        if self.0.is_empty() {
            return String::new();
        }
        format!(" extra={}", serde_json::to_string(&self.0).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn written(extra: &Extra, own: &Value, behind: Option<&str>) -> serde_json::Result<Value> {
        let mut body = Vec::new();
        extra.write(&mut body, own, behind)?;
        serde_json::from_slice(&body)
    }

    #[test]
    fn own_fields_win_over_further_ones() {
        let own = json!({"model": "m", "truncate": null});
        let mut extra = Extra::default();
        assert_eq!(written(&extra, &own, Some("input")).expect("an object"), own);
        for name in ["model", "truncate", "input", "user"] {
            extra.set(name.to_owned(), json!("theirs"));
        }
        let mut expected = json!({"model": "m", "truncate": null, "user": "theirs"});
        assert_eq!(written(&extra, &own, Some("input")).expect("an object"), expected);
        expected["input"] = json!("theirs");
        assert_eq!(written(&extra, &own, None).expect("an object"), expected);
        assert!(written(&extra, &json!(["no object"]), None).is_err());
    }
}
