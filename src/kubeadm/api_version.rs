//! Which version of kubeadm's config API belongs to which Kubernetes version.

/// A version of the API group `kubeadm.k8s.io`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ApiVersion {
    /// Read by kubeadm 1.13 to 1.21.
    V1beta1,
    /// Read by kubeadm 1.15 to 1.26.
    V1beta2,
    /// Read from 1.22 on; deprecated since 1.31.
    V1beta3,
    /// Read from 1.31 on.
    V1beta4,
}

impl ApiVersion {
    const ALL: [Self; 4] = [Self::V1beta1, Self::V1beta2, Self::V1beta3, Self::V1beta4];

    /// The first kubeadm minor version whose `config migrate` writes a newer version than this one.
    pub fn converted_from(self) -> Option<u32> {
        Self::ALL.into_iter().find(|version| *version > self).map(|next| next.read_by().0)
    }

    /// The newest that kubeadm 1.`minor` reads.
    pub fn for_minor(minor: u32) -> Self {
        match minor {
            ..22 => Self::V1beta2,
            22..31 => Self::V1beta3,
            31.. => Self::V1beta4,
        }
    }

    /// The `apiVersion` of a document.
    pub fn group_version(self) -> &'static str {
        match self {
            Self::V1beta1 => "kubeadm.k8s.io/v1beta1",
            Self::V1beta2 => "kubeadm.k8s.io/v1beta2",
            Self::V1beta3 => "kubeadm.k8s.io/v1beta3",
            Self::V1beta4 => "kubeadm.k8s.io/v1beta4",
        }
    }

    /// The version that a document's `apiVersion` names.
    pub fn from_group_version(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|version| version.group_version() == text)
    }

    /// The kubeadm minor versions that read it: first, and last if there is one. v1beta1 was removed in 1.22
    /// (`validateSupportedVersion` in `cmd/kubeadm/app/util/config/common.go` lists the versions), v1beta2 in 1.27 by
    /// kubernetes/kubernetes pull request 114540.
    pub fn read_by(self) -> (u32, Option<u32>) {
        match self {
            Self::V1beta1 => (13, Some(21)),
            Self::V1beta2 => (15, Some(26)),
            Self::V1beta3 => (22, None),
            Self::V1beta4 => (31, None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_minor_version_reads_the_version_written_for_it() {
        for minor in 15..60 {
            let (first, last) = ApiVersion::for_minor(minor).read_by();
            assert!(first <= minor && last.is_none_or(|last| minor <= last), "1.{minor}");
        }
        for (minor, group_version) in
            [(20, "v1beta2"), (21, "v1beta2"), (22, "v1beta3"), (30, "v1beta3"), (31, "v1beta4")]
        {
            assert!(ApiVersion::for_minor(minor).group_version().ends_with(group_version));
        }
    }
}
