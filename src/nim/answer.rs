//! What the answers of both services share: items that name their input, token counts, a name.
//! Not the check of vectors and logits. Layer: between `transport` and `embed`, `rank`; pure.

use serde_json::Number;

use super::fault::ResponseFault;
use super::transport::Transport;

/// Longest model name that is kept from an answer, in bytes.
const NAME_LIMIT: usize = 128;

/// Sum of the token counts of several answers; unknown as soon as one answer tells none.
pub(super) fn add_tokens(sum: Option<u64>, told: Option<u64>) -> Option<u64> {
    sum.zip(told).map(|(sum, told)| sum.saturating_add(told))
}

/// One item for each of `inputs` positions, in that order: placed by index, never by order. `items`
/// carry the position within the request; `name` gives the one that the caller knows.
pub(super) fn place<T>(
    items: Vec<(Number, T)>,
    inputs: usize,
    name: impl Fn(usize) -> usize,
) -> Result<Vec<T>, ResponseFault> {
    if items.len() != inputs {
        return Err(ResponseFault::Count { expected: inputs, found: items.len() });
    }
    let mut slots: Vec<Option<T>> = (0..inputs).map(|_| None).collect();
    for (index, item) in items {
        let position = index.as_u64().and_then(|i| usize::try_from(i).ok());
        let Some((position, slot)) = position.and_then(|p| Some((p, slots.get_mut(p)?))) else {
            return Err(ResponseFault::IndexOutOfRange { index: clamped(&index), inputs });
        };
        if slot.replace(item).is_some() {
            return Err(ResponseFault::DuplicateIndex { index: name(position) });
        }
    }
    // As many items as slots, and no slot filled twice: every slot is filled.
    Ok(slots.into_iter().flatten().collect())
}

/// An index for a message; the cast from `f64` saturates.
fn clamped(index: &Number) -> i64 {
    index
        .as_i64()
        .or_else(|| index.as_u64().map(|_| i64::MAX))
        .or_else(|| index.as_f64().map(|x| x as i64))
        .unwrap_or_default()
}

/// The name a server says has answered, if that is another model than the one asked for.
pub(super) fn other_model(
    transport: &Transport,
    asked: &str,
    served: Option<&str>,
) -> Option<String> {
    let served = served.filter(|served| !is_same_model(asked, served))?;
    Some(transport.presentable(served, NAME_LIMIT))
}

fn is_same_model(asked: &str, served: &str) -> bool {
    let bare = |name: &str| name.rsplit('/').next().unwrap_or(name).to_ascii_lowercase();
    let one_has_no_org = !asked.contains('/') || !served.contains('/');
    asked.eq_ignore_ascii_case(served) || (one_has_no_org && bare(asked) == bare(served))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placed(indices: &[&str], start: usize) -> Result<Vec<usize>, ResponseFault> {
        let numbers = indices.iter().map(|i| serde_json::from_str::<Number>(i).expect("a number"));
        place(numbers.zip(0..).collect(), indices.len(), |position| start + position)
    }

    #[test]
    fn items_are_placed_by_index_and_faults_name_the_callers_position() {
        assert_eq!(placed(&["2", "0", "1"], 10), Ok(vec![1, 2, 0]));
        let few = place(vec![(Number::from(0), ())], 3, |position| position);
        assert_eq!(few, Err(ResponseFault::Count { expected: 3, found: 1 }));
        assert_eq!(placed(&["1", "1"], 10), Err(ResponseFault::DuplicateIndex { index: 11 }));
        for (text, index) in [
            ("2", 2),
            ("-1", -1),
            ("9223372036854775808", i64::MAX),
            ("1e300", i64::MAX),
            ("0.5", 0),
        ] {
            let fault = ResponseFault::IndexOutOfRange { index, inputs: 2 };
            assert_eq!(placed(&["0", text], 0), Err(fault), "{text}");
        }
    }

    #[test]
    fn model_names_differ_only_beyond_case_and_a_missing_organization() {
        assert!(is_same_model("nvidia/NV-Embed", "nv-embed"));
        assert!(is_same_model("nv-embed", "Nvidia/nv-embed"));
        assert!(!is_same_model("nvidia/nv-embed", "other/nv-embed"));
        assert!(!is_same_model("nvidia/nv-embed", "nvidia/nv-embed-2"));
    }

    #[test]
    fn token_counts_add_up_only_when_all_are_told() {
        assert_eq!(add_tokens(Some(4), Some(3)), Some(7));
        assert_eq!(add_tokens(Some(4), None), None);
        assert_eq!(add_tokens(None, Some(3)), None);
    }
}
