//! The digest of a plan. It shows, over years and versions, that runs were set up in the same way.

use sha2::{Digest, Sha256};

use super::{Estimate, Plan, memory, template};
use crate::profile::APISERVER_GOMEMLIMIT_MIB;

impl Plan {
    /// Returns the SHA-256 in hexadecimal digits. The digest of a plan that has not changed stays the same, whatever
    /// later versions add about the same plan; otherwise, no run could be compared with an earlier one.
    pub fn digest(&self) -> String {
        template::hex(&Sha256::digest(self.as_first_written().to_json()))
    }

    /// Returns the plan in the form of the first version of its format.
    fn as_first_written(&self) -> Self {
        let mut plan = self.clone();
        plan.estimate = Estimate::of_format_1(&self.profile);
        let limit = &mut plan.profile.control_plane.apiserver_gomemlimit_mib;
        // A limit that was not given was written as its resulting value. If that value differs by now, so does the run.
        let suits = memory::suitable_limit_mib(self.profile.pods_per_cluster);
        *limit = limit.or((suits == APISERVER_GOMEMLIMIT_MIB).then_some(suits));
        plan
    }
}
