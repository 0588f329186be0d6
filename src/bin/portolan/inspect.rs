//! `portolan info`, `verify` and `compact`: what is in a file, whether it is whole, and the file
//! without free pages.

use std::fmt::Write as _;
use std::path::PathBuf;

use portolan::{
    Collection, CollectionInfo, Database, DatabaseOptions, DeclaredField, IndexFields, Originals,
    Roles, VectorAudit, VectorFieldInfo,
};
use serde::Serialize;
use serde_json::{Value, json};

use crate::args::{CompactArgs, FileArgs, VerifyArgs};
use crate::failure::{Failure, Result};
use crate::open;
use crate::output::{Output, bytes, dimensions_text, printable};
use crate::repair;

#[derive(Serialize)]
struct Info {
    path: PathBuf,
    file_bytes: u64,
    format_version: u64,
    free_bytes: u64,
    overhead_bytes: u64,
    readers: Vec<Reader>,
    cache_entries: u64,
    cache_bytes: u64,
    collections: Vec<Shape>,
}

#[derive(Serialize)]
struct Reader {
    process: u32,
    behind: u64,
}

#[derive(Serialize)]
struct Shape {
    name: String,
    /// None where there are no vectors to come.
    dimensions: Option<usize>,
    leading_dimensions: Option<usize>,
    metric: String,
    originals: &'static str,
    model: Option<Model>,
    records: u64,
    vectors: u64,
    unsealed: u64,
    deleted: u64,
    pending: u64,
    segments: usize,
    graphs: usize,
    /// `all`, or the fields that are indexed; those that are being built apart.
    indexed_fields: Indexed,
    /// The language of the index of words, if there is one.
    words: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    vector_fields: Vec<FieldShape>,
    space: Space,
    /// Pairs of candidates and recall of ten hits, as measured when the largest graph was built.
    recall: Vec<(usize, f32)>,
}

#[derive(Serialize)]
struct Indexed {
    all: bool,
    declared: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    building: Vec<String>,
}

#[derive(Serialize)]
struct FieldShape {
    name: String,
    dimensions: usize,
    metric: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    sparse: bool,
    /// How matrices are kept, of a field of matrices.
    #[serde(skip_serializing_if = "Option::is_none")]
    matrices: Option<String>,
    vectors: u64,
    unsealed: u64,
    deleted: u64,
    segments: usize,
    graphs: usize,
}

#[derive(Serialize)]
struct Model {
    model: String,
    roles: Value,
}

#[derive(Serialize)]
struct Space {
    records: u64,
    ids: u64,
    fields: u64,
    postings: u64,
    unsealed: u64,
    codes: u64,
    originals: u64,
    links: u64,
    navigation: u64,
    slots: u64,
    matrices: u64,
}

/// Counts, shapes, models, bytes.
pub fn info(args: &FileArgs, out: &Output) -> Result<()> {
    let db = open::read(&args.db)?;
    let found = db.info()?;
    let info = Info {
        path: db.path().to_owned(),
        file_bytes: found.file_bytes,
        format_version: found.format_version.into(),
        free_bytes: found.free_bytes,
        overhead_bytes: found.overhead_bytes,
        readers: found
            .readers
            .iter()
            .map(|reader| Reader { process: reader.process, behind: reader.behind })
            .collect(),
        cache_entries: found.cache.entries,
        cache_bytes: found.cache.bytes,
        collections: {
            let shapes = found.collections.into_iter().map(|of| shape(&db, of));
            shapes.collect::<Result<_>>()?
        },
    };
    out.result(&info, info_text)
}

fn shape(db: &Database, info: CollectionInfo) -> Result<Shape> {
    let space = info.space;
    let collection = db.collection(&info.name)?;
    let has_vectors = !open::is_for_words(info.dimensions, info.vectors, info.pending);
    Ok(Shape {
        indexed_fields: indexed(&collection)?,
        words: collection.text_index()?.map(|index| index.language().code()),
        name: info.name,
        dimensions: has_vectors.then_some(info.dimensions),
        leading_dimensions: has_vectors.then_some(info.leading_dimensions),
        metric: info.metric.to_string(),
        originals: match info.originals {
            Originals::F32 => "f32",
            Originals::F16 => "f16",
            Originals::None => "none",
        },
        model: info.model.map(|contract| Model {
            model: contract.model,
            roles: match contract.roles {
                Roles::Same => json!("same"),
                Roles::InputType => json!("input_type"),
                Roles::Prefix { query, passage } => json!({ "query": query, "passage": passage }),
                _ => Value::Null,
            },
        }),
        records: info.records,
        vectors: info.vectors,
        unsealed: info.unsealed,
        deleted: info.deleted,
        pending: info.pending,
        segments: info.segments,
        graphs: info.graphs,
        vector_fields: info.vector_fields.into_iter().map(field_shape).collect(),
        space: Space {
            records: space.records,
            ids: space.ids,
            fields: space.fields,
            postings: space.postings,
            unsealed: space.unsealed,
            codes: space.codes,
            originals: space.originals,
            links: space.links,
            navigation: space.navigation,
            slots: space.slots,
            matrices: space.matrices,
        },
        recall: info.recall.iter().map(|point| (point.ef, point.recall)).collect(),
    })
}

fn indexed(collection: &Collection) -> Result<Indexed> {
    let all = collection.indexed_fields()? == IndexFields::All;
    let (complete, building): (Vec<_>, Vec<_>) =
        collection.declared_fields()?.into_iter().partition(|field| field.is_complete);
    let names = |fields: Vec<DeclaredField>| fields.into_iter().map(|field| field.name).collect();
    Ok(Indexed { all, declared: names(complete), building: names(building) })
}

fn field_shape(field: VectorFieldInfo) -> FieldShape {
    FieldShape {
        name: field.name,
        dimensions: field.dimensions,
        metric: field.metric.to_string(),
        sparse: field.sparse,
        matrices: field.matrices.map(|codec| codec.to_string()),
        vectors: field.vectors,
        unsealed: field.unsealed,
        deleted: field.deleted,
        segments: field.segments,
        graphs: field.graphs,
    }
}

fn info_text(info: &Info) -> String {
    let mut text = String::new();
    let size = bytes(info.file_bytes);
    let (free, overhead) = (bytes(info.free_bytes), bytes(info.overhead_bytes));
    // writing to a string cannot fail
    let _ = writeln!(text, "{}: {size}, format {}", info.path.display(), info.format_version);
    let _ = writeln!(text, "  free {free}, overhead of pages {overhead}");
    for reader in info.readers.iter().filter(|reader| reader.behind > 0) {
        let _ = writeln!(
            text,
            "  process {} keeps a version {} commits old: what was freed since then stays",
            reader.process, reader.behind
        );
    }
    if info.cache_entries > 0 {
        let (entries, size) = (info.cache_entries, bytes(info.cache_bytes));
        let _ = writeln!(text, "cache: {entries} questions to models, {size}");
    }
    for of in &info.collections {
        let model = of.model.as_ref().map_or("unknown", |model| &model.model);
        let shape = of.dimensions.zip(of.leading_dimensions);
        let lines = match shape.map(|(all, leading)| dimensions_text(all, leading)) {
            None => vec![("vectors", "none".to_owned())],
            Some(shape) => vec![
                ("vectors", format!("{} of {shape}, {}", of.vectors, of.metric)),
                ("model", printable(model)),
                ("index", index_text(of)),
            ],
        };
        let _ = writeln!(text, "\n{}: {} records", printable(&of.name), of.records);
        for (name, value) in lines {
            let _ = writeln!(text, "  {name:<10} {value}");
        }
        let words = of.words.map_or("none indexed".to_owned(), |code| match code {
            "none" => "indexed as they stand".to_owned(),
            code => format!("indexed, language {code}"),
        });
        let _ = writeln!(text, "  {:<10} {words}", "words");
        let _ = writeln!(text, "  {:<10} {}", "fields", indexed_text(&of.indexed_fields));
        for field in &of.vector_fields {
            let matrices = field.matrices.as_ref();
            let what = matrices.map_or("vectors".to_owned(), |codec| format!("matrices ({codec})"));
            let name = printable(&field.name);
            if field.sparse {
                let (count, label) = (field.vectors, "field");
                let _ = writeln!(text, "  {label:<10} {name}: {count} sparse vectors");
                continue;
            }
            let _ = writeln!(
                text,
                "  {:<10} {name}: {} {what} of {}, {}; unsealed {}, deleted {}",
                "field",
                field.vectors,
                field.dimensions,
                field.metric,
                field.unsealed,
                field.deleted
            );
        }
        if of.pending > 0 {
            let _ = writeln!(text, "  {:<10} {} records wait for a vector", "pending", of.pending);
        }
        if !of.recall.is_empty() {
            let points = of.recall.iter().skip_while(|(_, recall)| *recall < 0.9);
            let points = points.map(|(ef, recall)| format!("{recall:.3} at ef {ef}"));
            let points = points.collect::<Vec<_>>().join(", ");
            let _ = writeln!(text, "  {:<10} {points}", "recall@10");
        }
        let Space { records, ids, fields, postings, unsealed, .. } = of.space;
        let Space { codes, originals, links, navigation, slots, matrices, .. } = of.space;
        let parts = [
            ("records", records),
            ("ids", ids),
            ("fields", fields),
            ("postings", postings),
            ("unsealed", unsealed),
            ("codes", codes),
            (of.originals, originals),
            ("links", links),
            ("navigation", navigation),
            ("slots", slots),
            ("matrices", matrices),
        ];
        for (name, size) in parts.into_iter().filter(|(_, size)| *size > 0) {
            let _ = writeln!(text, "    {name:<8} {:>12}", bytes(size));
        }
    }
    text
}

fn index_text(of: &Shape) -> String {
    format!(
        "segments {}, with a graph {}; vectors unsealed {}, deleted {}",
        of.segments, of.graphs, of.unsealed, of.deleted
    )
}

fn indexed_text(of: &Indexed) -> String {
    let names = |names: &[String]| printable(&names.join(", "));
    let mut text = match (of.all, of.declared.is_empty()) {
        (true, _) => "all indexed".to_owned(),
        (false, true) => "none indexed".to_owned(),
        (false, false) => format!("indexed: {}", names(&of.declared)),
    };
    if !of.building.is_empty() {
        text.push_str(&format!("; being built: {}", names(&of.building)));
    }
    text
}

#[derive(Serialize)]
struct Checked {
    /// Whether nothing is wrong: neither with the file nor, where that was looked at, with links.
    ok: bool,
    records: u64,
    unsealed: u64,
    extent_bytes: u64,
    /// Of each collection the default vectors, then its named fields.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    audits: Vec<Audited>,
}

#[derive(Serialize)]
struct Audited {
    collection: String,
    /// None of the default vectors.
    field: Option<String>,
    samples: u64,
    /// None where there was nothing to find.
    recall: Option<f64>,
    recall_low: f64,
    recall_high: f64,
    unreachable: u64,
}

/// Reads everything; damage is a failure. With `--recall`, measures search as well: a low recall is
/// told, and vectors that no link leads to are a failure.
pub fn verify(args: &VerifyArgs, out: &Output) -> Result<()> {
    let checked = open::read(&args.file.db).and_then(|db| Ok((db.verify()?, db)));
    let (read, db) = match checked {
        Ok(checked) => checked,
        Err(error) => return repair::tell_damage(&args.file.db, error, out),
    };
    let audits = match args.recall {
        Some(samples) => audits(&db, samples)?,
        None => Vec::new(),
    };
    let lost: u64 = audits.iter().map(|of| of.unreachable).sum();
    let (records, unsealed, extent_bytes) = (read.records, read.unsealed, read.extent_bytes);
    let checked = Checked { ok: lost == 0, records, unsealed, extent_bytes, audits };
    out.result(&checked, checked_text)?;
    if lost == 0 {
        return Ok(());
    }
    // Nothing less is sure to: a fold, and so `compact`, keeps the links of a graph that it can
    // keep, and the whole graph where there is nothing to fold.
    let path = args.file.db.display();
    Err(Failure::new(format!(
        "{path}: no link leads to {lost} vectors, so that only scans find them; `portolan repair \
         {path} NEW` builds graphs anew"
    )))
}

fn checked_text(checked: &Checked) -> String {
    let ok = if checked.ok { "ok: " } else { "" };
    let mut text = format!(
        "{ok}{} records, {} unsealed vectors and {} of sealed vectors and graphs read, every \
         checksum is right",
        checked.records,
        checked.unsealed,
        bytes(checked.extent_bytes)
    );
    for of in &checked.audits {
        text.push('\n');
        text.push_str(&audit_text(of));
    }
    text
}

fn audit_text(of: &Audited) -> String {
    let name = match &of.field {
        Some(field) => format!("{}, field {field}", of.collection),
        None => of.collection.clone(),
    };
    let recall = match of.recall {
        Some(recall) => format!(
            "recall@10 {recall:.4} over {} stored vectors ({:.4} to {:.4} with 95 % confidence; \
             queries that are not stored may find less)",
            of.samples, of.recall_low, of.recall_high
        ),
        None => "no vectors to compare".to_owned(),
    };
    let links = match of.unreachable {
        0 => "links lead to all".to_owned(),
        count => format!("no link leads to {count}"),
    };
    format!("{}: {recall}, {links}", printable(&name))
}

fn audits(db: &Database, samples: usize) -> Result<Vec<Audited>> {
    let mut audits = Vec::new();
    for collection in db.collections()? {
        let audit = db.collection(&collection)?.audit(samples)?;
        audits.push(audited(&collection, None, &audit.vectors));
        for (field, of) in &audit.named_vectors {
            audits.push(audited(&collection, Some(field), of));
        }
    }
    Ok(audits)
}

fn audited(collection: &str, field: Option<&String>, of: &VectorAudit) -> Audited {
    let (recall_low, recall_high) = of.interval;
    Audited {
        collection: collection.to_owned(),
        field: field.cloned(),
        samples: of.samples,
        recall: of.recall,
        recall_low,
        recall_high,
        unreachable: of.unreachable,
    }
}

#[derive(Serialize)]
struct Shrunk {
    before_bytes: u64,
    after_bytes: u64,
}

/// Folds and shrinks the file, in place or into another.
pub fn compact(args: &CompactArgs, out: &Output) -> Result<()> {
    if args.drop_cache {
        Database::open_existing(&args.db)?.clear_cache()?;
    }
    let done = match &args.to {
        Some(target) => {
            let options = DatabaseOptions::new().must_exist().verify(portolan::Verify::Touched);
            options.open(&args.db)?.compact_to(target)?
        }
        None => Database::compact(&args.db)?,
    };
    let shrunk = Shrunk { before_bytes: done.before, after_bytes: done.after };
    out.result(&shrunk, |_| format!("{} before, {} after", bytes(done.before), bytes(done.after)))
}
