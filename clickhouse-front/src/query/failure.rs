//! Why a query did not complete.

use crate::answer::Disconnected;
use crate::exception::Exception;
use crate::http::body::UploadError;

/// Why a query did not complete.
#[derive(Debug)]
pub(crate) enum QueryFailure {
    /// The client has closed the connection.
    Disconnected,
    /// An exception, which the client gets.
    Exception(Exception),
}

impl From<Exception> for QueryFailure {
    fn from(exception: Exception) -> Self {
        Self::Exception(exception)
    }
}

impl From<Disconnected> for QueryFailure {
    fn from(Disconnected: Disconnected) -> Self {
        Self::Disconnected
    }
}

impl From<UploadError> for QueryFailure {
    fn from(error: UploadError) -> Self {
        match error {
            UploadError::Disconnected => Self::Disconnected,
            UploadError::Damaged(exception) => Self::Exception(exception),
        }
    }
}
