//! Each form, both ways, and where errors point.

use proptest::prelude::*;

use super::*;

fn place(json: Json) -> String {
    match Filter::from_json(&json).unwrap_err() {
        FilterError::Json { at, .. } | FilterError::JsonRefused { at, .. } => at,
        other => panic!("{json}: {other}"),
    }
}

#[test]
fn each_form_is_read_as_its_text_is() {
    let cases = [
        (json!({"field": "a", "eq": 1}), "a = 1"),
        (json!({"field": "a", "ne": "x"}), "a != \"x\""),
        (json!({"field": "a b", "in": [1.5, null, true]}), "`a b` in [1.5, null, true]"),
        (json!({"field": "a", "not_in": []}), "a not in []"),
        (json!({"field": "a", "contains": "x"}), "contains(a, \"x\")"),
        (json!({"field": "a", "exists": true}), "exists(a)"),
        (json!({"field": "a", "exists": false}), "not exists(a)"),
        (json!({"field": "a", "starts_with": ""}), "starts_with(a, \"\")"),
        (json!({"field": "a", "gt": 1}), "a > 1"),
        (json!({"field": "a", "gte": 1, "lt": 2.5}), "1 <= a < 2.5"),
        (json!({"field": "a", "lte": {"$timestamp": "1970-01-02"}}), "a <= @86400000000"),
        (json!({"field": "a", "eq": {"$timestamp": -5}}), "a = @-5"),
        (json!({"id": "a"}), "id = \"a\""),
        (json!({"id": ["a", -7]}), "id in (\"a\", -7)"),
        (json!({"not": {"id": []}}), "id not in ()"),
        (json!({"and": []}), "true"),
        (json!({"or": []}), "false"),
        (json!("a = 1 or b = 2"), "a = 1 or b = 2"),
        (
            json!([{"or": ["a = 1", {"field": "b", "eq": 2}]}, "c = 3"]),
            "(a = 1 or b = 2) and c = 3",
        ),
    ];
    for (json, text) in cases {
        let read = Filter::from_json(&json).unwrap_or_else(|error| panic!("{json}: {error}"));
        assert_eq!(read, text.parse().unwrap(), "{json}");
        let by_serde: Filter = serde_json::from_value(json).unwrap();
        assert_eq!(serde_json::to_value(&by_serde).unwrap(), read.to_json());
    }
}

#[test]
fn errors_point_at_the_place() {
    for (json, at) in [
        (json!(7), ""),
        (json!({}), ""),
        (json!({"nor": []}), ""),
        (json!({"and": {}}), "/and"),
        (json!({"and": [{"or": [{"field": "a", "eq": 1}, null]}]}), "/and/0/or/1"),
        (json!({"not": ["a = "]}), "/not/0"),
        (json!({"field": 1, "eq": 1}), "/field"),
        (json!({"field": "", "eq": 1}), ""),
        (json!({"field": "a"}), ""),
        (json!({"field": "a", "eq": 1, "ne": 1}), ""),
        (json!({"field": "a", "gt": 1, "gte": 1}), ""),
        (json!({"field": "a", "gt": 1, "lt": "x"}), ""),
        (json!({"field": "a", "gt": 1, "lt": [1]}), "/lt"),
        (json!({"field": "a", "a/b~": 1}), "/a~1b~0"),
        (json!({"field": "a", "in": 1}), "/in"),
        (json!({"field": "a", "in": [1, [2]]}), "/in/1"),
        (json!({"field": "a", "exists": 1}), "/exists"),
        (json!({"field": "a", "eq": {"$timestamp": "soon"}}), "/eq"),
        (json!({"id": [1.5]}), "/id/0"),
    ] {
        assert_eq!(place(json.clone()), at, "{json}");
    }
    let error = serde_json::from_str::<Filter>("{\"id\": true}").unwrap_err();
    assert!(error.to_string().contains("\"/id\": expected an id"), "{error}");
}

#[test]
fn what_is_nested_too_deep_is_refused_before_the_stack_ends() {
    let deep = (0..100_000).fold(json!("a = 1"), |inner, _| Json::Array(vec![inner]));
    assert!(is_too_deep(&deep, &"/0".repeat(65)));
    // Dropping it takes the stack that reading it did not.
    std::mem::forget(deep);
}

fn is_too_deep(json: &Json, place: &str) -> bool {
    let error = Filter::from_json(json).unwrap_err();
    let FilterError::JsonRefused { at, error } = error else { panic!("{error:?}") };
    at == place && matches!(*error, FilterError::TooDeep)
}

#[test]
fn what_is_nested_too_deep_is_told_by_its_place() {
    let within = |levels: usize, inner: Json| {
        (0..levels).fold(inner, |inner, _| json!({"and": [{"id": 1}, inner]}))
    };
    assert!(Filter::from_json(&within(64, json!({"field": "a", "eq": 1}))).is_ok());
    let place = "/and/1".repeat(64);
    assert!(is_too_deep(&within(65, json!({"field": "a", "eq": 1})), &format!("{place}/and/0")));
    // What is not equal is a filter in another, and so is what a text says.
    assert!(is_too_deep(&within(64, json!({"field": "a", "ne": 1})), &place));
    assert!(is_too_deep(&within(64, json!("not a = 1")), &place));
    assert!(Filter::from_json(&within(63, json!("not a = 1"))).is_ok());
    let nots = (0..65).fold(json!({"id": 1}), |inner, _| json!({"not": inner}));
    assert!(is_too_deep(&nots, &"/not".repeat(65)));
    let error = Filter::from_json(&nots["not"]["not"]);
    assert!(crate::filter::predicate::Predicate::of(&error.unwrap()).is_ok());
}

#[test]
fn a_time_without_its_zone_is_told_to_lack_it() {
    let time = |text: &str| Filter::from_json(&json!({"field": "a", "gt": {"$timestamp": text}}));
    assert!(time("2024-01-31T10:00:00Z").is_ok());
    let error = time("2024-01-31T10:00:00").unwrap_err();
    assert!(error.to_string().contains("at \"/gt\": expected a time with its zone"), "{error}");
}

fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        any::<f64>().prop_filter("a number", |x| x.is_finite()).prop_map(Value::Float),
        any::<i64>().prop_map(Value::Timestamp),
        ".{0,9}".prop_map(Value::Text),
    ]
}

fn any_filter() -> impl Strategy<Value = Filter> {
    let field = || "[a-z/~$ ]{1,5}";
    let id = prop_oneof![any::<i64>().prop_map(RecordId::Int), ".{1,4}".prop_map(RecordId::Text)];
    let bounds = (any::<i64>(), any::<bool>(), any::<i64>(), any::<bool>(), 0..3);
    let leaf = prop_oneof![
        (field(), any_value()).prop_map(|(field, value)| Filter::Eq(field, value)),
        (field(), proptest::collection::vec(any_value(), 0..4))
            .prop_map(|(field, values)| Filter::In(field, values)),
        (field(), bounds).prop_map(|(field, (low, with_low, high, with_high, sides))| {
            let lower = (sides != 1).then_some((Value::Int(low), with_low));
            let upper = (sides != 2).then_some((Value::Int(high), with_high));
            Filter::Range { field, lower, upper }
        }),
        field().prop_map(Filter::Exists),
        (field(), ".{0,5}").prop_map(|(field, begin)| Filter::StartsWith(field, begin)),
        proptest::collection::vec(id, 0..4).prop_map(Filter::Ids),
    ];
    leaf.prop_recursive(4, 16, 3, |inner| {
        let many = proptest::collection::vec(inner.clone(), 0..3);
        prop_oneof![
            many.clone().prop_map(Filter::And),
            many.prop_map(Filter::Or),
            inner.prop_map(Filter::negate),
        ]
    })
}

fn any_json() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<i64>().prop_map(Json::from),
        any::<f64>().prop_map(Json::from),
        "[a-z =1]{0,6}".prop_map(Json::from),
    ];
    let name = prop_oneof![
        proptest::sample::select(vec![
            "field",
            "and",
            "or",
            "not",
            "id",
            "eq",
            "in",
            "gt",
            "lte",
            "exists",
            "$timestamp",
        ])
        .prop_map(str::to_owned),
        "[a-z]{0,3}",
    ];
    leaf.prop_recursive(4, 24, 4, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
            proptest::collection::vec((name.clone(), inner), 0..4)
                .prop_map(|pairs| Json::Object(pairs.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(filter in any_filter()) {
        prop_assert_eq!(Filter::from_json(&filter.to_json()).unwrap(), filter);
    }

    #[test]
    fn any_json_is_a_filter_or_an_error_with_a_place_in_it(json in any_json()) {
        match Filter::from_json(&json) {
            Ok(filter) => {
                prop_assert_eq!(Filter::from_json(&filter.to_json()).unwrap(), filter);
            }
            Err(FilterError::Json { at, .. } | FilterError::JsonRefused { at, .. }) => {
                prop_assert!(json.pointer(&at).is_some(), "{}", at);
            }
            Err(other) => prop_assert!(false, "{}", other),
        }
    }
}
