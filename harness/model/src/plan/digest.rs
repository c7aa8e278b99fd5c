//! The digest of a plan: by it runs are known to have been made alike, over years and versions.

use sha2::{Digest, Sha256};

use super::{Estimate, Plan, memory, template};
use crate::profile::APISERVER_GOMEMLIMIT_MIB;

impl Plan {
    /// SHA-256 in hexadecimal digits. Of a plan that has not changed it stays what it was, whatever the project learns
    /// about the same plan later; else no run could be compared with an earlier one.
    pub fn digest(&self) -> String {
        template::hex(&Sha256::digest(self.as_first_written().to_json()))
    }

    /// The plan in the words of the first version of its format.
    fn as_first_written(&self) -> Self {
        let mut plan = self.clone();
        plan.estimate = Estimate::of_format_1(&self.profile);
        let limit = &mut plan.profile.control_plane.apiserver_gomemlimit_mib;
        // A limit that nobody gave was written as what it came to. Where it is another by now, so is the run.
        let suits = memory::suitable_limit_mib(self.profile.pods_per_cluster);
        *limit = limit.or((suits == APISERVER_GOMEMLIMIT_MIB).then_some(suits));
        plan
    }
}
