//! How a member joins its consumer group.

/// The settings of a group and of its member.
#[derive(Debug, Clone)]
pub struct GroupSettings {
    /// `group.id`.
    pub id: String,
    /// The protocol of the group.
    pub protocol: GroupProtocol,
    /// `group.instance.id`: a static name of the member, so that a restart within the session timeout
    /// moves no partition.
    pub instance_id: Option<String>,
}

/// Which side assigns partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum GroupProtocol {
    /// The members assign partitions, cooperatively; every broker supports it.
    Classic,
    /// The broker assigns partitions (KIP-848); Kafka 4 and later.
    Consumer,
}
