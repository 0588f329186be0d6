//! What the options for a collection say of it against what it is: so that a collection of another
//! shape is not taken for the one that was asked for.

use super::{Collection, CollectionOptions, VectorField};
use crate::error::{Error, OptionDifference, Result};
use crate::record::ModelContract;
use crate::storage::tables;
use crate::storage::vector_fields;

impl Collection {
    /// Refuses options that contradict what can no longer be changed.
    pub(super) fn check_options(&self, options: &CollectionOptions) -> Result<()> {
        let snapshot = self.inner.snapshot()?;
        let snapshot = snapshot.as_ref();
        let mut differences = Vec::new();
        if options.states_vectors() {
            let definition =
                tables::definition(snapshot, &self.name)?.filter(|of| of.id == self.id);
            let absent = || Error::CollectionNotFound { name: self.name.to_string() };
            let contract = self.manifest(snapshot)?.contract.as_ref().map(ModelContract::from);
            // A definition without a valid shape would not have been opened.
            if let Some(has) = VectorField::of(&definition.ok_or_else(absent)?) {
                differences = options.vectors().differs(&has, contract.as_ref());
            }
        }
        for (name, asked) in options.fields() {
            let Some(entry) = vector_fields::get(snapshot, self.id, name)? else { continue };
            let Some(has) = VectorField::of_entry(&entry) else { continue };
            let manifest = tables::manifest(snapshot, entry.definition.id)?;
            let contract = manifest.contract.as_ref().map(ModelContract::from);
            let of_field = asked.differs(&has, contract.as_ref()).into_iter();
            differences.extend(of_field.map(|one| OptionDifference {
                option: format!("{} of vector field {name:?}", one.option),
                ..one
            }));
        }
        match differences.is_empty() {
            true => Ok(()),
            false => Err(Error::CollectionDiffers { name: self.name.to_string(), differences }),
        }
    }
}

/// Collects what is not the same.
#[derive(Default)]
pub(super) struct Differences(pub(super) Vec<OptionDifference>);

impl Differences {
    /// Adds an option if it is wanted otherwise than it is.
    pub(super) fn of<T: PartialEq>(
        &mut self,
        option: &str,
        has: &T,
        asked: &T,
        text: impl Fn(&T) -> String,
    ) {
        if has != asked {
            let (has, asked) = (text(has), text(asked));
            self.0.push(OptionDifference { option: option.to_owned(), has, asked });
        }
    }

    /// As [`of`](Self::of), if the option says other than it does by default.
    pub(super) fn unless_default<T: PartialEq>(
        &mut self,
        option: &str,
        default: &T,
        has: &T,
        asked: &T,
        text: impl Fn(&T) -> String,
    ) {
        if asked != default {
            self.of(option, has, asked, text);
        }
    }
}
