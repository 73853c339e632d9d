//! Why the text of a query cannot be expanded.

use thiserror::Error;

/// An error in the text of a query; Grafana would send the text unchanged, and the server would refuse it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ExpandError {
    /// The dashboard has no such variable.
    #[error("no variable has the name {0}")]
    UnknownVariable(String),
    /// Grafana has no such format, or it is not supported here.
    #[error("the variable {name} is used with the unknown format {format}")]
    UnknownFormat {
        /// The variable.
        name: String,
        /// Its format.
        format: String,
    },
    /// Neither Grafana nor the plugin has such a macro.
    #[error("the data source has no macro $__{0}")]
    UnknownMacro(String),
    /// A macro has another number of arguments.
    #[error("the macro $__{name} takes {expected} arguments, not {found}")]
    Arguments {
        /// The macro.
        name: String,
        /// How many it takes.
        expected: usize,
        /// How many the text has.
        found: usize,
    },
    /// The parenthesis of a macro's arguments is not closed.
    #[error("the arguments of the macro $__{0} have no closing parenthesis")]
    Unclosed(String),
}
