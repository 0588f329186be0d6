//! The options of the benches that measure a collection over its life.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use portolan::{Metric, Residency};

use crate::args::{count, dimensions, rows, share};

#[derive(Args)]
pub struct BenchChurnArgs {
    /// Vectors (.npy, .fvecs or .bvecs): the first rows are there from the beginning, the others
    /// come with the churn
    #[arg(long, value_name = "B.npy")]
    pub base: PathBuf,
    /// Vectors to search for
    #[arg(long, value_name = "Q.npy")]
    pub query: PathBuf,
    /// Part of the first rows that is replaced: 0.5 takes two thirds of the file as first rows
    #[arg(long, value_name = "S", default_value = "0.5", value_parser = share::<f64>)]
    pub share: f64,
    /// Vectors that a commit inserts, and as many that it deletes
    #[arg(long, value_name = "N", default_value = "500", value_parser = count)]
    pub batch: usize,
    /// Insert only, delete nothing
    #[arg(long)]
    pub keep: bool,
    /// How vectors are compared: cosine, dot or l2
    #[arg(long, default_value = "cosine")]
    pub metric: Metric,
    /// Neighbors to find
    #[arg(short, value_name = "K", default_value = "10", value_parser = count)]
    pub k: usize,
    /// Candidates the graph walk keeps
    #[arg(long, value_name = "N,..", value_delimiter = ',', default_value = "32,64,96,200",
          value_parser = count)]
    pub ef: Vec<usize>,
    /// Fixes which rows are deleted
    #[arg(long, value_name = "S", default_value = "1")]
    pub seed: u64,
    /// Keep the database in this new file [default: a temporary file]
    #[arg(long, value_name = "PATH")]
    pub db: Option<PathBuf>,
}

#[derive(Args)]
pub struct BenchOpenArgs {
    /// The database file, such as bench-ann leaves at --db
    pub db: PathBuf,
    /// Vectors to search for
    #[arg(long, value_name = "Q.npy")]
    pub query: PathBuf,
    /// Name of the collection [default: the only one of the file]
    #[arg(long, value_name = "NAME")]
    pub collection: Option<String>,
    /// Neighbors to find
    #[arg(short, value_name = "K", default_value = "10", value_parser = count)]
    pub k: usize,
    /// Candidates the graph walk keeps
    #[arg(long, value_name = "N", default_value = "96", value_parser = count)]
    pub ef: usize,
    /// Where searches read codes and links from
    #[arg(long, value_enum, default_value = "map")]
    pub residency: ResidencyArg,
    /// Open to write, through LMDB, instead of read-only
    #[arg(long)]
    pub read_write: bool,
    /// Times that the file is opened; the medians are told
    #[arg(long, value_name = "N", default_value = "9", value_parser = count)]
    pub rounds: usize,
    /// Seconds of searching after an opening
    #[arg(long, value_name = "S", default_value = "5", value_parser = count)]
    pub seconds: usize,
}

#[derive(Args)]
pub struct BenchGrowthArgs {
    /// Components of a vector
    #[arg(long, value_name = "D", value_parser = dimensions)]
    pub dim: usize,
    /// Sizes of the collection; at least two
    #[arg(long, value_name = "N,..", value_delimiter = ',', value_parser = rows,
          default_value = "10000,31623,100000,316228,1000000")]
    pub sizes: Vec<usize>,
    /// Recalls that ef is sought for
    #[arg(long, value_name = "R,..", value_delimiter = ',', default_value = "0.95,0.99",
          value_parser = share::<f64>)]
    pub recall: Vec<f64>,
    /// Queries
    #[arg(long, value_name = "N", default_value = "1000", value_parser = count)]
    pub queries: usize,
    /// Neighbors to find
    #[arg(short, value_name = "K", default_value = "10", value_parser = count)]
    pub k: usize,
    /// Rounds over all sizes; the median time is told
    #[arg(long, value_name = "N", default_value = "5", value_parser = count)]
    pub rounds: usize,
    /// Clusters of the distribution, the same for all sizes
    #[arg(long, value_name = "N", default_value = "2000", value_parser = count)]
    pub clusters: usize,
    /// Fixes every vector
    #[arg(long, value_name = "S", default_value = "7")]
    pub seed: u64,
    /// Draw time and steps against the size into this file
    #[arg(long, value_name = "OUT.svg")]
    pub plot: Option<PathBuf>,
}

/// [`Residency`] as an option.
#[derive(Clone, Copy, ValueEnum)]
pub enum ResidencyArg {
    /// In place, from the file's map
    #[value(alias = "mapped")]
    Map,
    /// From copies in memory
    Resident,
    /// From copies while there is memory to spare
    Auto,
}

impl From<ResidencyArg> for Residency {
    fn from(residency: ResidencyArg) -> Self {
        match residency {
            ResidencyArg::Map => Self::Mapped,
            ResidencyArg::Resident => Self::Resident,
            ResidencyArg::Auto => Self::Auto,
        }
    }
}
