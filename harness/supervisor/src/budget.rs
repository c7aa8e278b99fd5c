//! Memory: a lease that does not fit is refused with numbers, instead of the kernel killing something later.

use super::Error;

/// MiB that must stay free for everything else on the machine.
const RESERVE_MIB: u64 = 512;

/// Returns the MiB that programs can still use without swapping, within the limits of our control group.
///
/// # Errors
/// When /proc/meminfo is not readable or lacks the line.
pub fn available_mib() -> Result<u64, Error> {
    let available = platform::memory::available();
    available
        .map(|available| available.mib)
        .map_err(|e| Error::Environment(format!("reading /proc/meminfo: {e}")))
}

/// Checks that `need_mib` fits into what the budget and the machine have left.
///
/// # Errors
/// [`Error::Environment`] with the numbers.
pub fn check(
    clusters: usize,
    need_mib: u64,
    budget_mib: u64,
    leased_mib: u64,
    available_mib: u64,
) -> Result<(), Error> {
    let in_budget = budget_mib.saturating_sub(leased_mib);
    let on_machine = available_mib.saturating_sub(RESERVE_MIB);
    if need_mib <= in_budget.min(on_machine) {
        return Ok(());
    }
    let fit = in_budget.min(on_machine) * clusters as u64 / need_mib.max(1);
    Err(Error::Environment(format!(
        "{clusters} control planes may take {need_mib} MiB, but only {in_budget} MiB of the budget of \
         {budget_mib} MiB and {on_machine} MiB of the machine's memory are left; {fit} would fit: ask for \
         fewer clusters, lower controlPlane.apiserverGomemlimitMib, or raise --memory-budget-mib"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_that_does_not_fit_is_refused_with_numbers() {
        assert!(check(2, 5_000, 20_000, 15_000, 8_000).is_ok());
        let error = check(5, 12_500, 20_000, 15_000, 8_000).unwrap_err();
        assert_eq!(error.exit_code(), 3);
        let text = error.to_string();
        assert!(
            text.contains("12500 MiB") && text.contains("5000 MiB") && text.contains("2 would fit"),
            "{text}"
        );
        assert!(check(1, 8_000, 20_000, 0, 8_000).is_err(), "the machine's memory counts, too");
    }
}
