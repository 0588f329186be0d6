//! The setters of a query that shape what was found.

use super::Find;
use super::facets::Facet;
use super::group::GroupBy;
use super::mmr::Mmr;
use super::order::{Order, OrderBy};
use super::page::Cursor;

impl Find {
    /// Leaves out what scores less: by the fused score, or with one list by that list's. A list's
    /// own threshold is [`Dense::min_score`](crate::Dense::min_score).
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/harbor.rs"));
    /// # fn main() -> portolan::Result<()> { let (_dir, docs) = harbor()?;
    /// let found = docs.find().dense(&[1.0, 0.1, 0.0]).min_score(0.9).run()?;
    /// assert_eq!(found.hits.len(), 2);
    /// # Ok(()) }
    /// ```
    pub fn min_score(mut self, score: f32) -> Self {
        self.min_score = Some(score);
        self
    }

    /// Prefers hits that are unlike those before them. See [`Mmr`].
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/harbor.rs"));
    /// # fn main() -> portolan::Result<()> { let (_dir, docs) = harbor()?;
    /// use portolan::Mmr;
    ///
    /// let query = docs.find().dense(&[1.0, 0.1, 0.0]).limit(2);
    /// let alike = query.clone().run()?;
    /// let diverse = query.diversity(Mmr::new(0.3)).run()?;
    /// assert_eq!(alike.hits[0].id, diverse.hits[0].id);
    /// assert_ne!(alike.hits[1].id, diverse.hits[1].id);
    /// # Ok(()) }
    /// ```
    pub fn diversity(mut self, mmr: Mmr) -> Self {
        self.diversity = Some(mmr);
        self
    }

    /// The best `size` of each value of a field; the limit counts values then. Groups come in the
    /// order of their best hit. A record with a list is in the group of each of its items, one
    /// without the field in none.
    ///
    /// Lists are asked for four candidates a hit of the page, 100 at least. If few values own most
    /// of them and groups are missing, the lists are asked again, four times as deep each time,
    /// until the groups are there, the lists have no more, or they are 1,048,576 records deep: a
    /// value that few records have can cost a look at all that match, each of which is read.
    /// Groups have the members among the candidates. The report warns of lists that were deepened
    /// more than once; a filter makes them cheap. A depth that was set is kept, and groups end
    /// with it. So is, of several lists, of diversity and of an order by a field, that of the
    /// first page on pages behind a cursor, so that they join.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/harbor.rs"));
    /// # fn main() -> portolan::Result<()> { let (_dir, docs) = harbor()?;
    /// let found = docs.find().dense(&[1.0, 0.0, 0.0]).group_by("document", 2).limit(2).run()?;
    /// let sizes: Vec<usize> = found.groups().map(|group| group.hits.len()).collect();
    /// assert_eq!(sizes, [2, 2]);
    /// let first = found.groups().next().expect("a group");
    /// assert_eq!(*first.value, "pilot".into());
    /// # Ok(()) }
    /// ```
    pub fn group_by(mut self, field: impl Into<String>, size: usize) -> Self {
        self.group_by = Some(GroupBy { field: field.into(), size });
        self
    }

    /// Counts the values of fields over all records that match the filter, or, with
    /// [`Facet::of_found`], over what was found.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/harbor.rs"));
    /// # fn main() -> portolan::Result<()> { let (_dir, docs) = harbor()?;
    /// let found = docs.find().dense(&[1.0, 0.0, 0.0]).facets(["lang", "year"]).limit(1).run()?;
    /// let languages = &found.facets[0].values;
    /// assert_eq!((&languages[0].value, languages[0].count), (&"en".into(), 4));
    /// # Ok(()) }
    /// ```
    pub fn facets<F: Into<Facet>>(mut self, fields: impl IntoIterator<Item = F>) -> Self {
        self.facets.extend(fields.into_iter().map(Into::into));
        self
    }

    /// Orders the candidates by a field instead of by score: what the lists found, as deep as they
    /// go, or all that matches where there are no lists. Values compare as in filters; records
    /// without the field come last, equal values in order of score.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/harbor.rs"));
    /// # fn main() -> portolan::Result<()> { let (_dir, docs) = harbor()?;
    /// use portolan::Order;
    ///
    /// let newest = docs.find().order_by("year", Order::Descending).limit(1).run()?;
    /// assert_eq!(newest.hits[0].text(), "stars to steer by");
    /// # Ok(()) }
    /// ```
    pub fn order_by(mut self, field: impl Into<String>, order: Order) -> Self {
        self.order_by = Some(OrderBy { field: field.into(), order });
        self
    }

    /// Leaves out so many hits (grouped: groups) before the first. Pages cut so join without gaps
    /// or repeats if the file is not changed in between and the depth is set, or no page goes
    /// beyond the default depth. For reading on, [`Find::after`] is better.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/harbor.rs"));
    /// # fn main() -> portolan::Result<()> { let (_dir, docs) = harbor()?;
    /// let second = docs.find().dense(&[1.0, 0.1, 0.0]).offset(1).limit(1).run()?;
    /// assert_eq!(second.hits[0].text(), "depths of the harbor mouth");
    /// # Ok(()) }
    /// ```
    pub fn offset(mut self, hits: usize) -> Self {
        self.offset = hits;
        self
    }

    /// Begins after the page that gave this cursor. The query must be the same but for limit and
    /// offset.
    ///
    /// While the file is not changed, pages join to what one long page would be, without gaps or
    /// repeats: exactly where the depth is fixed (several lists, diversity, groups, an order by
    /// a field, no lists, or a depth that was set), and then they end where the depth does. One
    /// plain list is asked anew and deeper for each page; should a deeper walk of a graph find
    /// what a shallower one missed, it can be left out.
    ///
    /// When the file is changed in between, orders of one list of vectors, of a field without lists
    /// and of insertion go on at the same place: records that were not changed are neither repeated
    /// nor left out. Fused scores depend on all that the lists hold, and those of a list of words
    /// on how many records have which word: hits may move across the cut, and
    /// [`FindReport::stale_cursor`](crate::FindReport::stale_cursor) tells. Groups and diverse
    /// hits do not go on: the cursor is refused. So is one that would make lists deeper than
    /// 1,048,576 records: set the depth of a query that is to go on so far.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/harbor.rs"));
    /// # fn main() -> portolan::Result<()> { let (_dir, docs) = harbor()?;
    /// let query = docs.find().dense(&[1.0, 0.0, 0.0]).like(["stars#0"], ["storm#0"]).limit(4);
    /// let first = query.clone().run()?;
    /// let second = query.after(first.next.clone().expect("there are more")).run()?;
    /// assert_eq!((first.hits.len(), second.hits.len()), (4, 2));
    /// # Ok(()) }
    /// ```
    pub fn after(mut self, cursor: Cursor) -> Self {
        self.after = Some(cursor);
        self
    }

    /// Returns the vectors of the hits too, as they are stored.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/harbor.rs"));
    /// # fn main() -> portolan::Result<()> { let (_dir, docs) = harbor()?;
    /// let found = docs.find().dense(&[1.0, 0.0, 0.0]).with_vectors().limit(1).run()?;
    /// assert_eq!(found.hits[0].record.vector.as_ref().map(Vec::len), Some(3));
    /// # Ok(()) }
    /// ```
    pub fn with_vectors(mut self) -> Self {
        self.with_vectors = true;
        self
    }

    /// Tells of each hit which bytes of its title, its text and the metadata fields of the text
    /// index the lists of words looked for; of the fields as
    /// [`FieldHighlight`](crate::FieldHighlight).
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/harbor.rs"));
    /// # fn main() -> portolan::Result<()> { let (_dir, docs) = harbor()?;
    /// use portolan::{Language, TextIndex};
    ///
    /// let found = docs.find().text("harbors").highlights().limit(1).run()?;
    /// let hit = &found.hits[0];
    /// assert_eq!(&hit.text()[hit.highlights.text[0].clone()], "harbor");
    /// // In a metadata field, once its words are indexed too.
    /// docs.index_text(&TextIndex::new(Language::English).field("document", 1))?;
    /// let found = docs.find().text("pilots").highlights().limit(1).run()?;
    /// let mark = &found.hits[0].highlights.fields[0];
    /// assert_eq!((mark.field.as_str(), mark.item, &mark.ranges[0]), ("document", 0, &(0..5)));
    /// # Ok(()) }
    /// ```
    pub fn highlights(mut self) -> Self {
        self.highlights = true;
        self
    }

    /// Tells of each hit where each list had it, and what that added to its score.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/harbor.rs"));
    /// # fn main() -> portolan::Result<()> { let (_dir, docs) = harbor()?;
    /// let lists = docs.find().dense(&[1.0, 0.1, 0.0]).dense(&[0.0, 0.0, 1.0]);
    /// let found = lists.with_places().run()?;
    /// let chart = found.iter().find(|hit| hit.text() == "chart of the harbor").expect("found");
    /// assert_eq!((chart.places[0].rank, chart.places[1].rank), (1, 6));
    /// # Ok(()) }
    /// ```
    pub fn with_places(mut self) -> Self {
        self.with_places = true;
        self
    }

    /// Returns with each hit up to `chunks` chunks of its document before it and as many after it:
    /// those whose ids are `<document>#<n>`, with the hit's fields `document` and `chunk` naming
    /// it. They need not match the filter.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/harbor.rs"));
    /// # fn main() -> portolan::Result<()> { let (_dir, docs) = harbor()?;
    /// let found = docs.find().dense(&[0.9, 0.3, 0.1]).neighbors(1).limit(1).run()?;
    /// let hit = &found.hits[0];
    /// assert_eq!(hit.before[0].text, "chart of the harbor");
    /// assert_eq!(hit.after[0].text, "lights and bells");
    /// # Ok(()) }
    /// ```
    pub fn neighbors(mut self, chunks: usize) -> Self {
        self.neighbors = chunks;
        self
    }

    /// At most so many hits; grouped, groups. Default: 10. With 0 only facets are counted.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/harbor.rs"));
    /// # fn main() -> portolan::Result<()> { let (_dir, docs) = harbor()?;
    /// assert_eq!(docs.find().dense(&[1.0, 0.0, 0.0]).limit(3).run()?.hits.len(), 3);
    /// # Ok(()) }
    /// ```
    pub fn limit(mut self, hits: usize) -> Self {
        self.limit = hits;
        self
    }
}
