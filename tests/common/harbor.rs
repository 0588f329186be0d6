// A small collection for the examples of the documentation, which include this file as it stands.

#[allow(dead_code, unused_qualifications)]
fn harbor() -> portolan::Result<(tempfile::TempDir, portolan::Collection)> {
    use portolan::{CollectionOptions, Database, Language, Metric, Record, TextIndex};

    let dir = tempfile::tempdir().unwrap();
    let db = Database::open(dir.path().join("kb.portolan"))?;
    let options = CollectionOptions::new(3, Metric::Cosine);
    let options = options.text(TextIndex::new(Language::English));
    let docs = db.create_collection("docs", options)?;
    let mut batch = docs.batch();
    for (document, chunk, text, lang, year, vector) in [
        ("pilot", 0, "chart of the harbor", "en", 1290, [1.0, 0.1, 0.0]),
        ("pilot", 1, "depths of the harbor mouth", "en", 1290, [0.9, 0.3, 0.1]),
        ("pilot", 2, "lights and bells", "en", 1290, [0.5, 0.5, 0.5]),
        ("storm", 0, "a storm in the gulf", "it", 1311, [0.0, 1.0, 0.1]),
        ("storm", 1, "ships that were lost", "it", 1311, [0.1, 0.9, 0.4]),
        ("stars", 0, "stars to steer by", "en", 1325, [0.0, 0.2, 1.0]),
    ] {
        let record = Record::new(format!("{document}#{chunk}")).text(text).vector(vector);
        let record = record.field("document", document).field("chunk", chunk);
        batch.upsert(record.field("lang", lang).field("year", year))?;
    }
    batch.commit()?;
    Ok((dir, docs))
}
