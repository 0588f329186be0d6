//! `portolan repair`, and what `verify` tells of a damaged file.

use std::path::Path;

use portolan::{Damage, Database};
use serde::Serialize;

use crate::args::RepairArgs;
use crate::failure::{Failure, Result};
use crate::output::{Output, printable};

/// Damages that are listed for people; JSON has all.
const LISTED: usize = 20;

#[derive(Serialize)]
struct Part {
    part: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    collection: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    detail: String,
}

#[derive(Serialize)]
struct Saved {
    complete: bool,
    collections: usize,
    records: u64,
    vectors: u64,
    damage: Vec<Part>,
}

#[derive(Serialize)]
struct Damaged {
    ok: bool,
    damage: Vec<Part>,
}

fn parts(damage: &[Damage]) -> Vec<Part> {
    let part = |of: &Damage| Part {
        part: of.part.to_string(),
        collection: of.collection.clone(),
        id: of.id.as_ref().map(ToString::to_string),
        detail: of.detail.clone(),
    };
    damage.iter().map(part).collect()
}

fn list(damage: &[Damage]) -> String {
    let mut lines: Vec<String> =
        damage.iter().take(LISTED).map(|of| format!("  {}", printable(&of.to_string()))).collect();
    if damage.len() > LISTED {
        lines.push(format!("  and {} more (--json lists all)", damage.len() - LISTED));
    }
    lines.join("\n")
}

/// Saves what is whole into a new file. A loss is a failure, so that a script sees it.
pub fn run(args: &RepairArgs, out: &Output) -> Result<()> {
    let done = Database::repair(&args.db, &args.target)?;
    let saved = Saved {
        complete: done.is_complete(),
        collections: done.collections,
        records: done.records,
        vectors: done.vectors,
        damage: parts(&done.damage),
    };
    out.result(&saved, |saved| {
        let end = match (saved.damage.is_empty(), saved.complete) {
            (true, _) => "nothing was damaged".to_owned(),
            (_, true) => {
                format!("put right or made anew, nothing is lost:\n{}", list(&done.damage))
            }
            (_, false) => format!("damaged:\n{}", list(&done.damage)),
        };
        format!(
            "{} records, {} with a vector, of {} collections saved into {}; {end}",
            saved.records,
            saved.vectors,
            saved.collections,
            args.target.display()
        )
    })?;
    match saved.records {
        _ if saved.complete => Ok(()),
        0 => Err(Failure::new("no record could be saved")),
        _ => Err(Failure::new("not everything could be saved; what is lost is listed")),
    }
}

/// Lists what is damaged of a file whose check ended with that failure, which is passed on.
pub fn tell_damage(path: &Path, failure: Failure, out: &Output) -> Result<()> {
    // Whatever is no damage has nothing to list.
    let Ok(damage) = Database::damage(path) else { return Err(failure) };
    if damage.is_empty() {
        return Err(failure);
    }
    out.result(&Damaged { ok: false, damage: parts(&damage) }, |_| list(&damage))?;
    Err(match failure {
        // Whoever prints it tells what to do.
        Failure::Damaged(_) => failure,
        other => other.hint("`portolan repair FILE NEW` saves what is whole"),
    })
}
