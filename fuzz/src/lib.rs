//! What the fuzz targets share: a file to give arbitrary bytes to code that takes a path, and all
//! that can be asked of a database.

use std::path::{Path, PathBuf};

use portolan::{Collection, Database, Facet, Filter, Matrix, MatrixError, Result, TextQuery};

/// Queries of more components say nothing new and take long.
const DIMENSIONS_MAX: usize = 4_096;

/// Asks a database for all that a reader can ask for. Errors are fine.
pub fn ask(db: &Database) {
    let _ = db.info();
    let _ = db.verify();
    for name in db.collections().unwrap_or_default() {
        if let Ok(collection) = db.collection(&name) {
            let _ = read(&collection);
            let _ = search(&collection);
            let _ = search_named(&collection);
        }
    }
}

fn read(collection: &Collection) -> Result<()> {
    let page = collection.scan().limit(20).with_vectors().run()?;
    for record in page.records {
        let _ = collection.get(record.id)?;
    }
    let _ = collection.get("absent")?;
    Ok(())
}

fn search(collection: &Collection) -> Result<()> {
    let dimensions = collection.dimensions();
    if dimensions > DIMENSIONS_MAX {
        return Ok(());
    }
    let query = vec![0.5; dimensions];
    let filter = Filter::gte("year", 1290).and(Filter::exists("tag"));
    let _ = collection.search(&query).limit(5).run()?;
    let _ = collection.search(&query).limit(5).exact().run()?;
    let _ = collection.search(&query).limit(5).filter(filter).run()?;
    // So few candidates that a graph of more than 200 rows is walked.
    let _ = collection.search(&query).limit(1).ef(1).run()?;
    let _ = collection.search(&query).limit(1).ef(1).filter(Filter::gte("year", 1290)).run()?;
    Ok(())
}

/// By words and in vector fields, of the names and shapes of the seed.
fn search_named(collection: &Collection) -> Result<()> {
    let query = TextQuery::parse("charts \"chart 7\" ch* -wind");
    let _ = collection.search_text(query).limit(5).run();
    let tokens: std::result::Result<Matrix, MatrixError> = Matrix::from_rows([[0.5, 1.0]]);
    if let Ok(tokens) = tokens {
        let _ = collection.maxsim("tokens", &tokens).limit(5).run();
        let _ = collection.maxsim("tokens", &tokens).limit(5).exact().run();
    }
    let _ = collection.search_sparse("terms", &[(9, 1.0), (3, 0.5)]).limit(5).run();
    let _ = collection.search(&[0.5; 3]).field("image").limit(5).run();
    let facets = [Facet::new("year"), Facet::new("tag")];
    let _ = collection.find().text("charts").facets(facets).group_by("tag", 2).run()?;
    Ok(())
}

/// A path of this process and extension, in memory where the system has such a folder.
pub struct ScratchFile {
    path: PathBuf,
}

impl ScratchFile {
    /// Chooses the path; writes nothing.
    #[must_use]
    pub fn new(extension: &str) -> Self {
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let name = format!("portolan-fuzz-{}.{extension}", std::process::id());
        Self { path: folder.join(name) }
    }

    /// Replaces the file by a new one with these bytes. A new inode each time: an open map of
    /// the old one stays as it was.
    ///
    /// # Panics
    /// When the file cannot be written: a fault of the machine, which must end the run.
    pub fn fill(&self, bytes: &[u8]) -> &Path {
        self.remove();
        std::fs::write(&self.path, bytes).expect("the scratch file is writable");
        &self.path
    }

    /// The path, without any file: for what makes one.
    pub fn free(&self) -> &Path {
        self.remove();
        &self.path
    }

    fn remove(&self) {
        // Absent before the first fill.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Drop for ScratchFile {
    fn drop(&mut self) {
        self.remove();
    }
}
