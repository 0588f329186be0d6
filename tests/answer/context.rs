//! What the model is given to read: budget, templates, neighbors, nothing.

use portolan::{AnswerOutcome, Error, LeftOutReason, OnNoPassages, OnOverlong, Record, Template};

use crate::library::{library, saying, told};

/// Words between blanks: another way to count tokens.
fn blanks(text: &str) -> usize {
    text.split_whitespace().count()
}

#[tokio::test]
async fn the_model_reads_no_more_than_the_budget_and_the_report_tells_what_it_did_not() {
    let library = library();
    let long = "tide ".repeat(300);
    library
        .docs
        .upsert(Record::new("long").text(long.trim()).vector([1.0, 0.0]))
        .expect("a record");
    library.docs.upsert(Record::new("bare").title(" ").vector([1.0, 0.0])).expect("a record");
    let server = saying(&["[1]"]).await;
    let chat = server.nim().chat("m");
    for (budget, policy) in [
        (60, OnOverlong::Cut),
        (60, OnOverlong::LeaveOut),
        (20, OnOverlong::Cut),
        (400, OnOverlong::Cut),
    ] {
        let before = server.requests().len();
        let query = library.docs.query("tide").vector([1.0, 0.0]);
        let ask = query.answer(&chat).context_tokens(budget).counter(blanks).on_overlong(policy);
        let answer = ask.run().await.expect("an answer");
        let (system, user) = told(&server.requests()[before]);
        let passages = user.strip_suffix("\nQuestion: tide").expect("the question");
        assert_eq!(blanks(passages), answer.report.context_tokens);
        assert!(answer.report.context_tokens <= budget, "{budget}");
        assert_eq!(answer.report.context_budget, budget);
        assert_eq!(answer.report.prompt_tokens, blanks(&system) + blanks(&user));
        let mut ranks: Vec<usize> = answer.sources.iter().map(|source| source.rank).collect();
        assert!(ranks.is_sorted());
        let left_out = &answer.report.left_out;
        ranks.extend(left_out.iter().map(|of| of.rank));
        ranks.sort_unstable();
        assert_eq!(ranks, [1, 2, 3, 4, 5, 6]);
        let bare = left_out.iter().find(|of| of.id == "bare".into()).expect("it has no text");
        assert_eq!(bare.reason, LeftOutReason::Empty);
        let source = answer.sources.iter().find(|of| of.id == "long".into());
        match (budget, policy) {
            (400, _) => assert!(source.is_some_and(|of| !of.is_cut)),
            (60, OnOverlong::Cut) => {
                let source = source.expect("it is cut");
                assert!(source.is_cut && source.text.len() < long.len());
                assert!(user.contains(&format!("{} ...\n</passage>", source.text)));
            }
            _ => assert!(source.is_none()),
        }
    }
}

#[tokio::test]
async fn nothing_found_is_an_answer_without_a_model_unless_it_is_to_be_asked() {
    let library = library();
    let server = saying(&["I do not know [1]."]).await;
    let chat = server.nim().chat("m");
    let nothing = || library.docs.query("zeppelin").answer(&chat);
    let answer = nothing().run().await.expect("an outcome");
    assert_eq!((answer.outcome, answer.text.as_str()), (AnswerOutcome::NothingFound, ""));
    assert!(answer.finish.is_none() && answer.report.query.stages.len() == 3);
    let mut stream = nothing().stream().await.expect("an outcome");
    assert_eq!(stream.next().await.expect("no step"), None);
    assert_eq!(stream.finish().await.expect("one").outcome, AnswerOutcome::NothingFound);

    let tide = library.docs.query("tide").answer(&chat).context_tokens(5);
    let answer = tide.run().await.expect("an outcome");
    assert_eq!(answer.outcome, AnswerOutcome::NothingFits);
    assert_eq!(answer.report.left_out.len(), 3);
    assert!(server.requests().is_empty());

    let answer = nothing().on_no_passages(OnNoPassages::Ask).run().await.expect("an answer");
    assert_eq!((answer.outcome, answer.text.as_str()), (AnswerOutcome::Answered, "I do not know."));
    assert_eq!(answer.unknown.len(), 1);
    let (_, user) = told(&server.requests()[0]);
    assert_eq!(user, "(No passages were found.)\n\nQuestion: zeppelin");
}

#[tokio::test]
async fn a_template_decides_what_is_read_of_a_record() {
    let library = library();
    let server = saying(&["[1]"]).await;
    let chat = server.nim().chat("m");
    let template = Template::parse("{title} ({id}): {text}").expect("a template");
    let query = library.docs.query("twice").limit(1);
    let answer = query.answer(&chat).passage(template).run().await.expect("an answer");
    assert_eq!(answer.sources[0].text, "Spring ([9] a]): Spring tide: twice a month.");
    let (_, user) = told(&server.requests()[0]);
    assert!(user.contains("\nSpring ((9) a]): Spring tide"), "{user}");
}

#[tokio::test]
async fn chunks_around_a_hit_are_read_with_it() {
    let library = library();
    let chunk = |text: &str| Record::new("").title("Log").text(text).vector([0.0, 1.0]);
    let chunks = ["we set sail", "a zephyr rose", "we came home"].map(chunk);
    library.docs.replace_document("log", chunks).expect("a document");
    let server = saying(&["[1]"]).await;
    let chat = server.nim().chat("m");
    let query = library.docs.query("zephyr").find(|find| find.neighbors(1));
    let answer = query.answer(&chat).run().await.expect("an answer");
    assert_eq!(answer.sources[0].text, "Log\nwe set sail\na zephyr rose\nwe came home");
}

#[tokio::test]
async fn a_question_without_words_is_refused_before_anything_is_asked() {
    let library = library();
    let server = saying(&["[1]"]).await;
    let chat = server.nim().chat("m");
    let query = library.docs.query(" ").vector([1.0, 0.0]);
    let refused = query.answer(&chat).run().await;
    assert!(matches!(refused, Err(Error::Query { .. })), "{refused:?}");
    assert!(server.requests().is_empty());
}
