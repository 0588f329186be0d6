//! The setters of a query that say what is looked for.

use super::Find;
use super::dense::Dense;
use super::like::Like;
use super::list::List;
use super::multi::Multi;
use super::sparse::Sparse;
use super::text::Lexical;
use crate::filter::Filter;
use crate::fusion::Fusion;
use crate::lexical::TextQuery;
use crate::record::{Matrix, RecordId};

impl Find {
    /// Adds a list of the nearest to a vector.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/harbor.rs"));
    /// # fn main() -> portolan::Result<()> { let (_dir, docs) = harbor()?;
    /// let found = docs.find().dense(&[1.0, 0.1, 0.0]).limit(1).run()?;
    /// assert_eq!(found.hits[0].text(), "chart of the harbor");
    /// # Ok(()) }
    /// ```
    pub fn dense(self, vector: &[f32]) -> Self {
        self.dense_with(Dense::new(vector))
    }

    /// Adds a list of the nearest to a vector, with a depth, a weight or an effort of its own.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/harbor.rs"));
    /// # fn main() -> portolan::Result<()> { let (_dir, docs) = harbor()?;
    /// use portolan::Dense;
    ///
    /// let question = Dense::new([1.0, 0.1, 0.0]).weight(2.0);
    /// let same_in_other_words = Dense::new([0.8, 0.3, 0.2]).exact();
    /// let found = docs.find().dense_with(question).dense_with(same_in_other_words).run()?;
    /// assert_eq!(found.report.lists.len(), 2);
    /// # Ok(()) }
    /// ```
    pub fn dense_with(mut self, dense: Dense) -> Self {
        self.lists.push(List::Dense(dense));
        self
    }

    /// Adds a list of the records with the best words, by BM25. The collection needs a text index
    /// ([`CollectionOptions::text`](crate::CollectionOptions::text)). With a list of vectors
    /// beside it the query is hybrid.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/harbor.rs"));
    /// # fn main() -> portolan::Result<()> { let (_dir, docs) = harbor()?;
    /// use portolan::TextQuery;
    ///
    /// let hybrid = docs.find().dense(&[1.0, 0.1, 0.0]).text("lights of the harbor").limit(2);
    /// assert_eq!(hybrid.run()?.hits[0].text(), "chart of the harbor");
    /// let words = docs.find().text(TextQuery::parse("\"harbor mouth\" depth*")).run()?;
    /// assert_eq!(words.hits[0].text(), "depths of the harbor mouth");
    /// # Ok(()) }
    /// ```
    pub fn text(self, query: impl Into<TextQuery>) -> Self {
        self.text_with(Lexical::new(query))
    }

    /// Adds a list by words, with a depth or a weight of its own.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/harbor.rs"));
    /// # fn main() -> portolan::Result<()> { let (_dir, docs) = harbor()?;
    /// use portolan::Lexical;
    ///
    /// let words = Lexical::new("harbor lights").weight(0.5);
    /// let found = docs.find().dense(&[1.0, 0.1, 0.0]).text_with(words).run()?;
    /// assert_eq!(found.report.lists[1].weight, 0.5);
    /// assert_eq!(found.hits[0].text(), "chart of the harbor");
    /// # Ok(()) }
    /// ```
    pub fn text_with(mut self, text: Lexical) -> Self {
        self.lists.push(List::Text(text));
        self
    }

    /// Adds a list of the best by MaxSim in a field of matrices
    /// ([`VectorField::multi`](crate::VectorField::multi)).
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/harbor.rs"));
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> { let (_dir, docs) = harbor()?;
    /// use portolan::{Matrix, Record, VectorField};
    ///
    /// docs.add_vector_field("tokens", VectorField::multi(2))?;
    /// let tokens = Matrix::from_rows([[1.0, 0.0], [0.0, 1.0]])?;
    /// docs.upsert(Record::new("atlas").named_vector("tokens", tokens.clone()))?;
    /// let found = docs.find().multi("tokens", &tokens).run()?;
    /// assert_eq!(found.hits[0].id, "atlas".into());
    /// # Ok(()) }
    /// ```
    pub fn multi(self, field: impl Into<String>, matrix: &Matrix) -> Self {
        self.multi_with(Multi::new(field, matrix.clone()))
    }

    /// Adds a list by MaxSim, with candidates, a depth or a weight of its own.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/harbor.rs"));
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> { let (_dir, docs) = harbor()?;
    /// use portolan::{Matrix, Multi, Record, VectorField};
    ///
    /// docs.add_vector_field("tokens", VectorField::multi(2))?;
    /// for (id, row) in [("east", [1.0, 0.0]), ("north", [0.0, 1.0])] {
    ///     docs.upsert(Record::new(id).named_vector("tokens", Matrix::from_rows([row])?))?;
    /// }
    /// let late = Multi::new("tokens", Matrix::from_rows([[0.2, 0.9]])?).exact().depth(1);
    /// let found = docs.find().multi_with(late).run()?;
    /// assert_eq!((found.hits.len(), &found.hits[0].id), (1, &"north".into()));
    /// # Ok(()) }
    /// ```
    pub fn multi_with(mut self, multi: Multi) -> Self {
        self.lists.push(List::Multi(multi));
        self
    }

    /// Adds a list of the best by dot product in a field of sparse vectors
    /// ([`VectorField::sparse`](crate::VectorField::sparse)).
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/harbor.rs"));
    /// # fn main() -> portolan::Result<()> { let (_dir, docs) = harbor()?;
    /// use portolan::{Record, VectorField};
    ///
    /// docs.add_vector_field("terms", VectorField::sparse())?;
    /// docs.upsert(Record::new("atlas").named_vector("terms", [(7, 1.5)]))?;
    /// let found = docs.find().sparse("terms", &[(7, 1.0), (9, 0.5)]).run()?;
    /// assert_eq!((found.hits.len(), found.hits[0].score), (1, 1.5));
    /// # Ok(()) }
    /// ```
    pub fn sparse(self, field: impl Into<String>, pairs: &[(u32, f32)]) -> Self {
        self.sparse_with(Sparse::new(field, pairs))
    }

    /// Adds a list by sparse vectors, with a depth or a weight of its own.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/harbor.rs"));
    /// # fn main() -> portolan::Result<()> { let (_dir, docs) = harbor()?;
    /// use portolan::{Record, Sparse, VectorField};
    ///
    /// docs.add_vector_field("terms", VectorField::sparse())?;
    /// docs.upsert(Record::new("atlas").named_vector("terms", [(7, 1.5)]))?;
    /// let learned = Sparse::new("terms", [(7, 1.0)]).weight(2.0);
    /// let found = docs.find().text("harbor").sparse_with(learned).run()?;
    /// assert_eq!(found.hits[0].id, "atlas".into());
    /// # Ok(()) }
    /// ```
    pub fn sparse_with(mut self, sparse: Sparse) -> Self {
        self.lists.push(List::Sparse(sparse));
        self
    }

    /// Adds a list of records like some and unlike others, by their ids: recommendation. The
    /// examples themselves are not in it.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/harbor.rs"));
    /// # fn main() -> portolan::Result<()> { let (_dir, docs) = harbor()?;
    /// let found = docs.find().like(["pilot#0"], ["storm#0"]).limit(1).run()?;
    /// assert_eq!(found.hits[0].text(), "depths of the harbor mouth");
    /// # Ok(()) }
    /// ```
    pub fn like<P: Into<RecordId>, N: Into<RecordId>>(
        self,
        positive: impl IntoIterator<Item = P>,
        negative: impl IntoIterator<Item = N>,
    ) -> Self {
        self.like_with(Like::new(positive, negative))
    }

    /// Adds a list by examples, with a strategy, a depth or a weight of its own.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/harbor.rs"));
    /// # fn main() -> portolan::Result<()> { let (_dir, docs) = harbor()?;
    /// use portolan::Like;
    ///
    /// let like = Like::new(["pilot#0"], ["storm#0"]).depth(1);
    /// let found = docs.find().like_with(like).run()?;
    /// assert_eq!(found.hits.len(), 1);
    /// assert_eq!(found.hits[0].text(), "depths of the harbor mouth");
    /// # Ok(()) }
    /// ```
    pub fn like_with(mut self, like: Like) -> Self {
        self.lists.push(List::Like(like));
        self
    }

    /// Gives all lists that wait for the vector of the question ([`Dense::of_question`]) that
    /// vector, and the name of the model it comes from, if that is known.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/harbor.rs"));
    /// # fn main() -> portolan::Result<()> { let (_dir, docs) = harbor()?;
    /// use portolan::Dense;
    ///
    /// let prepared = docs.find().text("harbor").dense_with(Dense::of_question().weight(2.0));
    /// assert!(prepared.awaits_question());
    /// // On another thread, later, when a model has answered.
    /// let found = prepared.with_question([1.0, 0.1, 0.0], None).run()?;
    /// assert_eq!(found.hits[0].text(), "chart of the harbor");
    /// # Ok(()) }
    /// ```
    pub fn with_question(mut self, vector: impl Into<Vec<f32>>, model: Option<&str>) -> Self {
        let vector = vector.into();
        for list in &mut self.lists {
            if let List::Dense(dense) = list
                && dense.vector.is_none()
            {
                dense.vector = Some(vector.clone());
                dense.model = model.map(str::to_owned).or_else(|| dense.model.take());
            }
        }
        self
    }

    /// Whether a list waits for the vector of the question.
    #[must_use]
    pub fn awaits_question(&self) -> bool {
        let waits = |list: &List| matches!(list, List::Dense(dense) if dense.vector.is_none());
        self.lists.iter().any(waits)
    }

    /// The most records that each list gives, unless it has a depth of its own. Default: 100, or
    /// as many as the page needs if that is more (grouped, four times as many); one list whose
    /// order is the answer gives just the page.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/harbor.rs"));
    /// # fn main() -> portolan::Result<()> { let (_dir, docs) = harbor()?;
    /// let query = docs.find().dense(&[1.0, 0.0, 0.0]).like(["stars#0"], ["storm#0"]);
    /// assert!(query.depth(1).run()?.hits.len() <= 2);
    /// # Ok(()) }
    /// ```
    pub fn depth(mut self, records: usize) -> Self {
        self.depth = Some(records);
        self
    }

    /// How several lists become one. Default: reciprocal rank fusion with k = 60.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/harbor.rs"));
    /// # fn main() -> portolan::Result<()> { let (_dir, docs) = harbor()?;
    /// use portolan::{Fusion, Normalization};
    ///
    /// let lists = docs.find().dense(&[1.0, 0.0, 0.0]).dense(&[0.0, 0.0, 1.0]);
    /// let by_score = lists.clone().fusion(Fusion::Weighted(Normalization::None)).run()?;
    /// assert_eq!(by_score.hits[0].text(), "lights and bells");
    /// let by_rank = lists.fusion(Fusion::Rrf { k: 1.0 }).limit(2).run()?;
    /// assert!(by_rank.hits.iter().any(|hit| hit.text() == "stars to steer by"));
    /// # Ok(()) }
    /// ```
    pub fn fusion(mut self, fusion: Fusion) -> Self {
        self.fusion = fusion;
        self
    }

    /// Finds only records that match. Evaluated once for all lists.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/harbor.rs"));
    /// # fn main() -> portolan::Result<()> { let (_dir, docs) = harbor()?;
    /// use portolan::Filter;
    ///
    /// let italian = docs.find().dense(&[1.0, 0.0, 0.0]).filter(Filter::eq("lang", "it")).run()?;
    /// assert_eq!(italian.hits.len(), 2);
    /// // Without a list: what matches, in order of insertion.
    /// let italian = docs.find().filter(Filter::eq("lang", "it")).run()?;
    /// assert_eq!(italian.hits[0].text(), "a storm in the gulf");
    /// # Ok(()) }
    /// ```
    pub fn filter(mut self, filter: Filter) -> Self {
        self.filter = Some(filter);
        self
    }

    /// Finds only records that match this filter as well as the one that is set.
    #[cfg(feature = "nim")]
    pub(crate) fn also(mut self, filter: Filter) -> Self {
        self.filter = Some(match self.filter {
            Some(own) => own.and(filter),
            None => filter,
        });
        self
    }
}
