//! Every table of the file: keys by named constructors, small values by bincode, all sealed with
//! a checksum. The only file that names bincode; `storage-format.md` sections 3 and 5 write the
//! encoding out byte by byte.

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use bincode::{Decode, Encode};

use super::keys as key;
use super::{Snapshot, StorageError, Table, WriteTxn, packed};
use crate::format::{FormatError, RECORD_BYTES_MAX, seal, unseal};
use crate::record::{Metadata, ModelContract, Record, RecordId, Roles, Slot, Value};

/// Little-endian, variable-length integers; a decoder refuses lengths past the limit before it
/// allocates.
const ENCODING: Configuration<LittleEndian, Varint, Limit<RECORD_BYTES_MAX>> =
    bincode::config::standard().with_limit::<RECORD_BYTES_MAX>();

/// What a collection was created with; sealed under [`super::keys::definition`].
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Definition {
    pub(crate) id: u32,
    pub(crate) dimensions: u32,
    pub(crate) metric: u8,
    pub(crate) originals: u8,
    pub(crate) graph_m: u16,
    pub(crate) graph_ef_construction: u32,
    pub(crate) seed: u64,
    /// Dimensions that codes are made of, if those are fewer.
    pub(crate) leading: Option<u32>,
}

/// The fields of a definition that every file has, in order.
type DefinitionHead = (u32, u32, u8, u8, u16, u32, u64);

/// What a collection consists of now; sealed under [`super::keys::manifest`], rewritten by each
/// commit.
#[derive(Debug, Clone, PartialEq, Default, Encode, Decode)]
pub(crate) struct Manifest {
    /// Slots 0..next_slot were given out.
    pub(crate) next_slot: u32,
    /// Segment numbers 0..next_segment were given out.
    pub(crate) next_segment: u32,
    /// Live records.
    pub(crate) records: u64,
    /// Vectors in the delta.
    pub(crate) delta: u64,
    /// Deleted vectors that still stand in a segment.
    pub(crate) dead: u64,
    /// The model that made the vectors, once one is known.
    pub(crate) contract: Option<Contract>,
    pub(crate) segments: Vec<SegmentEntry>,
}

impl Manifest {
    /// Live vectors.
    pub(crate) fn vectors(&self) -> u64 {
        let sealed: u64 = self.segments.iter().map(|segment| u64::from(segment.rows)).sum();
        (sealed + self.delta).saturating_sub(self.dead)
    }
}

/// A [`ModelContract`] on disk.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub(crate) struct Contract {
    model: String,
    /// 0 same, 1 input type, 2 prefix.
    roles: u8,
    query_prefix: String,
    passage_prefix: String,
}

impl From<&ModelContract> for Contract {
    fn from(contract: &ModelContract) -> Self {
        let (roles, query, passage) = match &contract.roles {
            Roles::Same => (0, "", ""),
            Roles::InputType => (1, "", ""),
            Roles::Prefix { query, passage } => (2, query.as_str(), passage.as_str()),
        };
        Self {
            model: contract.model.clone(),
            roles,
            query_prefix: query.to_owned(),
            passage_prefix: passage.to_owned(),
        }
    }
}

impl From<&Contract> for ModelContract {
    fn from(contract: &Contract) -> Self {
        let roles = match contract.roles {
            1 => Roles::InputType,
            2 => Roles::Prefix {
                query: contract.query_prefix.clone(),
                passage: contract.passage_prefix.clone(),
            },
            _ => Roles::Same,
        };
        Self::new(contract.model.clone()).roles(roles)
    }
}

/// One segment of a manifest.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub(crate) struct SegmentEntry {
    pub(crate) id: u32,
    pub(crate) rows: u32,
    pub(crate) codec: u16,
    pub(crate) graph: Option<GraphEntry>,
    pub(crate) sections: Vec<SectionEntry>,
}

/// The graph of a segment.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub(crate) struct GraphEntry {
    pub(crate) entry: u32,
    pub(crate) m: u16,
    pub(crate) ef_construction: u32,
    pub(crate) seed: u64,
    /// Rows of each upper level, top level first.
    pub(crate) level_rows: Vec<u32>,
}

/// The extents of one kind in a segment.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub(crate) struct SectionEntry {
    pub(crate) kind: u16,
    pub(crate) stride: u32,
    pub(crate) rows: u32,
}

#[derive(Encode)]
struct RecordRef<'r> {
    id: IdRef<'r>,
    title: Option<&'r str>,
    text: &'r str,
    metadata: Vec<(&'r str, ValueRef<'r>)>,
}

#[derive(Encode)]
enum IdRef<'r> {
    Int(i64),
    Text(&'r str),
}

#[derive(Encode)]
enum ValueRef<'r> {
    Null,
    Bool(bool),
    Int(i64),
    Float(u64),
    Text(&'r str),
    Timestamp(i64),
    List(Vec<ScalarRef<'r>>),
}

#[derive(Encode)]
enum ScalarRef<'r> {
    Null,
    Bool(bool),
    Int(i64),
    Float(u64),
    Text(&'r str),
    Timestamp(i64),
}

#[derive(Decode)]
struct RecordOwned {
    id: IdOwned,
    title: Option<String>,
    text: String,
    metadata: Vec<(String, ValueOwned)>,
}

#[derive(Decode)]
enum IdOwned {
    Int(i64),
    Text(String),
}

impl From<IdOwned> for RecordId {
    fn from(id: IdOwned) -> Self {
        match id {
            IdOwned::Int(number) => Self::Int(number),
            IdOwned::Text(text) => Self::Text(text),
        }
    }
}

#[derive(Decode)]
enum ValueOwned {
    Null,
    Bool(bool),
    Int(i64),
    Float(u64),
    Text(String),
    Timestamp(i64),
    List(Vec<ScalarOwned>),
}

#[derive(Decode)]
enum ScalarOwned {
    Null,
    Bool(bool),
    Int(i64),
    Float(u64),
    Text(String),
    Timestamp(i64),
}

fn scalar_ref(value: &Value) -> ScalarRef<'_> {
    match value {
        Value::Bool(value) => ScalarRef::Bool(*value),
        Value::Int(value) => ScalarRef::Int(*value),
        Value::Float(value) => ScalarRef::Float(value.to_bits()),
        Value::Text(value) => ScalarRef::Text(value),
        Value::Timestamp(value) => ScalarRef::Timestamp(*value),
        // Nested lists were refused by `Record::check`.
        Value::Null | Value::List(_) => ScalarRef::Null,
    }
}

fn value_ref(value: &Value) -> ValueRef<'_> {
    if let Value::List(items) = value {
        return ValueRef::List(items.iter().map(scalar_ref).collect());
    }
    match scalar_ref(value) {
        ScalarRef::Null => ValueRef::Null,
        ScalarRef::Bool(value) => ValueRef::Bool(value),
        ScalarRef::Int(value) => ValueRef::Int(value),
        ScalarRef::Float(value) => ValueRef::Float(value),
        ScalarRef::Text(value) => ValueRef::Text(value),
        ScalarRef::Timestamp(value) => ValueRef::Timestamp(value),
    }
}

fn scalar(value: ScalarOwned) -> Value {
    match value {
        ScalarOwned::Null => Value::Null,
        ScalarOwned::Bool(value) => Value::Bool(value),
        ScalarOwned::Int(value) => Value::Int(value),
        ScalarOwned::Float(bits) => Value::Float(f64::from_bits(bits)),
        ScalarOwned::Text(value) => Value::Text(value),
        ScalarOwned::Timestamp(value) => Value::Timestamp(value),
    }
}

fn value(value: ValueOwned) -> Value {
    match value {
        ValueOwned::Null => Value::Null,
        ValueOwned::Bool(value) => Value::Bool(value),
        ValueOwned::Int(value) => Value::Int(value),
        ValueOwned::Float(bits) => Value::Float(f64::from_bits(bits)),
        ValueOwned::Text(value) => Value::Text(value),
        ValueOwned::Timestamp(value) => Value::Timestamp(value),
        ValueOwned::List(items) => Value::List(items.into_iter().map(scalar).collect()),
    }
}

fn encode<T: Encode>(what: &'static str, value: &T) -> Result<Vec<u8>, FormatError> {
    bincode::encode_to_vec(value, ENCODING)
        .map_err(|error| FormatError::Decode { what, reason: error.to_string() })
}

fn decode<T: Decode<()>>(what: &'static str, bytes: &[u8]) -> Result<T, FormatError> {
    let (value, rest) = decode_first(what, bytes)?;
    // bincode accepts trailing bytes in silence; we do not.
    if !rest.is_empty() {
        let reason = format!("{} bytes follow its end", rest.len());
        return Err(FormatError::Decode { what, reason });
    }
    Ok(value)
}

/// Decodes what the bytes begin with, and gives the rest.
fn decode_first<'b, T: Decode<()>>(
    what: &'static str,
    bytes: &'b [u8],
) -> Result<(T, &'b [u8]), FormatError> {
    let (value, read) = bincode::decode_from_slice(bytes, ENCODING)
        .map_err(|error| FormatError::Decode { what, reason: error.to_string() })?;
    Ok((value, bytes.get(read..).unwrap_or_default()))
}

/// A record's value in `records` of a file of a format version.
pub(crate) fn encode_record(
    record: &Record,
    key: &[u8],
    format: u32,
) -> Result<Vec<u8>, FormatError> {
    let body = RecordRef {
        id: match &record.id {
            RecordId::Int(number) => IdRef::Int(*number),
            RecordId::Text(text) => IdRef::Text(text),
        },
        title: record.title.as_deref(),
        text: &record.text,
        metadata: record
            .metadata
            .iter()
            .map(|(name, value)| (name.as_str(), value_ref(value)))
            .collect(),
    };
    let compress = format >= packed::COMPRESSED_SINCE;
    let payload = packed::pack(&encode("record", &body)?, record.vector.is_some(), compress);
    Ok(seal(Table::Records as u8, key, &payload))
}

/// A record without its vector, and whether it has one.
pub(crate) struct StoredRecord {
    pub(crate) record: Record,
    pub(crate) has_vector: bool,
}

/// The inverse of [`encode_record`].
pub(crate) fn decode_record(sealed: &[u8], key: &[u8]) -> Result<StoredRecord, FormatError> {
    const WHAT: &str = "record";
    let payload = unseal(WHAT, Table::Records as u8, key, sealed)?;
    let (body, has_vector) = packed::unpack(payload)?;
    let body: RecordOwned = decode(WHAT, &body)?;
    let metadata: Metadata =
        body.metadata.into_iter().map(|(name, stored)| (name, value(stored))).collect();
    let mut record = Record::new(RecordId::from(body.id)).text(body.text);
    record.title = body.title;
    record.metadata = metadata;
    Ok(StoredRecord { record, has_vector })
}

/// Reads the record of a slot.
pub(crate) fn record(
    snapshot: &dyn Snapshot,
    collection: u32,
    slot: Slot,
) -> Result<StoredRecord, StorageError> {
    let key = key::slot(collection, slot);
    Ok(decode_record(sealed_record(snapshot, &key)?, &key)?)
}

/// Reads the id of the record of a slot, which it begins with, and no more of it.
pub(crate) fn record_id(
    snapshot: &dyn Snapshot,
    collection: u32,
    slot: Slot,
) -> Result<RecordId, StorageError> {
    const WHAT: &str = "record";
    let key = key::slot(collection, slot);
    let payload = unseal(WHAT, Table::Records as u8, &key, sealed_record(snapshot, &key)?)?;
    let (body, _) = packed::unpack(payload)?;
    let (id, _): (IdOwned, _) = decode_first(WHAT, &body)?;
    Ok(id.into())
}

fn sealed_record<'s>(snapshot: &'s dyn Snapshot, key: &[u8]) -> Result<&'s [u8], StorageError> {
    let sealed = snapshot.get(Table::Records, key)?;
    sealed.ok_or(StorageError::Missing { what: "a record that an id points to" })
}

/// The slot of an id.
pub(crate) fn slot(
    snapshot: &dyn Snapshot,
    collection: u32,
    id: &RecordId,
) -> Result<Option<Slot>, StorageError> {
    let key = key::id(collection, id);
    let Some(sealed) = snapshot.get(Table::Ids, &key)? else { return Ok(None) };
    Ok(Some(decode_slot(sealed, &key)?))
}

/// A slot's value in `ids`: u32.
pub(crate) fn encode_slot(slot: Slot, key: &[u8]) -> Vec<u8> {
    seal(Table::Ids as u8, key, &slot.0.to_le_bytes())
}

/// The inverse of [`encode_slot`].
pub(crate) fn decode_slot(sealed: &[u8], key: &[u8]) -> Result<Slot, FormatError> {
    const WHAT: &str = "slot of an id";
    let payload = unseal(WHAT, Table::Ids as u8, key, sealed)?;
    let length = |_| FormatError::Length { what: WHAT, expected: 4, found: payload.len() };
    Ok(Slot(u32::from_le_bytes(payload.try_into().map_err(length)?)))
}

const DEFINITION: &str = "collection";

/// Seals a definition.
pub(crate) fn encode_definition(name: &str, value: &Definition) -> Result<Vec<u8>, FormatError> {
    let payload = definition_payload(value)?;
    Ok(seal(Table::Collections as u8, &key::definition(name), &payload))
}

/// A definition without its seal. One without a cut has the bytes it had before cuts were known,
/// and one with it is refused, not misread, by what does not know them.
pub(super) fn definition_payload(value: &Definition) -> Result<Vec<u8>, FormatError> {
    let Definition { id, dimensions, metric, originals, graph_m, .. } = *value;
    let graph = (graph_m, value.graph_ef_construction, value.seed);
    let head: DefinitionHead = (id, dimensions, metric, originals, graph.0, graph.1, graph.2);
    let mut payload = encode(DEFINITION, &head)?;
    if let Some(leading) = value.leading {
        payload.extend(encode(DEFINITION, &leading)?);
    }
    Ok(payload)
}

/// The inverse of [`definition_payload`].
pub(super) fn decode_definition(payload: &[u8]) -> Result<Definition, FormatError> {
    let (head, rest) = decode_first::<DefinitionHead>(DEFINITION, payload)?;
    let (id, dimensions, metric, originals, graph_m, graph_ef_construction, seed) = head;
    let leading = match rest {
        [] => None,
        rest => Some(decode::<u32>(DEFINITION, rest)?),
    };
    if let Some(value) = leading.filter(|leading| !(1..dimensions).contains(leading)) {
        let (field, value) = ("leading dimensions", u64::from(value));
        return Err(FormatError::Field { what: DEFINITION, field, value });
    }
    Ok(Definition {
        id,
        dimensions,
        metric,
        originals,
        graph_m,
        graph_ef_construction,
        seed,
        leading,
    })
}

/// The definition of a collection.
pub(crate) fn definition(
    snapshot: &dyn Snapshot,
    name: &str,
) -> Result<Option<Definition>, StorageError> {
    let key = key::definition(name);
    let Some(sealed) = snapshot.get(Table::Collections, &key)? else { return Ok(None) };
    let payload = unseal(DEFINITION, Table::Collections as u8, &key, sealed)?;
    Ok(Some(decode_definition(payload)?))
}

/// Seals a manifest.
pub(crate) fn encode_manifest(collection: u32, value: &Manifest) -> Result<Vec<u8>, FormatError> {
    let key = key::manifest(collection);
    Ok(seal(Table::Collections as u8, &key, &encode("manifest", value)?))
}

/// The manifest of a collection.
pub(crate) fn manifest(snapshot: &dyn Snapshot, collection: u32) -> Result<Manifest, StorageError> {
    let key = key::manifest(collection);
    let sealed = snapshot.get(Table::Collections, &key)?;
    let sealed = sealed.ok_or(StorageError::Missing { what: "the manifest of a collection" })?;
    Ok(decode_manifest(unseal("manifest", Table::Collections as u8, &key, sealed)?)?)
}

/// Decodes an unsealed manifest.
pub(crate) fn decode_manifest(payload: &[u8]) -> Result<Manifest, FormatError> {
    const WHAT: &str = "manifest";
    let manifest: Manifest = decode(WHAT, payload)?;
    // Each of what is counted has a slot of its own.
    let Manifest { next_slot, records, delta, dead, .. } = manifest;
    for (field, value) in [("records", records), ("unsealed", delta), ("deleted", dead)] {
        if value > u64::from(next_slot) {
            return Err(FormatError::Field { what: WHAT, field, value });
        }
    }
    Ok(manifest)
}

/// Takes a new collection number. Numbers are never reused, so that a key that was left behind
/// cannot come to life again.
pub(crate) fn take_collection_number(txn: &mut WriteTxn<'_>) -> Result<u32, StorageError> {
    const WHAT: &str = "collection count";
    const KEY: &[u8] = b"next-collection";
    let number = match txn.get(Table::Meta, KEY)? {
        Some(sealed) => crate::format::read_u32(unseal(WHAT, Table::Meta as u8, KEY, sealed)?, 0),
        None => 0,
    };
    let next = number.checked_add(1);
    let next = next.ok_or(StorageError::Missing { what: "a free collection number" })?;
    txn.put(Table::Meta, KEY, &seal(Table::Meta as u8, KEY, &next.to_le_bytes()))?;
    Ok(number)
}

/// A vector's value in `delta`: code row, then raw row.
pub(crate) fn encode_delta(code: &[u8], raw: &[u8], key: &[u8]) -> Vec<u8> {
    let mut payload = Vec::with_capacity(code.len() + raw.len());
    payload.extend_from_slice(code);
    payload.extend_from_slice(raw);
    seal(Table::Delta as u8, key, &payload)
}

/// Checks a value of `delta` of the given row lengths; the code row begins at
/// [`crate::format::SEAL_BYTES`].
pub(crate) fn check_delta(sealed: &[u8], key: &[u8], row_bytes: usize) -> Result<(), FormatError> {
    const WHAT: &str = "unsealed vector";
    let payload = unseal(WHAT, Table::Delta as u8, key, sealed)?;
    if payload.len() != row_bytes {
        return Err(FormatError::Length { what: WHAT, expected: row_bytes, found: payload.len() });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
